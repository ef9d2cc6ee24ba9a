"""Agreement: the results of a gated stream compared with those of whole frames, over windows of frames.

Three shares: boxes (F1 at IoU 0.5, within a class), ids (the share of matching tracks whose id equals the one that the
tracker assigns if it continues with whole frames), and the numbers of ids. All counts are integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.records import Agreements, Detections, Plan, Ratio, Tracks
from engine.stages.confidence import drawn
from engine.stages.windows import LEVELS
from engine_ext.geometry import iou_matrix

IOU = 0.5

_MAX_PATIENCE = 64


class Auditor:
    """The audit of one stream, frame by frame in order."""

    def __init__(self, target: float, conf: float, known: Agreements | None = None, *, finer: bool = False) -> None:
        """`conf` is the minimum score of a box that counts, `known` the result of an earlier run. `finer`: the gate
        looks more closely than whole frames do, so what it finds in addition is no disagreement."""
        self.seen = known.copy() if known is not None else Agreements()
        self._target, self._conf, self._finer = target, conf, finer
        self._window = _Window()

    def see(self, plan: Plan, given: Tracks, whole: Tracks) -> None:
        """Take a frame of a window: the gated tracks, and those of a tracker that continued with whole frames from the
        start of the window; each with its detections."""
        window, mine, everything = self._window, given.detections, whole.detections
        assert mine is not None
        assert everything is not None
        mine, theirs = mine.above(self._conf), everything.above(self._conf)
        window.agreeing += len(agreeing_pairs(mine, theirs))
        window.boxes += 2 * len(theirs) if self._finer else len(mine) + len(theirs)
        pairs = agreeing_pairs(given, whole)
        window.paired += len(pairs)
        window.same_id += sum(int(given.track_ids[row] == whole.track_ids[column]) for row, column in pairs)
        window.ids[0].update(given.track_ids.tolist())
        window.ids[1].update(whole.track_ids.tolist())
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
        if self._finer:
            mine = min(mine, theirs)
        seen.counts.add(2 * min(mine, theirs), mine + theirs)
        seen.stretch = stretch
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

    def _move(self, by: int) -> None:
        seen = self.seen
        seen.level, seen.here, seen.calm = seen.level + by, Ratio(), 0


@dataclass
class _Window:
    agreeing: int = 0
    boxes: int = 0
    same_id: int = 0
    paired: int = 0
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
