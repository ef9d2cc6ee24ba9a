"""Fill: the detections of gated frames that were not inferred, or only in part.

It runs in front of the tracker, which therefore gets detections in every frame: parked objects neither age nor flicker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.records import Detections, Frame, Look, Plan
from engine_ext.geometry import iou_matrix

# Overlap of two boxes of a class that are of one thing: of what was there before and what is found there, and of what
# may have continued meanwhile.
_SAME_THING = 0.3
_ON_ITS_WAY = 0.05
# Of a box carried over with a new one of any class, above which it gives way.
_GIVES_WAY = 0.45
# A box that was not found again is gone where all of it was looked at, with so many pixels of the tensor around, and as
# large a share of it has changed.
_AROUND = 6.0
_CHANGED = 0.15
# A new box is a piece of a known one if at least `_A_PIECE` of it is within that one, it ends within `_NEAR` of an
# edge of its part, and the known one extends at least `_CUT` beyond that edge; both in pixels of the tensor.
_A_PIECE, _NEAR, _CUT = 0.8, 16.0, 3.0


class Fill:
    """The detections of one stream, frame by frame in order."""

    def __init__(
        self, max_detections: int, filled: tuple[Detections, int] | None = None, *, lowest: float = 0.0
    ) -> None:
        """Start, or continue from `filled`, as returned by `state`. `lowest` is the minimum score that is of use;
        detections below it only tell what a score between two frames is."""
        self._max_detections, self._lowest = max_detections, lowest
        self._before, self._pts = filled if filled is not None else (Detections(), 0)
        self._held: list[Frame] = []

    def take(self, frame: Frame, found: Detections | None) -> Iterator[tuple[Frame, Detections | None]]:
        """Take the next frame and its detections, and yield the frames whose detections are now known."""
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
            now = self._limited(_joined(before, now, plan, self._lowest))
        self._before, self._pts, self._held = now, frame.pts, []
        if held:
            pairs = on_their_way(before, now)
            for each in held:
                share = (each.pts - pts) / (frame.pts - pts)
                yield each, self._limited(between(before, now, pairs, share, self._lowest))
        yield frame, now

    def rest(self) -> Iterator[tuple[Frame, Detections]]:
        """Yield the last frames of the stream, after which nothing was inferred."""
        held, self._held = self._held, []
        for frame in held:
            yield frame, _carried(self._before)

    def state(self) -> tuple[Detections, int]:
        """Return the state on which the next frames depend, after a frame that is not interpolated."""
        return self._before, self._pts

    def _limited(self, found: Detections) -> Detections:
        """Return the highest-scoring detections, sorted, up to the limit."""
        order = np.argsort(-found.scores, kind="stable")[: self._max_detections]
        return _picked(found, order)


def matches(one: Detections, other: Detections, least: float = _SAME_THING) -> NDArray[np.intp]:
    """Return pairs (P, 2) of detections of one class that overlap by `least`, each detection in at most one pair,
    largest overlap first."""
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


def _joined(before: Detections, found: Detections, plan: Plan, lowest: float) -> Detections:
    """Return the detections in the parts of a frame, and those previous ones that must still be there. Those with a
    score below `lowest` replace none with a higher one: parts, which show little around a thing, score it lower."""
    sure = _joined_alike(before.above(lowest), found.above(lowest), plan)
    below = [_picked(each, np.flatnonzero(each.scores < np.float32(lowest))) for each in (before, found)]
    faint = _joined_alike(below[0], below[1], plan)
    if not len(faint):
        return sure
    overlap = iou_matrix(faint.boxes_xyxy.astype(np.float64), sure.boxes_xyxy.astype(np.float64))
    alike = faint.class_ids[:, None] == sure.class_ids[None, :]
    hidden = (overlap > np.where(alike, _SAME_THING, _GIVES_WAY)).any(axis=1)
    return _both(sure, _picked(faint, np.flatnonzero(~hidden)))


def _joined_alike(before: Detections, found: Detections, plan: Plan) -> Detections:
    """Return the same of detections that replace each other."""
    found = _picked(found, np.flatnonzero(~_pieces(before, found, plan)))
    left = np.ones(len(before), np.bool_)
    left[matches(before, found)[:, 0]] = False
    overlap = iou_matrix(before.boxes_xyxy.astype(np.float64), found.boxes_xyxy.astype(np.float64))
    left &= ~(overlap > _GIVES_WAY).any(axis=1)
    for row in np.flatnonzero(left):
        left[row] = not _is_gone(before.boxes_xyxy[row].tolist(), plan)
    return _both(found, _picked(_carried(before), np.flatnonzero(left)))


def _both(one: Detections, other: Detections) -> Detections:
    """Return the detections of both, and what else is told of the first."""
    carried = (np.zeros(len(each), np.bool_) if each.carried is None else each.carried for each in (one, other))
    return replace(
        one,
        boxes_xyxy=np.concatenate((one.boxes_xyxy, other.boxes_xyxy)),
        scores=np.concatenate((one.scores, other.scores)),
        class_ids=np.concatenate((one.class_ids, other.class_ids)),
        carried=np.concatenate(tuple(carried)),
    )


def _pieces(before: Detections, found: Detections, plan: Plan) -> NDArray[np.bool_]:
    """Return which of the boxes found are cut: they are within a known box that continues behind an edge of a part, and
    end near that edge. The known one is the better answer, until all of the thing is seen again."""
    known, new = before.boxes_xyxy.astype(np.float64), found.boxes_xyxy.astype(np.float64)
    sides = np.minimum(known[:, None, 2:], new[None, :, 2:]) - np.maximum(known[:, None, :2], new[None, :, :2])
    area = (new[:, 2] - new[:, 0]) * (new[:, 3] - new[:, 1])
    within = np.maximum(sides, 0).prod(axis=2) >= _A_PIECE * area
    within &= (before.class_ids[:, None] == found.class_ids[None, :]) | (iou_matrix(known, new) > _GIVES_WAY)
    known, new = ((boxes * (plan.ratio_xy * 2) + plan.pad_xy * 2).T for boxes in (known, new))
    centre_x, centre_y = (new[0] + new[2]) / 2, (new[1] + new[3]) / 2
    (height, width), cut = plan.whole_hw, np.zeros(within.shape, np.bool_)
    for part in plan.parts:
        left, top, right, bottom = part.x, part.y, part.x + part.width, part.y + part.height
        inside = (centre_x >= left) & (centre_x < right) & (centre_y >= top) & (centre_y < bottom)
        over = np.zeros(within.shape, np.bool_)
        for side, edge, inner in ((0, left, left > 0), (1, top, top > 0)):
            over |= inner & (new[side] < edge + _NEAR) & (known[side] < edge - _CUT)[:, None]
        for side, edge, inner in ((2, right, right < width), (3, bottom, bottom < height)):
            over |= inner & (new[side] > edge - _NEAR) & (known[side] > edge + _CUT)[:, None]
        cut |= over & inside
    pieces: NDArray[np.bool_] = (within & cut).any(axis=0)
    return pieces


def _is_gone(box: list[float], plan: Plan) -> bool:
    """Return whether a box x1 y1 x2 y2 that was not found again is gone: it was inferred, and the result is
    believable."""
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


def on_their_way(before: Detections, now: Detections) -> NDArray[np.intp]:
    """Return the pairs (P, 2) of detections in two frames between which `between` interpolates."""
    return matches(before, now, _ON_ITS_WAY)


def between(before: Detections, now: Detections, pairs: NDArray[np.intp], share: float, lowest: float) -> Detections:
    """Return the detections of a frame that is `share` of the way from one frame to another. Boxes in both are
    interpolated, and so are their scores; those in one only fade towards the other. What is then below `lowest` is left
    out: boxes that come and go with the noise are there where the frames around agree that they are."""
    rows, columns = pairs[:, 0], pairs[:, 1]
    weight = np.float32(share)
    boxes = [before.boxes_xyxy[rows] * (1 - weight) + now.boxes_xyxy[columns] * weight]
    scores = [before.scores[rows] * (1 - weight) + now.scores[columns] * weight]
    class_ids = [before.class_ids[rows]]
    for side, paired, left in ((before, rows, 1 - weight), (now, columns, weight)):
        alone = np.setdiff1d(np.arange(len(side)), paired)
        boxes.append(side.boxes_xyxy[alone])
        scores.append(side.scores[alone] * left)
        class_ids.append(side.class_ids[alone])
    found = Detections(np.concatenate(boxes), np.concatenate(scores), np.concatenate(class_ids))
    return _carried(_picked(found, np.flatnonzero(found.scores >= np.float32(lowest))))
