"""The number of objects: fragments of broken tracks are joined afterwards if one continues where another ended.

If an object is hidden for longer than the tracker waits, its track ends and the object gets a second id. Of two tracks
of one class, the later one continues the earlier if it begins soon after, near the position that the earlier would have
reached, and is about as large. Each track has at most one successor; the nearest pairs are joined first.

`stitch` and `count_objects` do this with all tracks of a camera at hand. `ObjectCounter` gets the same count while
tracking, and keeps only tracks that may still be joined.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field, fields
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import numpy as np
from pydantic import Field, FiniteFloat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from engine.analytics.samples import Samples, Tracked

# Velocity is that of the last, or first, second of a track; motion is not extrapolated over a longer gap.
_VELOCITY_S = 1.0
# Frames that are processed together.
_FRAMES_AT_ONCE = 64

Place: TypeAlias = tuple[float, float, float, float]
"""Time in seconds, the middle of the box's lower edge x and y, and its height in pixels."""

_time_s = itemgetter(0)


class StitchRules(NamedTuple):
    """When two tracks are one object. Higher values join more: fewer objects are counted twice, but more pairs of
    objects are counted as one. `max_distance` is in object heights, `max_ratio` is the ratio of the two heights."""

    max_gap_s: float = 2.0
    max_distance: float = 0.5
    max_ratio: float = 1.4


STRICT = StitchRules(1.0, 0.25, 1.25)
LOOSE = StitchRules(4.0, 1.0, 1.6)


class Objects(NamedTuple):
    """The number of ids, and of the objects behind them: between `low`, joined liberally, and `high`, strictly."""

    ids: int
    low: int
    high: int

    def __str__(self) -> str:
        number = f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"
        objects = f"{number} {'object' if self.high == 1 else 'objects'}"
        return objects if self.ids == self.high == self.low else f"{self.ids} ids, {objects}"


class Ends(NamedTuple):
    """What joining needs to know of a whole track: its class by vote, and the position and velocity at its beginning
    and end. Velocities are (x, y) in pixels per second."""

    class_id: int
    begin: Place
    begin_velocity: tuple[float, float]
    end: Place
    end_velocity: tuple[float, float]


@dataclass
class Fragment:
    """The two ends of a track: its places in its first and last second."""

    track_id: int
    votes: dict[int, float] = field(default_factory=dict)
    head: list[Place] = field(default_factory=list)
    tail: list[Place] = field(default_factory=list)

    @property
    def ends(self) -> Ends:
        return Ends(
            max(sorted(self.votes), key=lambda kind: self.votes[kind]),
            self.head[0],
            _velocity(self.head),
            self.tail[-1],
            _velocity(self.tail),
        )


class Fragments:
    """Collects the ends of all tracks from rows given in chunks. Memory is bounded by the number of tracks."""

    def __init__(self) -> None:
        self._found: dict[int, Fragment] = {}

    def feed(self, samples: Samples) -> None:
        """Add the next rows."""
        tracks = samples.by_track()
        rows, starts = tracks.samples, tracks.starts
        x1, y1, x2, y2 = rows.boxes_xyxy.T
        # Rounded, so that gaps do not depend on how the rows' times on the timeline were summed.
        times = np.round(rows.times_s + rows.offset_s, 6)
        found = [self._found.setdefault(track_id, Fragment(track_id)) for track_id in tracks.ids]
        firsts = zip(found, times[starts].tolist(), strict=True)
        first = np.array([each.head[0][0] if each.head else first_s for each, first_s in firsts])
        places = np.column_stack((times, (x1 + x2) / 2, y2, y2 - y1))
        at_head = np.flatnonzero(times <= tracks.repeated(first + _VELOCITY_S))
        at_tail = np.flatnonzero(times >= tracks.repeated(times[tracks.stops - 1] - _VELOCITY_S))
        heads, tails = _split(places, at_head, tracks), _split(places, at_tail, tracks)
        for fragment, (_, start, stop), head, tail in zip(found, tracks.spans, heads, tails, strict=True):
            fragment.head += head
            oldest_s = tail[-1][0] - _VELOCITY_S
            fragment.tail = [*(place for place in fragment.tail if place[0] >= oldest_s), *tail]
            kinds, scores = rows.class_ids[start:stop], rows.scores[start:stop]
            seen = sorted(set(kinds.tolist()))
            for class_id in seen:
                score = float((scores[kinds == class_id] if len(seen) > 1 else scores).sum())
                fragment.votes[class_id] = fragment.votes.get(class_id, 0.0) + score

    def all(self) -> list[Fragment]:
        """Return the tracks' ends, in the order of their first rows."""
        return list(self._found.values())


def _split(places: NDArray[np.float64], at: NDArray[np.intp], tracks: Tracked) -> Iterator[list[Place]]:
    """Yield, per track, the rows of the (N, 4) `places` whose indices are in the sorted `at`."""
    chosen = list(map(_place, places[at].tolist()))
    for start, stop in np.searchsorted(at, np.stack((tracks.starts, tracks.stops), axis=1)).tolist():
        yield chosen[start:stop]


def fragments_of(rows: Iterable[Samples]) -> list[Fragment]:
    """Collect the ends of all tracks, in the order of their first rows."""
    fragments = Fragments()
    for samples in rows:
        fragments.feed(samples)
    return fragments.all()


def stitch(fragments: list[Fragment], rules: StitchRules | None = None) -> dict[int, int]:
    """Return for each track id the id of the first track of its object."""
    return _stitched(fragments, [fragment.ends for fragment in fragments], rules or StitchRules())


def _stitched(fragments: list[Fragment], ends: list[Ends], rules: StitchRules) -> dict[int, int]:
    pairs: list[tuple[float, int, int]] = []
    starts = np.array([each.begin[0] for each in ends])
    order = np.argsort(starts, kind="stable")
    sorted_starts = starts[order]
    kinds = np.array([each.class_id for each in ends])[order]
    heights = np.array([each.begin[3] for each in ends])[order]
    for index, earlier in enumerate(ends):
        ended = earlier.end[0]
        low = int(np.searchsorted(sorted_starts, ended, side="right"))
        high = int(np.searchsorted(sorted_starts, ended + rules.max_gap_s, side="right"))
        height = earlier.end[3]  # no more than a first look: `_distance` decides
        near = (kinds[low:high] == earlier.class_id) & (heights[low:high] <= 1.001 * rules.max_ratio * height)
        near &= height <= 1.001 * rules.max_ratio * heights[low:high]
        for later_index in order[low:high][near].tolist():
            distance = _distance(earlier, ends[later_index], rules)
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
    """Count ids, and objects as a range: `high` joins only the certain pairs, `low` also the likely ones."""
    ends = [fragment.ends for fragment in fragments]
    numbers = [len(set(_stitched(fragments, ends, rules).values())) for rules in (LOOSE, STRICT)]
    return Objects(len(fragments), min(numbers), max(numbers))


def _distance(earlier: Ends, later: Ends, rules: StitchRules) -> float | None:
    """Return the distance, in object heights, between the later track's beginning and the earlier one extrapolated, and
    vice versa; None if they can't be one object."""
    if earlier.class_id != later.class_id:
        return None
    end, begin = earlier.end, later.begin
    gap = begin[0] - end[0]
    height = (end[3] + begin[3]) / 2
    if min(end[3], begin[3]) <= 0 or max(end[3], begin[3]) > rules.max_ratio * min(end[3], begin[3]):
        return None
    reach = min(gap, _VELOCITY_S)
    x, y = begin[1] - end[1], begin[2] - end[2]
    forwards = math.hypot(x - earlier.end_velocity[0] * reach, y - earlier.end_velocity[1] * reach)
    backwards = math.hypot(x - later.begin_velocity[0] * reach, y - later.begin_velocity[1] * reach)
    distance = (forwards + backwards) / 2 / height
    return distance if distance <= rules.max_distance else None


def _velocity(places: Sequence[Place]) -> tuple[float, float]:
    """Return (x, y) pixels per second: the least-squares slope over time."""
    mean_s = sum(place[0] for place in places) / len(places)
    spread = x = y = 0.0
    for time_s, place_x, place_y, _ in places:
        from_mean_s = time_s - mean_s
        spread += from_mean_s * from_mean_s
        x += from_mean_s * place_x
        y += from_mean_s * place_y
    return (x / spread, y / spread) if spread else (0.0, 0.0)


# -- while tracking ---------------------------------------------------------------------------------------------------


_Numbers = tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
_Velocity = tuple[FiniteFloat, FiniteFloat]
_Places = Annotated[list[_Numbers], Field(min_length=1)]
_Votes = Annotated[list[tuple[int, FiniteFloat]], Field(min_length=1)]
_EndedState = tuple[int, int, _Numbers, _Velocity, _Numbers, _Velocity, bool, bool]


@dataclass(frozen=True, kw_only=True)
class ObjectCounterState:
    """A snapshot of an ObjectCounter for a checkpoint; its fields are the keys there. `alive` has for each track: id,
    number, (class id, sum of scores), first places, first velocity once known, last places. For each set of rules there
    is the number `joined`, and for each `ended` track: number, class id, first place and velocity, last place and
    velocity, whether it may still be joined to an earlier track, and to a later one."""

    ids: int
    frames: int
    now_s: FiniteFloat
    steps: FiniteFloat
    alive: list[tuple[int, int, _Votes, _Places, _Velocity | None, _Places]]
    joined: tuple[int, int]
    ended: tuple[list[_EndedState], list[_EndedState]]

    def to_json(self) -> dict[str, object]:
        """Return JSON values, with tuples for arrays."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass
class _Alive:
    """A track that may continue. Once `begun` is set, it replaces `head`, which is then complete."""

    number: int
    votes: dict[int, float]
    head: list[Place]
    begun: tuple[float, float] | None
    tail: list[Place]

    def see(self, places: list[Place], kinds: list[int], scores: list[float]) -> None:
        """Add the track's next places, with the class and score of each."""
        for kind, score in zip(kinds, scores, strict=True):
            self.votes[kind] = self.votes.get(kind, 0.0) + score
        if self.begun is None:
            first_s = (self.head or places)[0][0]
            near = bisect_right(places, first_s + _VELOCITY_S, key=_time_s)
            self.head += places[:near]
            if near < len(places):
                self.begun = _velocity(self.head)
                del self.head[1:]
        oldest_s = places[-1][0] - _VELOCITY_S
        if places[0][0] >= oldest_s:
            del self.tail[: bisect_left(self.tail, oldest_s, key=_time_s)]
            self.tail += places
        else:
            self.tail = places[bisect_left(places, oldest_s, key=_time_s) :]

    def ends(self) -> Ends:
        kind = max(sorted(self.votes), key=lambda kind: self.votes[kind])
        begun = self.begun or _velocity(self.head)
        return Ends(kind, self.head[0], begun, self.tail[-1], _velocity(self.tail))


@dataclass
class _Ended:
    """A track that is gone for good. `before`, `after`: it may still be joined to a track that ended before it began,
    or began after it ended."""

    ends: Ends
    before: bool = True
    after: bool = True


class _Joins:
    """Joins tracks by one set of rules, nearest pairs first, as soon as no other pair can come between.

    A pair is settled once it is the nearest of both its ends and neither end can get another pair; so the result is the
    same as with all pairs at hand, whenever `settle` is called.
    """

    def __init__(self, rules: StitchRules) -> None:
        self.rules = rules
        self.joined = 0
        self.ended: dict[int, _Ended] = {}
        self._pairs: dict[tuple[int, int], float] = {}

    def add(self, number: int, track: _Ended) -> None:
        """Add a track that has ended."""
        ends, gap_s = track.ends, self.rules.max_gap_s
        kind, begun_s, ended_s = ends.class_id, ends.begin[0], ends.end[0]
        for other, known in self.ended.items():  # few are near in time, and each is met by all that end after it
            theirs = known.ends
            if theirs.class_id != kind:
                continue
            if known.after and track.before and theirs.end[0] < begun_s <= theirs.end[0] + gap_s:
                self._pair(other, theirs, number, ends)
            if known.before and track.after and ended_s < theirs.begin[0] <= ended_s + gap_s:
                self._pair(number, ends, other, theirs)
        self.ended[number] = track

    def _pair(self, earlier: int, ended: Ends, later: int, begun: Ends) -> None:
        distance = _distance(ended, begun, self.rules)
        if distance is not None:
            self._pairs[earlier, later] = distance

    def settle(self, now_s: float, begun_s: list[float], seen_s: list[float]) -> None:
        """Join all settled pairs. `begun_s` and `seen_s` are the ascending times at which live tracks began and were
        last seen; no track will begin before `now_s`."""
        gap_s = self.rules.max_gap_s
        after = {
            number
            for number, track in self.ended.items()
            if now_s > track.ends.end[0] + gap_s
            and bisect_right(begun_s, track.ends.end[0]) == bisect_right(begun_s, track.ends.end[0] + gap_s)
        }
        # A live track can be continued by any track that begins after it was last seen.
        before = {
            number
            for number, track in self.ended.items()
            if bisect_left(seen_s, track.ends.begin[0]) == bisect_left(seen_s, track.ends.begin[0] - gap_s)
        }
        while True:
            pairs = sorted((distance, *pair) for pair, distance in self._pairs.items())
            nearest_after: dict[int, int] = {}
            nearest_before: dict[int, int] = {}
            for _, earlier, later in pairs:
                nearest_after.setdefault(earlier, later)
                nearest_before.setdefault(later, earlier)
            sure = [
                (earlier, later)
                for earlier, later in nearest_after.items()
                if nearest_before[later] == earlier and earlier in after and later in before
            ]
            if not sure:
                break
            for earlier, later in sure:
                self.joined += 1
                self.ended[earlier].after = self.ended[later].before = False
                self._pairs = {
                    pair: far for pair, far in self._pairs.items() if pair[0] != earlier and pair[1] != later
                }
        for number in after - {earlier for earlier, _ in self._pairs}:
            self.ended[number].after = False
        for number in before - {later for _, later in self._pairs}:
            self.ended[number].before = False
        self.ended = {number: track for number, track in self.ended.items() if track.after or track.before}

    def state(self) -> list[_EndedState]:
        return [
            (
                number,
                track.ends.class_id,
                track.ends.begin,
                track.ends.begin_velocity,
                track.ends.end,
                track.ends.end_velocity,
                track.before,
                track.after,
            )
            for number, track in self.ended.items()
        ]

    def copy(self) -> _Joins:
        other = _Joins(self.rules)
        other.joined = self.joined
        other.ended = {number: _Ended(track.ends, track.before, track.after) for number, track in self.ended.items()}
        other._pairs = dict(self._pairs)
        return other


_Frame: TypeAlias = tuple[
    float, float, "NDArray[np.int64]", "NDArray[np.int32]", "NDArray[np.float32]", "NDArray[np.float64]"
]
"""Time, steps, and the columns of a frame's rows."""


class ObjectCounter:
    """Counts the objects of one video while tracking, with the same result as `count_objects` on its rows.

    Memory depends on the live tracks and those of the last seconds, not on the length of the video.
    """

    def __init__(self) -> None:
        self._alive: dict[int, _Alive] = {}
        self._ids = self._frames = 0
        self._now_s = -math.inf
        self._steps = 0.0
        self._waiting: list[_Frame] = []
        self._told: tuple[int, Objects] | None = None  # (number of frames, the count after them)
        self._joins = (_Joins(LOOSE), _Joins(STRICT))

    def follow(
        self,
        time_s: float,
        steps: float,
        track_ids: NDArray[np.int64],
        class_ids: NDArray[np.int32],
        scores: NDArray[np.float32],
        boxes_xyxy: NDArray[np.float64],
    ) -> None:
        """Add a frame's tracks: (M,), (M,), (M,) and (M, 4) pixels; the arrays are kept for a while. `steps` is the
        time since the first frame in steps of the nominal rate. Values are rounded as in the rows, so that both give
        the same count."""
        self._now_s, self._steps = round(time_s, 6), steps
        if len(track_ids):
            self._waiting.append((self._now_s, steps, track_ids, class_ids, scores, boxes_xyxy))
        self._frames += 1
        if self._frames % _FRAMES_AT_ONCE == 0:
            self._take_in()

    def _take_in(self) -> None:
        """Add the waiting frames to their tracks, all at once: each call of NumPy has an overhead."""
        if not self._waiting:
            return
        counts = [len(frame[2]) for frame in self._waiting]
        times_s, steps = (np.repeat([frame[column] for frame in self._waiting], counts) for column in (0, 1))
        ids, kinds, scores = (np.concatenate([frame[column] for frame in self._waiting]) for column in (2, 3, 4))
        left, top, right, bottom = np.round(np.concatenate([frame[5] for frame in self._waiting]), 2).T
        self._waiting.clear()
        order = np.lexsort((steps, ids))
        ids = ids[order]
        columns = (times_s, (left + right) / 2, bottom, bottom - top)
        places: list[Place] = list(zip(*(column[order].tolist() for column in columns), strict=True))
        kinds, scores = kinds[order].tolist(), np.round(scores[order].astype(np.float64), 4).tolist()
        at_steps = steps[order].tolist()
        begins = [0, *(np.flatnonzero(np.diff(ids)) + 1).tolist()]
        tracks = zip(begins, [*begins[1:], len(ids)], ids[begins].tolist(), strict=True)
        for begin, end, track_id in sorted(tracks, key=lambda rows: (at_steps[rows[0]], rows[2])):
            track = self._alive.get(track_id)
            if track is None:
                track = self._alive[track_id] = _Alive(self._ids, {}, [], None, [])
                self._ids += 1
            track.see(places[begin:end], kinds[begin:end], scores[begin:end])

    def settle(self, alive: Set[int]) -> None:
        """Forget tracks that are gone for good: all except those with these ids."""
        self._take_in()
        for track_id in [track_id for track_id in self._alive if track_id not in alive]:
            track = self._alive.pop(track_id)
            for joins in self._joins:
                joins.add(track.number, _Ended(track.ends()))
        begun_s = sorted(track.head[0][0] for track in self._alive.values())
        seen_s = sorted(track.tail[-1][0] for track in self._alive.values())
        for joins in self._joins:
            joins.settle(self._now_s, begun_s, seen_s)

    def objects(self) -> Objects:
        """Return the count so far, as if all tracks had ended."""
        if self._told is not None and self._told[0] == self._frames:
            return self._told[1]
        self._take_in()
        numbers = []
        for joins in self._joins:
            whole = joins.copy()
            for track in self._alive.values():
                whole.add(track.number, _Ended(track.ends()))
            whole.settle(math.inf, [], [])
            numbers.append(self._ids - whole.joined)
        found = Objects(self._ids, min(numbers), max(numbers))
        self._told = self._frames, found
        return found

    def state(self) -> ObjectCounterState:
        """Return a snapshot for a checkpoint."""
        self._take_in()
        return ObjectCounterState(
            ids=self._ids,
            frames=self._frames,
            now_s=self._now_s if self._frames else 0.0,
            steps=self._steps,
            alive=[
                (
                    track_id,
                    track.number,
                    list(track.votes.items()),
                    list(track.head),
                    track.begun,
                    list(track.tail),
                )
                for track_id, track in self._alive.items()
            ],
            joined=(self._joins[0].joined, self._joins[1].joined),
            ended=(self._joins[0].state(), self._joins[1].state()),
        )

    def restore(self, state: ObjectCounterState) -> None:
        """Continue from a snapshot that `state` returned."""
        self._ids, self._frames, self._steps = state.ids, state.frames, state.steps
        self._now_s = state.now_s if self._frames else -math.inf
        self._waiting.clear()
        self._told = None
        self._alive = {
            track_id: _Alive(number, dict(votes), list(head), begun, list(tail))
            for track_id, number, votes, head, begun, tail in state.alive
        }
        self._joins = (_Joins(LOOSE), _Joins(STRICT))
        for joins, joined, ended in zip(self._joins, state.joined, state.ended, strict=True):
            joins.joined = joined
            for number, class_id, begin, begun, end, going, before, after in ended:
                joins.add(number, _Ended(Ends(class_id, begin, begun, end, going), before, after))


def _place(values: list[float]) -> Place:
    time_s, x, y, height = values
    return time_s, x, y, height
