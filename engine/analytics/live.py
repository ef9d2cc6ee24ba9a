"""The counts of a scene as frames arrive, from the tracks up to each frame.

A crossing counts from the frame that decides it: the first in which its track is beyond the line by the margin, or, if
the track ended closer than that, the frame at which it is taken to have ended; if it is seen again after all, the
crossing no longer counts. A stay counts from its first frame. `analyse` counts the same in the rows up to a frame,
except that it treats all tracks as ended there. For a line or zone that counts some classes only, a track's class is
the majority of its detections so far.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, takewhile
from operator import itemgetter
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from engine.analytics.crossings import Approach, Crossing, Crossings
from engine.analytics.samples import FrameTracks, Row
from engine.analytics.scene import Scene, SceneLine, SceneZone
from engine.analytics.stays import Stay, Stays
from engine_ext.sides import Watch

_NOBODY = np.empty(0, np.int64)

Done: TypeAlias = list[tuple[int, str, int]]
"""(index of the place, what happened, how often) of each count."""


@dataclass(frozen=True)
class _State:
    """Live counts in a checkpoint. `totals` are the settled counts, `tracks` are (id, last step, votes by class, counts
    at places that count some classes only), `lines` and `zones` the tracks' states at each."""

    totals: Done
    tracks: list[tuple[int, float, dict[str, float], Done]]
    lines: list[list[tuple[int, Approach]]]
    zones: list[list[tuple[int, Stay | None]]]


@cache
def _states() -> TypeAdapter[_State]:
    return TypeAdapter(_State)


class LineCount(NamedTuple):
    """How often a line was crossed each way so far."""

    line: SceneLine
    into: int
    out: int


class ZoneCount(NamedTuple):
    """How many objects are in a zone in this frame, and the number of stays so far, including theirs."""

    zone: SceneZone
    inside: int
    stays: int


@dataclass(slots=True, eq=False, repr=False)
class _Track:
    votes: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    done: Counter[tuple[int, str]] = field(default_factory=Counter)
    """Counts at places that count some classes only."""
    at_end: Counter[tuple[int, str]] = field(default_factory=Counter)
    """What counts if the track has ended."""
    kind: str = ""
    """The class with most votes so far."""
    seen: float = 0.0
    """The step in which it was last seen, once it is gone."""

    def vote(self, kind: str, score: float) -> bool:
        """Count a detection's class. Return whether the track's class is another one now."""
        self.votes[kind] += score
        return kind != self.kind and self.settle()

    def settle(self) -> bool:
        """Return whether the votes make the track's class another one."""
        before, self.kind = self.kind, max(sorted(self.votes), key=lambda kind: self.votes[kind], default="")
        return self.kind != before


class LiveCounts:
    """The counts of one video, for one scene and frame size. Memory is bounded by the number of recently seen
    tracks."""

    def __init__(self, scene: Scene, size_wh: tuple[int, int], gone_after: float, forget_after: float) -> None:
        """Start at zero. An unseen track is presumed to have ended after `gone_after` steps, and has ended after
        `forget_after` steps if its tracker does not hold it any more."""
        self._gone_after, self._forget_after = gone_after, forget_after
        lines = [scene.line_shape(line, size_wh) for line in scene.lines]
        zones = [scene.zone_shape(zone, size_wh) for zone in scene.zones]
        self._lines = list(zip(scene.lines, map(Crossings, lines), strict=True))
        self._zones = list(zip(scene.zones, map(Stays, zones), strict=True))
        self._finders: list[Crossings | Stays] = [
            *(crossings for _, crossings in self._lines),
            *(stays for _, stays in self._zones),
        ]
        self._watch = Watch([shape.watched for shape in (*lines, *zones)])
        """Knows the tracks that are not gone, and tells which of them are not where they were."""
        self._places: list[SceneLine | SceneZone] = [*scene.lines, *scene.zones]
        self._by_class = any(place.classes is not None for place in self._places)
        self._totals: Counter[tuple[int, str]] = Counter()
        # What they show with all that is not settled; None after a change.
        self._shown: Counter[tuple[int, str]] | None = None
        self._tracks: dict[int, _Track] = {}
        self._gone: dict[int, _Track] = {}
        """Those presumed to have ended, in the order in which they were last seen."""
        self._last: dict[int, FrameTracks] = {}
        """The frames in which the tracks that are not gone were last seen."""
        self._here: NDArray[np.int64] = np.empty(0, np.int64)
        self._step = 0.0
        self.changes = 0
        """Grows with each frame after which `lines` or `zones` may return something else."""

    def see(self, frame: FrameTracks, step: float, alive: NDArray[np.int64] | None = _NOBODY) -> None:
        """Process the tracks of the next frame; `step` is its position in steps of the stream. `alive` are the tracks
        that may be seen again, however long ago they were; None: in this frame that is not known."""
        ids = self._here = frame.track_ids
        self._step = step
        new, moved, gone, same = self._watch.follow(ids, frame.boxes_xyxy, step, step - self._gone_after)
        for track_id in new:
            self._tracks[track_id] = self._back(track_id)
        if self._by_class:
            self._vote(frame)
        if moved:
            self._take(frame, moved)
        self._last.update(dict.fromkeys(ids.tolist(), frame))
        for seen, track_id in gone:
            self._leave(track_id, seen)
        if alive is not None:
            self._forget(step - self._forget_after, alive)
        if not same or moved or self._shown is None:
            self.changes += 1

    def _back(self, track_id: int) -> _Track:
        """Return a track that was gone, or is new."""
        track = self._gone.pop(track_id, None) or _Track()
        if track.at_end:
            track.at_end, self._shown = Counter(), None
        return track

    def _vote(self, frame: FrameTracks) -> None:
        samples = frame.samples
        kinds = [samples.class_names.get(kind, str(kind)) for kind in samples.class_ids.tolist()]
        for track_id, kind, score in zip(samples.track_ids.tolist(), kinds, samples.scores.tolist(), strict=True):
            if self._tracks[track_id].vote(kind, score):
                self._shown = None

    def _take(self, frame: FrameTracks, moved: list[tuple[int, int, int | None, bool]]) -> None:
        """Process what a Watch tells of: tracks that are not where they were."""
        ids = frame.track_ids.tolist()
        rows: dict[int, tuple[Row, Row | None]] = {}
        for place, index, side, far in moved:
            track_id, finder = ids[index], self._finders[place]
            if index not in rows:
                last = self._last.get(track_id)
                rows[index] = frame.row(index), None if last is None else last.of(track_id)
            row, before = rows[index]
            staying = self._staying(finder)
            for found in finder.step(track_id, row, side, far, before):
                self._count(place, found)
            if self._staying(finder) != staying:
                self._shown = None
            self._watch.settle(place, track_id, finder.calm_side(track_id))

    def _leave(self, track_id: int, seen: float) -> None:
        """Presume that a track has ended, which was last seen in that step."""
        self._tell_last([track_id])
        self._last.pop(track_id, None)
        track = self._gone[track_id] = self._tracks.pop(track_id)
        track.seen, track.at_end = seen, self._at_end(track_id)
        if track.at_end:
            self._shown = None

    def _forget(self, before: float, alive: NDArray[np.int64]) -> None:
        """End the tracks that were last seen before that step and won't be seen again."""
        long_gone = list(takewhile(lambda track_id: self._gone[track_id].seen < before, self._gone))
        if long_gone:
            held = frozenset(alive.tolist())
            for track_id in long_gone:
                if track_id not in held:
                    self._end(track_id)

    def _tell_last(self, track_ids: Collection[int]) -> None:
        """Tell all lines and zones the last rows of tracks, which they don't know of those that stayed where they
        were."""
        last = {track_id: self._last[track_id].of(track_id) for track_id in track_ids if track_id in self._last}
        for finder in self._finders:
            finder.stayed(last)

    @staticmethod
    def _staying(finder: Crossings | Stays) -> int:
        return len(finder.inside_now) if isinstance(finder, Stays) else 0

    def lines(self) -> list[LineCount]:
        """Return the counts of the lines, in the order of the scene."""
        numbers = self._numbers()
        return [
            LineCount(line, numbers[place, "in"], numbers[place, "out"]) for place, (line, _) in enumerate(self._lines)
        ]

    def zones(self) -> list[ZoneCount]:
        """Return the counts of the zones, in the order of the scene."""
        numbers, here = self._numbers(), frozenset(self._here.tolist())
        found = []
        for place, (zone, stays) in enumerate(self._zones, len(self._lines)):
            inside = self._counted(place, here & stays.inside_now)
            found.append(ZoneCount(zone, inside, numbers[place, "stay"]))
        return found

    def left(self) -> dict[str, object]:
        """Return the state for `go_on` at the camera's next file, with steps counted from here."""
        return self.state(since=self._step)

    def go_on(self, left: Mapping[str, object], step: float, *, joined: bool) -> None:
        """Continue in the camera's next file, whose first frame is at `step`. If it is not `joined` to the previous
        file, all of that file's tracks have ended. Raises ValueError as `restore` does."""
        self._restore(left, step - 1)
        for track_id in [] if joined else list(self._tracks):
            self._end(track_id)

    def state(self, since: float = 0.0) -> dict[str, object]:
        """Return everything that later frames depend on, as JSON values. Steps are counted from `since`."""
        gone = ((track.seen, track_id, track) for track_id, track in self._gone.items())
        others = ((seen, track_id, self._tracks[track_id]) for seen, track_id in self._watch.last_seen())
        self._tell_last(self._last)
        state = _State(
            _triples(self._totals),
            [
                (track_id, seen - since, dict(track.votes), _triples(track.done))
                for seen, track_id, track in sorted(chain(gone, others), key=itemgetter(0, 1))
            ],
            [crossings.state() for _, crossings in self._lines],
            [stays.state() for _, stays in self._zones],
        )
        found: dict[str, object] = _states().dump_python(state, mode="json")
        return found

    def restore(self, state: Mapping[str, object]) -> None:
        """Continue from a state that `state` returned. Raises ValueError if it does not fit this scene."""
        self._restore(state, 0.0)

    def _restore(self, state: Mapping[str, object], ahead: float) -> None:
        """Continue from a state whose steps are counted from `ahead`."""
        known = _states().validate_json(json.dumps(state), strict=True)
        self._totals = _counter(known.totals)
        self._gone = {}  # the next frame adds those that are gone
        self._tracks = {
            track_id: _Track(defaultdict(float, votes), _counter(done)) for track_id, _, votes, done in known.tracks
        }
        self._last = {}
        for _, track_id in self._watch.last_seen():
            self._watch.forget(track_id)
        for track_id, seen, *_ in known.tracks:
            self._watch.add(track_id, seen + ahead)
        for track in self._tracks.values():
            track.settle()
        self._shown = None
        for (_, crossings), of_line in zip(self._lines, known.lines, strict=True):
            crossings.restore(of_line)
        for (_, stays), of_zone in zip(self._zones, known.zones, strict=True):
            stays.restore(of_zone)

    def _count(self, place: int, found: Crossing | Stay) -> None:
        self._shown = None
        # Places that count some classes only wait for the track's final class.
        waits = self._places[place].classes is not None
        (self._track(found.track_id).done if waits else self._totals)[place, _key(found)] += 1

    def _at_end(self, track_id: int) -> Counter[tuple[int, str]]:
        """Return the counts that the end of a track would add. Its stays count already."""
        return Counter(
            (place, _key(crossing))
            for place, (_, crossings) in enumerate(self._lines)
            for crossing in crossings.at_end(track_id)
        )

    def _end(self, track_id: int) -> None:
        self._shown = None
        track = self._track(track_id)
        for place, (_, crossings) in enumerate(self._lines):
            for crossing in crossings.end(track_id):
                track.done[place, _key(crossing)] += 1
        for place, (_, stays) in enumerate(self._zones, len(self._lines)):
            for stay in stays.end(track_id):
                track.done[place, _key(stay)] += 1
        self._add(self._totals, track_id, track.done)
        self._watch.forget(track_id)
        for of_tracks in (self._gone, self._tracks, self._last):
            of_tracks.pop(track_id, None)

    def _numbers(self) -> Counter[tuple[int, str]]:
        """Return all counts, those of the stays with the ones that last. Between two frames they rarely change."""
        if self._shown is not None:
            return self._shown
        numbers = self._shown = self._totals.copy()
        for track_id, track in chain(self._gone.items(), self._tracks.items()):
            if track.at_end or track.done:
                self._add(numbers, track_id, track.at_end)
                self._add(numbers, track_id, track.done)
        for place, (_, stays) in enumerate(self._zones, len(self._lines)):
            numbers[place, "stay"] += self._counted(place, stays.inside_now)
        return numbers

    def _add(self, numbers: Counter[tuple[int, str]], track_id: int, done: Counter[tuple[int, str]]) -> None:
        for (place, key), number in done.items():
            if self._counts_at(place, track_id):
                numbers[place, key] += number

    def _track(self, track_id: int) -> _Track:
        return self._tracks[track_id] if track_id in self._tracks else self._gone[track_id]

    def _counted(self, place: int, track_ids: Collection[int]) -> int:
        """Return of how many of these tracks a place counts the class."""
        if self._places[place].classes is None:
            return len(track_ids)
        return sum(self._counts_at(place, track_id) for track_id in track_ids)

    def _counts_at(self, place: int, track_id: int) -> bool:
        """Return whether a place counts a track's class: the one with most votes so far."""
        classes = self._places[place].classes
        return classes is None or self._track(track_id).kind in classes


def _key(found: Crossing | Stay) -> str:
    return "stay" if isinstance(found, Stay) else "in" if found.positive else "out"


def _triples(counter: Counter[tuple[int, str]]) -> Done:
    return [(place, key, number) for (place, key), number in counter.items()]


def _counter(triples: Done) -> Counter[tuple[int, str]]:
    return Counter({(place, key): number for place, key, number in triples})
