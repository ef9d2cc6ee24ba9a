"""Overlay: labelled boxes on the planes of a 1080p frame, beside OpenCV's rectangle and putText, by boxes a frame.

OpenCV is timed twice, on one thread: drawing alone, on BGR; and with the conversions YUV -> BGR -> YUV that it needs
where frames are decoded to, and encoded from, yuv420p. Everyone draws on one frame over and over.

Every pixel of an outline must have changed, and none outside of outlines and labels.
"""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.context import Context
from benchmarks.peers import opencv
from benchmarks.record import Answer, Row, checked
from benchmarks.rounds import Repeated, alternate_short
from benchmarks.stages.letterbox import planes_of
from engine_ext.overlay import draw_tracks

OURS = "draw_tracks"
ON_BGR, ON_YUV = "OpenCV, on BGR", "OpenCV, YUV->BGR->YUV"
WIDTH, HEIGHT = 1920, 1080
THICKNESS = 3
FONT_SIZE = 19
# Of a label: no wider and no higher than this.
LABEL_WIDE, LABEL_HIGH = 120, 26
BOXES = {"quick": (30, 300), "full": (10, 30, 100, 300, 1000), "large": (10, 30, 100, 300, 1000)}
# They are short: for each of the profile's.
ROUNDS = 3
# A luma that no colour, black or white has.
UNTOUCHED = 5

U8 = NDArray[np.uint8]


class Tracks(NamedTuple):
    boxes_xyxy: NDArray[np.float64]
    ids: NDArray[np.int64]
    labels: list[str]


def measure(context: Context) -> Iterator[Row]:
    for count in BOXES[context.profile.name]:
        yield measure_case(context, count)


def measure_case(context: Context, count: int) -> Row:
    tracks = make_tracks(count)
    frame = make_frame()
    frame_bgr = cv2.cvtColor(frame, cv2.COLOR_YUV2BGR_I420)
    work = {
        OURS: Repeated(draw, planes_of(frame.copy()), tracks),
        ON_BGR: Repeated(opencv.draw_tracks, frame_bgr, *tracks, THICKNESS),
        ON_YUV: Repeated(opencv.draw_tracks_on_yuv, frame, *tracks, THICKNESS),
    }
    with opencv.one_thread():
        figures = alternate_short(work, rounds=ROUNDS * context.profile.rounds, scale=1e3)
    return context.row(
        "overlay",
        f"{count} boxes",
        figures=figures,
        unit="ms a frame",
        better="lower",
        ours=OURS,
        input=f"{count} labelled boxes on yuv420p {WIDTH}x{HEIGHT}, one thread",
        answer=answer_of(tracks),
        curve="boxes per frame",
        x=count,
    )


def draw(planes: list[U8], tracks: Tracks) -> None:
    draw_tracks(planes, (WIDTH, HEIGHT), *tracks, thickness=THICKNESS, font_size=FONT_SIZE)


def make_frame() -> U8:
    """(HEIGHT * 3 / 2, WIDTH), the planes one after the other: a grey ramp with a little colour."""
    frame = np.full((HEIGHT * 3 // 2, WIDTH), 120, np.uint8)
    frame[:HEIGHT] = np.linspace(40, 200, WIDTH).astype(np.uint8)
    return frame


def make_tracks(count: int) -> Tracks:
    rng = np.random.default_rng(1)
    corner = rng.uniform([0, 40], [WIDTH - 220, HEIGHT - 400], (count, 2))
    size = rng.uniform([60, 100], [220, 400], (count, 2))
    return Tracks(np.hstack([corner, corner + size]), np.arange(count), [f"person {i}" for i in range(count)])


def answer_of(tracks: Tracks) -> Answer:
    frame = make_frame()
    frame[:HEIGHT] = UNTOUCHED
    draw(planes_of(frame), tracks)
    changed = frame[:HEIGHT] != UNTOUCHED
    outlines, allowed = np.zeros_like(changed), np.zeros_like(changed)
    for (left, top, right, bottom), label in zip(
        np.floor(tracks.boxes_xyxy + 0.5).astype(int), tracks.labels, strict=True
    ):
        for box in (
            np.s_[top : top + THICKNESS, left:right],
            np.s_[bottom - THICKNESS : bottom, left:right],
            np.s_[top:bottom, left : left + THICKNESS],
            np.s_[top:bottom, right - THICKNESS : right],
        ):
            outlines[box] = True
        if label:
            rows = np.s_[max(0, top - LABEL_HIGH) : bottom + LABEL_HIGH]
            allowed[rows, max(0, left - LABEL_WIDE) : left] = True  # not where a thicker line would be drawn
            allowed[rows, right : right + LABEL_WIDE] = True
            allowed[max(0, top - LABEL_HIGH) : top + 1, left : left + LABEL_WIDE] = True
            allowed[bottom : bottom + LABEL_HIGH, left:right] = True
    missing = int(np.count_nonzero(outlines & ~changed))
    stray = int(np.count_nonzero(changed & ~(outlines | allowed)))
    return checked(
        not missing and not stray,
        "masks of the outlines and of the labels' places",
        f"{missing} pixels of outlines not drawn, {stray} drawn elsewhere than on outlines and labels",
        outline_pixels=int(outlines.sum()),
        missing_pixels=missing,
        stray_pixels=stray,
    )
