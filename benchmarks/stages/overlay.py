"""Overlay: labelled boxes on the planes of a 1080p frame, compared with OpenCV's rectangle and putText, by box count.

OpenCV is timed twice, on one thread: drawing alone, on BGR; and with the conversions YUV -> BGR -> YUV that it needs
if frames are decoded to, and encoded from, yuv420p. All draw on the same frame repeatedly.

Every pixel of an outline must have changed, and none outside of outlines and labels.

Then all that an annotated video draws on a frame, at three sizes: boxes and labels, with trails of a second, and with
two lines, a zone, their counts and the clock as well. Each frame is the next one of objects that walk. What was counted
must be what the rules count in the same rows.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import NamedTuple

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.context import Context
from benchmarks.peers import opencv
from benchmarks.record import Answer, Row, checked
from benchmarks.rounds import Repeated, alternate_short
from benchmarks.stages.letterbox import planes_of
from engine import records
from engine.analytics import EventKind, Recording, Scene, analyse
from engine.config import EngineConfig
from engine.pipeline.outputs import scene_overlay
from engine.sinks.overlay import Overlay, OverlayStyle, rows_of
from engine_ext.overlay import draw_tracks

OURS = "draw_tracks"
ON_BGR, ON_YUV = "OpenCV, on BGR", "OpenCV, YUV->BGR->YUV"
WIDTH, HEIGHT = 1920, 1080
THICKNESS = 3
FONT_SIZE = 19
# Maximum width and height of a label.
LABEL_WIDE, LABEL_HIGH = 120, 26
BOXES = {"quick": (30, 300), "full": (10, 30, 100, 300, 1000), "large": (10, 30, 100, 300, 1000)}
# Short, so several per round of the profile.
ROUNDS = 3
# A luma that no colour, black or white has.
UNTOUCHED = 5

SIZES = {"480p": (854, 480), "1080p": (1920, 1080), "4K": (3840, 2160)}
LABELS, TRAILS, SCENE_TOO = "boxes and labels", "and trails", "and lines, zones, clock"
FPS = 25
LOOKS = {"quick": (30, 100), "full": (10, 30, 100, 1000), "large": (10, 30, 100, 1000)}
# Frames of walking, over and over; so many of them are counted, up to a frame so much later.
WALK, COUNTED, AFTER_ALL = 250, 60, 1000
SCENE = Scene.model_validate(
    {
        "line": [
            {"name": "north", "points": [[0.05, 0.4], [0.95, 0.45]], "in": "to centre", "out": "from centre"},
            {"name": "kerb", "points": [[0.6, 0.05], [0.55, 0.5], [0.7, 0.95]]},
        ],
        "zone": [{"name": "bus stop", "polygon": [[0.1, 0.5], [0.4, 0.5], [0.45, 0.95], [0.05, 0.95]]}],
    }
)

U8 = NDArray[np.uint8]


class Tracks(NamedTuple):
    boxes_xyxy: NDArray[np.float64]
    ids: NDArray[np.int64]
    labels: list[str]


def measure(context: Context) -> Iterator[Row]:
    for count in BOXES[context.profile.name]:
        yield measure_case(context, count)
    for size in SIZES:
        for count in LOOKS[context.profile.name]:
            yield measure_look(context, size, count)


def measure_look(context: Context, size: str, count: int) -> Row:
    """Return everything that the engine draws on a frame of an annotated video."""
    walk = walking(count, SIZES[size])
    work = {look: Repeated(drawing(walk, look, SIZES[size])) for look in (LABELS, TRAILS, SCENE_TOO)}
    return context.row(
        "overlay",
        f"{size}, {count} tracks",
        figures=alternate_short(work, rounds=context.profile.rounds, scale=1e3),
        unit="ms a frame",
        better="lower",
        ours=LABELS,
        input=f"{count} objects that walk, yuv420p {'x'.join(map(str, SIZES[size]))}, one thread",
        answer=counted(walk, SIZES[size]),
    )


def walking(count: int, size_wh: tuple[int, int]) -> list[records.Tracks]:
    """Return the tracks of WALK frames, and back again at the end: boxes of a crowd's size, with a detector's noise."""
    rng = np.random.default_rng(count)
    size = np.array(size_wh)
    start, speed = rng.uniform([0, 0], size, (count, 2)), rng.normal(0, size_wh[0] / 400, (count, 2))
    half = np.array([size_wh[0] / 60, size_wh[1] / 12])
    found = []
    for number in range(WALK):
        foot = start + speed * min(number, WALK - number)
        foot = size - abs(foot % (2 * size) - size) + rng.normal(0, 0.5, (count, 2))  # turns at the frame's edge
        frame = records.Frame(0, number, number, 1, Fraction(1, FPS), None, step_s=Fraction(1, FPS))
        boxes, ids = np.hstack([foot - half, foot + half]).round(2), np.arange(1, count + 1)
        found.append(records.Tracks(frame, boxes, ids, np.zeros(count, np.int32), np.full(count, 0.5, np.float32)))
    return found


def drawing(walk: list[records.Tracks], look: str, size_wh: tuple[int, int]) -> Callable[[], None]:
    """Return what draws the next frame with each call, on one image over and over."""
    image = av.VideoFrame(*size_wh, "yuv420p")
    image.make_writable()
    config = EngineConfig(trail_s=0.0 if look == LABELS else 1.0)
    scene = scene_overlay(config, SCENE) if look == SCENE_TOO else None
    overlay = Overlay(OverlayStyle.of(config), ["person"], scene)
    start, number = datetime(2024, 5, 1, 8, tzinfo=UTC), -1

    def draw_next() -> None:
        nonlocal number
        number += 1
        tracks = walk[number % WALK]
        frame = replace(tracks.frame, index=number, pts=number, image=image, wall=start)
        overlay.draw(image, replace(tracks, frame=frame))

    return draw_next


def counted(walk: list[records.Tracks], size_wh: tuple[int, int]) -> Answer:
    """Return whether what is shown behind some frames is what is counted in their rows, once all tracks have ended."""
    config = EngineConfig()
    scene = scene_overlay(config, SCENE)
    assert scene is not None
    rows = [rows_of(tracks, tracks.boxes_xyxy, {0: "person"}) for tracks in walk[:COUNTED]]
    for tracks, each in zip(walk, rows, strict=False):
        scene.see(tracks.frame, each, size_wh)
    late = replace(walk[0].frame, index=COUNTED + AFTER_ALL, pts=COUNTED + AFTER_ALL)
    nobody = records.Tracks.none_of(late)
    scene.see(late, rows_of(nobody, nobody.boxes_xyxy, {}), size_wh)
    signs = scene.signs(late)
    answers = analyse([Recording("walk", size_wh, [each.samples for each in rows], (0.0, COUNTED / FPS))], SCENE)
    found = [event for event in answers.events if event.kind in (EventKind.CROSSING, EventKind.STAY)]

    def number(place: str, direction: str) -> int:
        return sum((event.place, event.direction) == (place, direction) for event in found)

    expected = [
        *(f"{e.name}: {e.into} {number(e.name, e.into)}, {e.out} {number(e.name, e.out)}" for e in SCENE.lines),
        *(f"{zone.name}: now 0, total {number(zone.name, '')}" for zone in SCENE.zones),
    ]
    return checked(
        signs[1:] == expected and bool(found),
        "what the rules count in the same rows",
        f"shown: {'; '.join(signs[1:])}; counted: {'; '.join(expected)}",
        events=len(found),
    )


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
            # Above, below and inside it begins at the box's left edge or ends at its right one.
            for high in (max(0, top - LABEL_HIGH), top, bottom - LABEL_HIGH, bottom):
                allowed[high : high + LABEL_HIGH + 1, left : left + LABEL_WIDE] = True
                allowed[high : high + LABEL_HIGH + 1, max(0, right - LABEL_WIDE) : right] = True
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
