"""Fill: the detections of gated frames that were not inferred, or only in part.

It stands in front of the tracker, which so gets detections in every frame: what is parked neither ages nor flickers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.records import Detections, Frame, Look, Plan
from engine_ext.geometry import iou_matrix

# Overlap of two boxes of a class that are of one thing: of what was there before and what is found there, and of what
# may have gone on meanwhile.
_SAME_THING = 0.3
_ON_ITS_WAY = 0.05
# Of a box carried over with a new one of any class, above which it gives way.
_GIVES_WAY = 0.45
# A box that was not found again is gone where all of it was looked at, with so many pixels of the tensor around, and as
# large a share of it has changed.
_AROUND = 6.0
_CHANGED = 0.15
# Of a new box, what lies within a known one that was not seen as a whole, from which on it is a piece of that one.
_A_PIECE = 0.8


class Fill:
    """The detections of one stream, frame by frame in order."""

    def __init__(self, max_detections: int, filled: tuple[Detections, int] | None = None) -> None:
        """Start, or go on where `state` gave `filled`."""
        self._max_detections = max_detections
        self._before, self._pts = filled if filled is not None else (Detections(), 0)
        self._held: list[Frame] = []

    def take(self, frame: Frame, found: Detections | None) -> Iterator[tuple[Frame, Detections | None]]:
        """Take the next frame and what was found in it, and give those whose detections are known by now."""
        plan = frame.plan
        if plan is None:
            yield frame, found
            return
        if plan.look is Look.BETWEEN:
            self._held.append(frame)
            return
        before, pts, held = self._before, self._pts, self._held
        now = _carried(before) if found is None else found
        if plan.look is Look.PARTS:
            now = self._limited(_joined(before, now, plan))
        self._before, self._pts, self._held = now, frame.pts, []
        if held:
            pairs = matches(before, now, _ON_ITS_WAY)
            for each in held:
                yield each, self._limited(_between(before, now, pairs, (each.pts - pts) / (frame.pts - pts)))
        yield frame, now

    def rest(self) -> Iterator[tuple[Frame, Detections]]:
        """Give the last frames of the stream, behind which nothing was looked at."""
        held, self._held = self._held, []
        for frame in held:
            yield frame, _carried(self._before)

    def state(self) -> tuple[Detections, int]:
        """Return what the next frames depend on, behind a frame that is not between others."""
        return self._before, self._pts

    def _limited(self, found: Detections) -> Detections:
        """Return detections in order of their scores, as many as are kept."""
        order = np.argsort(-found.scores, kind="stable")[: self._max_detections]
        return _picked(found, order)


def matches(one: Detections, other: Detections, least: float = _SAME_THING) -> NDArray[np.intp]:
    """Return pairs (P, 2) of detections of one class that overlap by `least`, of which each has one at most: those that
    overlap most first."""
    overlap = iou_matrix(one.boxes_xyxy.astype(np.float64), other.boxes_xyxy.astype(np.float64))
    overlap[one.class_ids[:, None] != other.class_ids[None, :]] = 0.0
    rows, columns = np.nonzero(overlap >= least)
    pairs: list[tuple[int, int]] = []
    taken: tuple[set[int], set[int]] = set(), set()
    for at in np.argsort(-overlap[rows, columns], kind="stable"):
        row, column = int(rows[at]), int(columns[at])
        if row not in taken[0] and column not in taken[1]:
            pairs.append((row, column))
            taken[0].add(row)
            taken[1].add(column)
    return np.array(pairs, np.intp).reshape(-1, 2)


def _picked(found: Detections, rows: NDArray[np.intp]) -> Detections:
    return replace(
        found,
        boxes_xyxy=found.boxes_xyxy[rows],
        scores=found.scores[rows],
        class_ids=found.class_ids[rows],
        carried=None if found.carried is None else found.carried[rows],
    )


def _carried(before: Detections) -> Detections:
    carried = np.ones(len(before), np.bool_)
    return Detections(before.boxes_xyxy, before.scores, before.class_ids, carried=carried)


def _joined(before: Detections, found: Detections, plan: Plan) -> Detections:
    """Return what was found in parts of a frame, and of what was there before, what still must be."""
    found = _picked(found, np.flatnonzero(~_pieces(before, found, plan)))
    left = np.ones(len(before), np.bool_)
    left[matches(before, found)[:, 0]] = False
    overlap = iou_matrix(before.boxes_xyxy.astype(np.float64), found.boxes_xyxy.astype(np.float64))
    left &= ~(overlap > _GIVES_WAY).any(axis=1)
    for row in np.flatnonzero(left):
        left[row] = not _is_gone(before.boxes_xyxy[row].tolist(), plan)
    kept = _picked(_carried(before), np.flatnonzero(left))
    assert kept.carried is not None
    return replace(
        found,
        boxes_xyxy=np.concatenate((found.boxes_xyxy, kept.boxes_xyxy)),
        scores=np.concatenate((found.scores, kept.scores)),
        class_ids=np.concatenate((found.class_ids, kept.class_ids)),
        carried=np.concatenate((np.zeros(len(found), np.bool_), kept.carried)),
    )


def _pieces(before: Detections, found: Detections, plan: Plan) -> NDArray[np.bool_]:
    """Return which of the boxes found are of no thing as a whole: a part ends within a known thing, of which the model
    has seen no more than that part shows. Where it was as a whole is the better answer, until it is seen so again."""
    whole = np.array([_is_seen(box, plan) for box in before.boxes_xyxy.tolist()], np.bool_)
    known, new = before.boxes_xyxy[~whole].astype(np.float64), found.boxes_xyxy.astype(np.float64)
    sides = np.minimum(known[:, None, 2:], new[None, :, 2:]) - np.maximum(known[:, None, :2], new[None, :, :2])
    area = (new[:, 2] - new[:, 0]) * (new[:, 3] - new[:, 1])
    within = np.maximum(sides, 0).prod(axis=2) >= _A_PIECE * area
    of_it = before.class_ids[~whole][:, None] == found.class_ids[None, :]
    pieces: NDArray[np.bool_] = (within & (of_it | (iou_matrix(known, new) > _GIVES_WAY))).any(axis=0)
    return pieces


def _is_gone(box: list[float], plan: Plan) -> bool:
    """Return whether a box x1 y1 x2 y2 that was not found again was looked at, and there is reason to believe what was
    seen."""
    changed, block_px = plan.changed, plan.block_px
    assert changed is not None
    left, top, right, bottom = (int(side // block_px) for side in box)
    inside = changed[top : bottom + 1, left : right + 1]
    if not inside.size or np.count_nonzero(inside) < _CHANGED * inside.size:
        return False
    return _is_seen(box, plan)


def _is_seen(box: list[float], plan: Plan) -> bool:
    """Return whether all of a box x1 y1 x2 y2 was looked at, with a little around it."""
    (ratio_x, ratio_y), (pad_x, pad_y) = plan.ratio_xy, plan.pad_xy
    x0, x1 = (side * ratio_x + pad_x for side in box[::2])
    y0, y1 = (side * ratio_y + pad_y for side in box[1::2])
    height, width = plan.whole_hw
    return any(
        (part.x == 0 or x0 - _AROUND >= part.x)
        and (part.y == 0 or y0 - _AROUND >= part.y)
        and (part.x + part.width == width or x1 + _AROUND <= part.x + part.width)
        and (part.y + part.height == height or y1 + _AROUND <= part.y + part.height)
        for part in plan.parts
    )


def _between(before: Detections, now: Detections, pairs: NDArray[np.intp], share: float) -> Detections:
    """Return the detections of a frame that is `share` of the way from one to another: what is in both is on its way,
    what is in one is in the nearer half."""
    rows, columns = pairs[:, 0], pairs[:, 1]
    weight = np.float32(share)
    boxes = before.boxes_xyxy[rows] * (1 - weight) + now.boxes_xyxy[columns] * weight
    scores = before.scores[rows] * (1 - weight) + now.scores[columns] * weight
    nearer, paired = (before, rows) if share <= 0.5 else (now, columns)
    alone = np.setdiff1d(np.arange(len(nearer)), paired)
    class_ids = np.concatenate((before.class_ids[rows], nearer.class_ids[alone]))
    return Detections(
        np.concatenate((boxes, nearer.boxes_xyxy[alone])),
        np.concatenate((scores, nearer.scores[alone])),
        class_ids,
        carried=np.ones(len(class_ids), np.bool_),
    )
