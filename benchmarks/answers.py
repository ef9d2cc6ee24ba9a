"""Checks that timed results are correct, shared by several stages."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.reference_sort import ReferenceSort, iou

# Pixels. Both files are rounded to 0.01, and the filter propagates the rounding of the detections.
BOX_TOLERANCE = 0.1
SAME_OBJECT_IOU = 0.5

Array = NDArray[Any]
Found = tuple[Array, Array, Array]  # boxes_xyxy (N, 4), scores (N,), class_ids (N,)


def rows_of(path: Path) -> dict[int, list[dict[str, Any]]]:
    """Return the rows of a JSONL file, by frame."""
    rows = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows[row["frame"]].append(row)
    return rows


def found_in(path: Path, frames: int) -> list[Found]:
    """Return the detections of each frame in a `.detections.jsonl`."""
    rows = rows_of(path)
    return [
        (
            np.array([row["box_xyxy"] for row in rows[frame]], np.float64).reshape(-1, 4),
            np.array([row["score"] for row in rows[frame]], np.float64),
            np.array([row["class_id"] for row in rows[frame]], np.int64),
        )
        for frame in range(frames)
    ]


def f1(ours: Sequence[Found], theirs: Sequence[Found]) -> float:
    """Return the agreement of two lists of detections, frame by frame: 2 x pairs / all boxes. A pair is of one class
    and overlaps by half; the pairs that overlap most are taken first. 1.0 where neither found anything."""
    pairs = boxes = 0
    for (our_boxes, _, our_classes), (their_boxes, _, their_classes) in zip(ours, theirs, strict=True):
        boxes += len(our_boxes) + len(their_boxes)
        overlaps = iou(np.asarray(our_boxes, np.float64), np.asarray(their_boxes, np.float64))
        overlaps[our_classes[:, None] != their_classes[None, :]] = 0
        while overlaps.size and overlaps.max() >= SAME_OBJECT_IOU:
            i, j = np.unravel_index(overlaps.argmax(), overlaps.shape)
            overlaps[i, :] = overlaps[:, j] = 0
            pairs += 1
    return 2 * pairs / boxes if boxes else 1.0


def tracks_hold(detections: Path, tracks: Path, sort: ReferenceSort) -> bool:
    """Return whether the plain tracker turns the engine's detections into the engine's tracks: the same boxes in each
    frame, and ids that correspond one to one. Tracks that begin in the same frame may be numbered in any order."""
    found, reported = rows_of(detections), rows_of(tracks)
    twins: dict[int, int] = {}
    for frame in range(max([*found, *reported], default=-1) + 1):
        boxes = np.array([row["box_xyxy"] for row in found[frame]], np.float64).reshape(-1, 4)
        expected = sort.update(boxes, np.array([row["class_id"] for row in found[frame]], np.int64))
        ours = {row["track_id"]: np.array(row["box_xyxy"]) for row in reported[frame]}
        if len(ours) != len(expected):
            return False
        for number, box in expected:
            known = [twins[number]] if number in twins else [each for each in ours if each not in twins.values()]
            same = [each for each in known if each in ours and np.abs(ours[each] - box).max() <= BOX_TOLERANCE]
            if not same:
                return False
            twins[number] = same[0]
    return True


def same_bytes(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def luma_psnr_db(video: Path, source: Path) -> tuple[int, float]:
    """Return frames of `video`, and how close its luma is to the source's; what was drawn counts as error. The shorter
    of the two ends the comparison."""
    import av

    error = pixels = 0.0
    frames = 0
    with av.open(str(video)) as ours, av.open(str(source)) as theirs:
        original = theirs.decode(video=0)
        for frame in ours.decode(video=0):
            frames += 1
            if (pair := next(original, None)) is None:
                continue
            difference = _luma(frame).astype(np.int16) - _luma(pair)
            error += float(np.square(difference, dtype=np.int32).sum())
            pixels += difference.size
    mean = error / pixels if pixels else 0.0
    return frames, float(10 * np.log10(255**2 / mean)) if mean else 99.0


def _luma(frame: Any) -> Array:
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
