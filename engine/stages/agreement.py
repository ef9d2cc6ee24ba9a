"""Agreement: the results of a gated stream compared with those of whole frames, over windows of frames.

Three shares: boxes (F1 at IoU 0.5, within a class), ids (the share of matching tracks whose id equals the one that the
tracker assigns if it continues with whole frames), and the numbers of ids. All counts are integers.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from engine.records import Agreements, Detections, Frame, Look, Plan, Ratio, Tracks
from engine.stages.confidence import drawn
from engine.stages.fill import between, on_their_way
from engine.stages.windows import LEVELS, MAX_REACH
from engine_ext.geometry import iou_matrix

IOU = 0.5

_MAX_PATIENCE = 64

# Up to how many frames in a row it is asked how well they are interpolated, apart from fewer; how many of them a window
# more permits; the boxes of both sides that must have been compared before the answer counts; and those of which a part
# is forgotten with each window that has more.
_REACHES = (1, 2, 3, 5, 8, MAX_REACH)
_PER_WINDOW = 2
MIN_BOXES = 40
_OLD_BOXES = 160
# Of the disagreement that the target allows, what interpolation may cost: parts and carried boxes have a share, too.
_OF_ALLOWED = 0.75
# Of the minimum score, that of boxes whose interpolation is measured: of windows in which all boxes are sure, the faint
# ones tell what will come and go outside them.
_FAINT = 0.6


class Auditor:
    """The audit of one stream, frame by frame in order."""

    def __init__(self, target: float, conf: float, known: Agreements | None = None) -> None:
        """`conf` is the minimum score of a box that counts, `known` the result of an earlier run."""
        self.seen = known.copy() if known is not None else Agreements()
        self._target, self._conf = target, conf
        self._window = _Window()

    def lead(self, frame: Frame, found: Detections) -> None:
        """Take an inferred frame shortly before a window."""
        self._window.frames[frame.index] = _Known(frame.pts, found)

    def see(self, plan: Plan, given: Tracks, whole: Tracks) -> None:
        """Take a frame of a window: the gated tracks, and those of a tracker that continued with whole frames from the
        start of the window; each with its detections."""
        window, mine, everything = self._window, given.detections, whole.detections
        assert mine is not None
        assert everything is not None
        mine, theirs = mine.above(self._conf), everything.above(self._conf)
        window.agreeing += len(agreeing_pairs(mine, theirs))
        window.boxes += len(mine) + len(theirs)
        pairs = agreeing_pairs(given, whole)
        window.paired += len(pairs)
        window.same_id += sum(int(given.track_ids[row] == whole.track_ids[column]) for row, column in pairs)
        window.ids[0].update(given.track_ids.tolist())
        window.ids[1].update(whole.track_ids.tolist())
        window.frames[given.frame.index] = _Known(given.frame.pts, everything, plan.look is not Look.SAME)
        self.seen.frames += 1
        if plan.window_ends:
            self._conclude(plan.stretch, given.frame.index)

    def _conclude(self, stretch: int, index: int) -> None:
        seen, window = self.seen, self._window
        self._window = _Window()
        for ratio in (seen.boxes, seen.here):
            ratio.add(2 * window.agreeing, window.boxes)
        seen.ids.add(2 * window.same_id, 2 * window.paired)
        mine, theirs = map(len, window.ids)
        seen.counts.add(2 * min(mine, theirs), mine + theirs)
        seen.stretch = stretch
        self._reach(window)
        agreed = 2 * window.agreeing >= self._target * window.boxes
        seen.calm = seen.calm + 1 if agreed else 0
        if drawn(seen.here)[1] < self._target and seen.level < LEVELS:  # by more than chance
            # What it had closed for was not so: the next time it waits for longer.
            if seen.closed_at and seen.closed_at[-1] > max(seen.opened_at, default=-1):
                seen.patience = min(2 * seen.patience, _MAX_PATIENCE)
            self._move(1)
            seen.opened_at = [*seen.opened_at, index]
        elif seen.level and seen.calm >= seen.patience:
            self._move(-1)
            seen.closed_at = [*seen.closed_at, index]

    def _reach(self, window: _Window) -> None:
        """Find out over how many frames in a row interpolation reaches the target: frames of windows that were inferred
        whole, and in which something moves, are interpolated from others. As soon as enough is known, older windows
        count less and less."""
        seen = self.seen
        fresh = len(seen.between_boxes) != len(_REACHES)  # also those of a version that tried others
        known = [[0] * len(_REACHES)] * 2 if fresh else [seen.between_agreeing, seen.between_boxes]
        seen.between_agreeing, seen.between_boxes, seen.reach = [], [], 0
        holds = self._target > 0 and seen.boxes.value >= self._target
        for (fewer, many), agreed, of in zip(itertools.pairwise((0, *_REACHES)), *known, strict=True):
            agreeing, boxes = self._over(range(fewer + 1, many + 1), window)
            ages = boxes > 0 and of >= _OLD_BOXES
            seen.between_agreeing.append((agreed * 3 // 4 if ages else agreed) + agreeing)
            seen.between_boxes.append((of * 3 // 4 if ages else of) + boxes)
        for number, many in enumerate(_REACHES):
            agreeing, boxes = seen.between_agreeing[number], seen.between_boxes[number]
            # Of so many frames and the next one, which is inferred.
            lost = (boxes - agreeing) * many / (many + 1)
            # What agrees over longer intervals tells of shorter ones, too.
            holds = holds and sum(seen.between_boxes[number:]) >= MIN_BOXES
            holds = holds and lost <= _OF_ALLOWED * (1 - self._target) * boxes
            if holds and many <= _PER_WINDOW * seen.boxes.windows:
                seen.reach = many

    def _over(self, numbers: range, window: _Window) -> tuple[int, int]:
        """Return how many boxes of a window agree where they are interpolated over such numbers of frames, and of how
        many."""
        agreeing = boxes = 0
        conf = _FAINT * self._conf
        for (index, now), many in itertools.product(window.frames.items(), numbers):
            before = window.frames.get(index - many - 1)
            if before is None:
                continue
            pairs = on_their_way(before.found, now.found)
            for middle in range(index - many, index):
                if (known := window.frames.get(middle)) is not None and known.moves:
                    share = (known.pts - before.pts) / (now.pts - before.pts)
                    made = between(before.found, now.found, pairs, share, conf)
                    true = known.found.above(conf)
                    agreeing += 2 * len(agreeing_pairs(made, true))
                    boxes += len(made) + len(true)
        return agreeing, boxes

    def _move(self, by: int) -> None:
        seen = self.seen
        seen.level, seen.here, seen.calm = seen.level + by, Ratio(), 0


class _Known(NamedTuple):
    """A frame's time, what is found in it, and whether something moves, which is not asked of one that leads."""

    pts: int
    found: Detections
    moves: bool = False


@dataclass
class _Window:
    agreeing: int = 0
    boxes: int = 0
    same_id: int = 0
    paired: int = 0
    frames: dict[int, _Known] = field(default_factory=dict)  # by index, and those that were inferred before it
    ids: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))


def agreeing_pairs(one: Detections | Tracks, other: Detections | Tracks) -> list[tuple[int, int]]:
    """Return the pairs of boxes of one class that overlap by `IOU`, each box in at most one pair, best first."""
    boxes = (np.ascontiguousarray(each.boxes_xyxy, np.float64) for each in (one, other))
    overlap = iou_matrix(*boxes)
    overlap[one.class_ids[:, None] != other.class_ids[None, :]] = 0.0
    rows, columns = np.nonzero(overlap >= IOU)
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for at in np.argsort(-overlap[rows, columns], kind="stable"):
        row, column = int(rows[at]), int(columns[at])
        if row not in pairs and column not in taken:
            pairs[row] = column
            taken.add(column)
    return list(pairs.items())
