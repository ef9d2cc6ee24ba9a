"""Fill: the detections of gated frames that were not inferred, or only in part.

It runs in front of the tracker, which therefore gets detections in every frame: parked objects neither age nor flicker.

Frames between two others are interpolated where those agree about what is there. Where they don't, the one in the
middle is inferred after all, and both halves are treated alike: long intervals where all goes on as it was, short ones
where something comes, goes or is doubtful.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.records import Detections, Filled, Frame, Look, Plan
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
# Of the boxes, what may be doubtful; and the same in an interval of two frames or at most so many seconds, in which
# things hardly change.
_DOUBTFUL, _DOUBTFUL_BRIEFLY, _BRIEF_S = 0.05, 0.25, Fraction(1, 8)

_NONE: Mapping[int, Detections | None] = MappingProxyType({})


class _Interval(NamedTuple):
    """The held frames from number `first` to before `last`, which are interpolated, between what is known before them
    and what is there in the next one; and the pairs of both."""

    first: int
    last: int
    before: Filled
    now: Detections
    pairs: NDArray[np.intp]


class Fill:
    """The detections of one stream, frame by frame in order."""

    def __init__(
        self, max_detections: int, filled: Filled | None = None, *, lowest: float = 0.0, reported: float = 0.0
    ) -> None:
        """Start, or continue from `filled`, as returned by `state`. `lowest` is the minimum score that is of use;
        detections below it only tell what a score between two frames is. `reported` is that of results."""
        self._max_detections, self._lowest, self._reported = max_detections, lowest, reported
        self._before = filled if filled is not None else _standing(Detections(), 0)
        self._held: list[Frame] = []
        # What was made of the next frame, which is asked about before it is taken.
        self._next: tuple[int, list[_Interval]] | None = None

    def lacks(self, frame: Frame, found: Detections | None, again: Mapping[int, Detections | None]) -> list[Frame]:
        """Return the frames that must be inferred whole before the next frame and its detections are taken, as far as
        is known. `again` has the detections of those that have been, by index; None where that failed."""
        if frame.plan is None or frame.plan.look is Look.BETWEEN or not self._held:
            return []
        intervals, lacking = self._divided(frame, self._now(frame, frame.plan, found), again)
        self._next = None if lacking else (frame.index, intervals)
        return lacking

    def take(
        self, frame: Frame, found: Detections | None, again: Mapping[int, Detections | None] = _NONE
    ) -> Iterator[tuple[Frame, Detections | None]]:
        """Take the next frame and its detections, and yield the frames whose detections are now known. Frames that are
        in `again` and were lacking are among those that are inferred whole."""
        plan = frame.plan
        if plan is None:
            yield frame, found
            return
        if plan.look is Look.BETWEEN:
            self._held.append(frame)
            return
        held, before = self._held, self._before
        if not held:
            now = self._now(frame, plan, found)
            self._before = (
                _standing(now, frame.pts)
                if found is None
                else _moving(before, now, frame.pts, on_their_way(before, now, frame.pts))
            )
            yield frame, now
            return
        intervals = self._next[1] if self._next is not None and self._next[0] == frame.index else None
        if intervals is None:
            intervals, _ = self._divided(frame, self._now(frame, plan, found), again)
        self._held, self._next = [], None
        for each in intervals:
            end = frame if each.last == len(held) else held[each.last]
            for middle in held[each.first : each.last]:
                share = (middle.pts - each.before.pts) / (end.pts - each.before.pts)
                yield middle, self._limited(between(each.before.found, each.now, each.pairs, share, self._lowest))
            if end is not frame:
                _made_whole(end)
            self._before = _moving(each.before, each.now, end.pts, each.pairs)
            yield end, each.now

    def last(self) -> Frame | None:
        """At the end of the stream, return the last frame that waits, which is to be taken once more, and inferred
        whole; None if none waits or its image can't be read."""
        if not self._held or self._held[-1].image is None:
            return None
        return _made_whole(self._held.pop())

    def rest(self) -> Iterator[tuple[Frame, Detections]]:
        """Yield the last frames of the stream, after which nothing was inferred."""
        held, self._held = self._held, []
        for frame in held:
            yield frame, _carried(self._before.found)

    def state(self) -> Filled:
        """Return the state on which the next frames depend, after a frame that is not interpolated."""
        return self._before

    def _now(self, frame: Frame, plan: Plan, found: Detections | None) -> Detections:
        """Return the detections of a frame that is not interpolated."""
        before = self._before.found
        if found is None:
            return _carried(before)
        return self._limited(_joined(before, found, plan, self._lowest)) if plan.look is Look.PARTS else found

    def _divided(
        self, frame: Frame, now: Detections, again: Mapping[int, Detections | None]
    ) -> tuple[list[_Interval], list[Frame]]:
        """Divide the held frames before this one until what is before and behind each part agrees. Return the parts,
        and the frames that must be inferred before that is known."""
        held, parts, lacking = self._held, list[_Interval](), list[Frame]()
        assert frame.plan is not None
        # Where all is as it was before, something came and went.
        passed = frame.plan.look is Look.SAME
        left = [(0, len(held), self._before, now)]
        while left:
            first, last, before, behind = left.pop()
            end = frame if last == len(held) else held[last]
            pairs = on_their_way(before, behind, end.pts)
            brief = last - first < 2 or (end.pts - before.pts) * frame.time_base <= _BRIEF_S
            doubtful = self._is_doubtful(before.found, behind, pairs, brief=brief) or (passed and not brief)
            number = (first + last - 1) // 2
            if last == first or not doubtful:
                parts.append(_Interval(first, last, before, behind, pairs))
            elif (known := again.get((middle := held[number]).index)) is None:
                parts.append(_Interval(first, last, before, behind, pairs))
                lacking += [middle] if middle.index not in again else []
            else:
                halfway = _moving(before, known, middle.pts, on_their_way(before, known, middle.pts))
                left += [(number + 1, last, halfway, behind), (first, number, before, known)]
                passed = False
        return parts, lacking

    def _is_doubtful(self, before: Detections, now: Detections, pairs: NDArray[np.intp], *, brief: bool) -> bool:
        """Return whether too many boxes are reported in one of two frames and not in the other."""
        one, other = (side.scores >= np.float32(self._reported) for side in (before, now))
        doubtful = np.count_nonzero(one[pairs[:, 0]] != other[pairs[:, 1]])
        for side, paired in ((one, pairs[:, 0]), (other, pairs[:, 1])):
            doubtful += np.count_nonzero(side[_others(len(side), paired)])
        boxes = max(np.count_nonzero(one), np.count_nonzero(other))
        return bool(doubtful > (_DOUBTFUL_BRIEFLY if brief else _DOUBTFUL) * boxes)

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


def on_their_way(before: Filled, now: Detections, pts: int) -> NDArray[np.intp]:
    """Return the pairs (P, 2) of detections in two frames between which `between` interpolates, `now` at `pts`: those
    that are where they would be if they went on as before, and of the others those that are nearly where they were."""
    ways = np.tile(before.speeds * np.float32(pts - before.pts), 2)
    pairs = matches(replace(before.found, boxes_xyxy=before.found.boxes_xyxy + ways), now, _ON_ITS_WAY)
    rows, columns = (_others(len(side), pairs[:, at]) for at, side in enumerate((before.found, now)))
    if not len(rows) or not len(columns):
        return pairs
    more = matches(_picked(before.found, rows), _picked(now, columns), _ON_ITS_WAY)
    return np.concatenate((pairs, np.stack((rows[more[:, 0]], columns[more[:, 1]]), 1)))


def _made_whole(frame: Frame) -> Frame:
    assert frame.plan is not None
    frame.plan, frame.infer = frame.plan._replace(look=Look.WHOLE, cost=1.0), True
    return frame


def _standing(found: Detections, pts: int) -> Filled:
    return Filled(found, pts, np.zeros((len(found), 2), np.float32))


def _moving(before: Filled, now: Detections, pts: int, pairs: NDArray[np.intp]) -> Filled:
    """Return what moves as its pairs say; the others stand."""
    moving = _standing(now, pts)
    ways = now.boxes_xyxy[pairs[:, 1]] - before.found.boxes_xyxy[pairs[:, 0]]
    moving.speeds[pairs[:, 1]] = (ways[:, :2] + ways[:, 2:]) / np.float32(2 * (pts - before.pts))
    return moving


def _others(count: int, taken: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return which of so many are not taken, in order."""
    left = np.ones(count, np.bool_)
    left[taken] = False
    return np.flatnonzero(left)


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
        alone = _others(len(side), paired)
        boxes.append(side.boxes_xyxy[alone])
        scores.append(side.scores[alone] * left)
        class_ids.append(side.class_ids[alone])
    found = Detections(np.concatenate(boxes), np.concatenate(scores), np.concatenate(class_ids))
    return _carried(_picked(found, np.flatnonzero(found.scores >= np.float32(lowest))))
