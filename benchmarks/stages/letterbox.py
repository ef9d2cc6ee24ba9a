"""Letterbox: a decoded frame's planes into a padded float32 tensor, compared with OpenCV on one thread, by resolution.

Both start from yuv420p planes and end in the same tensor. Ours must be within a tenth of a level (of 255) of the same
computation in float64, in NumPy; OpenCV's difference from it is reported, too.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.context import Context
from benchmarks.peers import opencv
from benchmarks.record import Answer, Row, checked
from benchmarks.rounds import Repeated, alternate_short
from engine_ext.letterbox import Letterbox
from tests.reference import letterbox as reference

OURS = "Letterbox"
SOURCES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080), "2160p": (3840, 2160)}
QUICK = ("1080p", "2160p")
# YOLOX-nano's rectangle for 16:9, and that of the models of 640 pixels.
TENSORS = ((256, 416), (384, 640))
# Short, so several per round of the profile.
ROUNDS = 3
# Levels of 255.
TOLERANCE, OPENCV_TOLERANCE = 0.1, 5.0

U8 = NDArray[np.uint8]


def measure(context: Context) -> Iterator[Row]:
    for dst_hw in TENSORS:
        for source, src_wh in SOURCES.items():
            if source in QUICK or context.profile.name != "quick":
                yield measure_case(context, source, src_wh, dst_hw)


def measure_case(context: Context, source: str, src_wh: tuple[int, int], dst_hw: tuple[int, int]) -> Row:
    i420 = picture(*src_wh)
    planes = planes_of(i420)
    letterbox = Letterbox(src_wh, dst_hw, "yuv420p")
    ours, theirs = (np.zeros((3, *dst_hw), np.float32) for _ in range(2))
    work = {
        OURS: Repeated(letterbox.apply, planes, ours),
        opencv.NAME: Repeated(opencv.letterbox, i420, theirs, letterbox.resized_wh, letterbox.pad_xy),
    }
    with opencv.one_thread():
        figures = alternate_short(work, rounds=ROUNDS * context.profile.rounds, scale=1e3)
    tensor = f"{dst_hw[0]}x{dst_hw[1]}"
    return context.row(
        "letterbox",
        f"{source} to {tensor}",
        figures=figures,
        unit="ms a frame",
        better="lower",
        ours=OURS,
        input=f"yuv420p {src_wh[0]}x{src_wh[1]} to float32 (3, {dst_hw[0]}, {dst_hw[1]}), one thread",
        answer=answer_of(planes, src_wh, dst_hw, ours, theirs),
        curve=f"frame height, to {tensor}",
        x=src_wh[1],
    )


def answer_of(
    planes: list[U8],
    src_wh: tuple[int, int],
    dst_hw: tuple[int, int],
    ours: NDArray[np.float32],
    theirs: NDArray[np.float32],
) -> Answer:
    expected = reference.letterbox(planes, src_wh, dst_hw, "yuv420p")
    largest, opencv_mean = float(np.abs(ours - expected).max()), float(np.abs(theirs - expected).mean())
    return checked(
        largest <= TOLERANCE and opencv_mean <= OPENCV_TOLERANCE,
        "the same in float64, in NumPy",
        f"{'within' if largest <= TOLERANCE else 'NOT within'} {TOLERANCE} level of 255 everywhere",
        max_error_levels=largest,
        opencv_mean_error_levels=opencv_mean,
    )


def picture(w: int, h: int) -> U8:
    """(h * 3 / 2, w) I420: shapes, gradients and a little noise, so that an error of position or colour shows."""
    rng = np.random.default_rng(w)
    coarse = rng.integers(0, 256, (h // 40, w // 40, 3), dtype=np.uint8)
    rgb = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        x, y, r = (int(rng.integers(0, limit)) for limit in (w, h, h // 6))
        cv2.circle(rgb, (x, y), r + 2, [int(c) for c in rng.integers(0, 256, 3)], -1, cv2.LINE_AA)
    rgb = cv2.add(rgb, rng.integers(0, 6, rgb.shape, dtype=np.uint8))
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)


def planes_of(i420: U8) -> list[U8]:
    """Return views of the three planes, as from a decoder."""
    h, w = i420.shape[0] * 2 // 3, i420.shape[1]
    y, u, v = np.split(i420.reshape(-1), [w * h, w * h * 5 // 4])
    return [y.reshape(h, w), u.reshape(h // 2, w // 2), v.reshape(h // 2, w // 2)]
