"""How many objects there were: tracks that broke are joined again, afterwards, where one goes on as another ended.

A track ends where its object is hidden for longer than the tracker waits, and the object gets a second id. Of two
tracks of one class the later goes on with the earlier where it begins soon after, near the place where the earlier
would be by then, and is about as large. Each has one successor at most; the nearest pairs are joined first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from engine.analytics.geometry import Floats
from engine.analytics.samples import Samples

# Velocity is that of the last, or first, second of a track; beyond as long a gap nobody goes on straight.
_VELOCITY_S = 1.0


@dataclass(frozen=True)
class StitchRules:
    """When two tracks are one. Higher values join more: fewer objects are counted twice, and more that are two become
    one. `max_distance` is in heights of the object, `max_ratio` that of the two heights."""

    max_gap_s: float = 2.0
    max_distance: float = 0.5
    max_ratio: float = 1.4


STRICT = StitchRules(1.0, 0.25, 1.25)
LOOSE = StitchRules(4.0, 1.0, 1.6)


@dataclass(frozen=True)
class Objects:
    """How many ids there were, and the number of objects that they stand for: from `low`, joined freely, to `high`."""

    ids: int
    low: int
    high: int

    def __str__(self) -> str:
        number = f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"
        objects = f"{number} object{'' if self.high == 1 else 's'}"
        return objects if self.ids == self.high == self.low else f"{self.ids} ids, {objects}"


@dataclass
class Fragment:
    """The two ends of a track: places (x, y, height) in pixels by time, of its first and its last second."""

    track_id: int
    votes: dict[int, float] = field(default_factory=dict)
    head: list[tuple[float, float, float, float]] = field(default_factory=list)
    tail: list[tuple[float, float, float, float]] = field(default_factory=list)

    @property
    def class_id(self) -> int:
        return max(sorted(self.votes), key=lambda kind: self.votes[kind])


class Fragments:
    """Collects the ends of all tracks, from rows given in pieces. Memory is bounded by the number of tracks."""

    def __init__(self) -> None:
        self._found: dict[int, Fragment] = {}

    def feed(self, samples: Samples) -> None:
        """Take the next rows."""
        for track_id, track in samples.by_track():
            fragment = self._found.setdefault(track_id, Fragment(track_id))
            x1, y1, x2, y2 = track.boxes_xyxy.T
            times = track.times_s + track.offset_s
            places = list(zip(times.tolist(), ((x1 + x2) / 2).tolist(), y2.tolist(), (y2 - y1).tolist(), strict=True))
            first = fragment.head[0][0] if fragment.head else places[0][0]
            fragment.head += [place for place in places if place[0] <= first + _VELOCITY_S]
            last = places[-1][0]
            fragment.tail = [place for place in (*fragment.tail, *places) if place[0] >= last - _VELOCITY_S]
            for class_id in np.unique(track.class_ids).tolist():
                score = float(track.scores[track.class_ids == class_id].sum())
                fragment.votes[class_id] = fragment.votes.get(class_id, 0.0) + score

    def all(self) -> list[Fragment]:
        """Return the tracks' ends, in the order of their first rows."""
        return list(self._found.values())


def fragments_of(rows: Iterable[Samples]) -> list[Fragment]:
    """Collect the ends of all tracks, in the order of their first rows."""
    fragments = Fragments()
    for samples in rows:
        fragments.feed(samples)
    return fragments.all()


def stitch(fragments: list[Fragment], rules: StitchRules | None = None) -> dict[int, int]:
    """Return for each track id the id of the first track of its object."""
    rules = rules or StitchRules()
    pairs: list[tuple[float, int, int]] = []
    starts = np.array([fragment.head[0][0] for fragment in fragments])
    order = np.argsort(starts, kind="stable")
    sorted_starts = starts[order]
    for index, earlier in enumerate(fragments):
        ended = earlier.tail[-1][0]
        low = int(np.searchsorted(sorted_starts, ended, side="right"))
        high = int(np.searchsorted(sorted_starts, ended + rules.max_gap_s, side="right"))
        for later_index in order[low:high].tolist():
            distance = _distance(earlier, fragments[later_index], rules)
            if distance is not None:
                pairs.append((distance, index, later_index))
    successor: set[int] = set()
    follows: dict[int, int] = {}
    for _, index, later_index in sorted(pairs):
        if index not in successor and later_index not in follows:
            successor.add(index)
            follows[later_index] = index
    roots: dict[int, int] = {}
    for index in order.tolist():  # an earlier one always begins earlier
        before = follows.get(index)
        own = fragments[index].track_id
        roots[own] = roots[fragments[before].track_id] if before is not None else own
    return roots


def count_objects(fragments: list[Fragment]) -> Objects:
    """Count ids, and objects as a range: what is surely one is joined for `high`, what may well be one for `low`."""
    numbers = [len(set(stitch(fragments, rules).values())) for rules in (LOOSE, STRICT)]
    return Objects(len(fragments), min(numbers), max(numbers))


def _distance(earlier: Fragment, later: Fragment, rules: StitchRules) -> float | None:
    """Return how far the later begins from where the earlier would be, and the other way round, in heights; None where
    they can't be one."""
    if earlier.class_id != later.class_id:
        return None
    end, begin = earlier.tail[-1], later.head[0]
    gap = begin[0] - end[0]
    height = (end[3] + begin[3]) / 2
    if min(end[3], begin[3]) <= 0 or max(end[3], begin[3]) > rules.max_ratio * min(end[3], begin[3]):
        return None
    reach = min(gap, _VELOCITY_S)
    step = np.array(begin[1:3]) - np.array(end[1:3])
    forwards = np.hypot(*(step - _velocity(earlier.tail) * reach))
    backwards = np.hypot(*(step - _velocity(later.head) * reach))
    distance = float(forwards + backwards) / 2 / height
    return distance if distance <= rules.max_distance else None


def _velocity(places: list[tuple[float, float, float, float]]) -> Floats:
    """Return (2,) pixels a second: the least-squares slope over time."""
    table = np.array(places)
    times = table[:, 0] - table[:, 0].mean()
    spread = (times**2).sum()
    return np.zeros(2) if spread == 0 else np.asarray((times[:, None] * table[:, 1:3]).sum(axis=0) / spread)
