"""OpenCV for preparing frames and drawing boxes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray

NAME = "OpenCV"
PAD = 114

U8 = NDArray[np.uint8]


@contextmanager
def one_thread() -> Iterator[None]:
    """Restrict OpenCV to one thread, like our kernels, and restore the number afterwards."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def letterbox(i420: U8, out: NDArray[np.generic], resized_wh: tuple[int, int], pad_xy: tuple[int, int]) -> None:
    """(h * 3 / 2, w) concatenated planes -> out (3, H, W): convert, resize, transpose into the padded tensor."""
    rgb = cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420)
    resized = cv2.resize(rgb, resized_wh, interpolation=cv2.INTER_LINEAR)
    (x, y), (w, h) = pad_xy, resized_wh
    out[:, :y] = out[:, y + h :] = PAD
    out[:, y : y + h, :x] = out[:, y : y + h, x + w :] = PAD
    out[:, y : y + h, x : x + w] = resized.transpose(2, 0, 1)


def draw_tracks(
    frame_bgr: U8, boxes_xyxy: NDArray[np.floating], ids: NDArray[np.int64], labels: Sequence[str], thickness: int
) -> None:
    corners = boxes_xyxy.round().astype(int).tolist()
    for (left, top, right, bottom), track_id, label in zip(corners, ids.tolist(), labels, strict=True):
        colour = (track_id * 37 % 256, track_id * 91 % 256, 255)
        cv2.rectangle(frame_bgr, (left, top), (right, bottom), colour, thickness)
        (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 0.9, 2)
        cv2.rectangle(frame_bgr, (left, top - height - 12), (left + width + 8, top), colour, cv2.FILLED)
        cv2.putText(frame_bgr, label, (left + 4, top - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (0, 0, 0), 2)


def draw_tracks_on_yuv(
    i420: U8, boxes_xyxy: NDArray[np.floating], ids: NDArray[np.int64], labels: Sequence[str], thickness: int
) -> U8:
    """Draw, with the conversions that are needed if frames are decoded to, and encoded from, yuv420p."""
    frame_bgr = cv2.cvtColor(i420, cv2.COLOR_YUV2BGR_I420)
    draw_tracks(frame_bgr, boxes_xyxy, ids, labels, thickness)
    return np.asarray(cv2.cvtColor(frame_bgr, cv2.COLOR_BGR2YUV_I420), np.uint8)
