"""The counts of a scene as frames come: at each frame, what is known of the tracks up to there.

A crossing counts from the frame at which it is decided: the first in which its track stands beyond the line by the
margin, or, where it ended nearer than that, the one at which it is known to have ended; should it be seen again after
all, it counts no longer. A stay counts from its first frame. What `analyse` counts in the rows up to a frame is the
same, but that it takes all tracks for ended there. Where a line or zone counts some classes only, the class of a track
is what its detections say by now.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, takewhile
from typing import TypeAlias

import numpy as np
from pydantic import TypeAdapter

from engine.analytics.crossings import Approach, Crossing, Crossings
from engine.analytics.samples import Samples, Tracked
from engine.analytics.scene import Scene, SceneLine, SceneZone
from engine.analytics.stays import Stay, Stays

Done: TypeAlias = list[tuple[int, str, int]]
"""How often something was done at a place: the place's number, what, how often."""


@dataclass(frozen=True)
class _State:
    """Live counts, as a checkpoint keeps them. `totals` is what is settled; `tracks` (id, last step, votes by class,
    what it did at places that count some classes only); `lines` and `zones` what each knows of the tracks."""

    totals: Done
    tracks: list[tuple[int, float, dict[str, float], Done]]
    lines: list[list[tuple[int, Approach]]]
    zones: list[list[tuple[int, Stay | None]]]


@cache
def _states() -> TypeAdapter[_State]:
    return TypeAdapter(_State)


@dataclass(frozen=True)
class LineCount:
    """How often a line was crossed each way so far."""

    line: SceneLine
    into: int
    out: int


@dataclass(frozen=True)
class ZoneCount:
    """How many are in a zone in this frame, and how many stays there were so far, these included."""

    zone: SceneZone
    inside: int
    stays: int


@dataclass
class _Track:
    seen: float
    votes: defaultdict[str, float]
    done: Counter[tuple[int, str]]
    """At places that count some classes only."""
    at_end: Counter[tuple[int, str]] = field(default_factory=Counter)
    """What counts if it has ended."""


class LiveCounts:
    """The counts of one video, in whose frames a scene is at one size. Memory is bounded by the tracks seen of
    late."""

    def __init__(self, scene: Scene, size_wh: tuple[int, int], gone_after: float, forget_after: float) -> None:
        """`gone_after`: steps after which a track that was not seen is taken to have ended; `forget_after`: after which
        it has."""
        self._gone_after, self._forget_after = gone_after, forget_after
        self._lines = [(line, Crossings(scene.line_shape(line, size_wh))) for line in scene.lines]
        self._zones = [(zone, Stays(scene.zone_shape(zone, size_wh))) for zone in scene.zones]
        self._places: list[SceneLine | SceneZone] = [*scene.lines, *scene.zones]
        self._by_class = any(place.classes is not None for place in self._places)
        self._totals: Counter[tuple[int, str]] = Counter()
        # Both in the order in which their tracks were seen last.
        self._tracks: dict[int, _Track] = {}
        self._gone: dict[int, _Track] = {}
        self._here: frozenset[int] = frozenset()
        self._step = 0.0

    def see(self, samples: Samples, step: float) -> None:
        """Take the tracks of the next frame, one row each; `step` is where it stands, counted in steps of its
        stream."""
        ids = samples.track_ids.tolist()
        self._here, self._step = frozenset(ids), step
        for row, track_id in enumerate(ids):
            track = self._tracks.pop(track_id, None) or self._gone.pop(track_id, None)
            track = self._tracks[track_id] = track or _Track(step, defaultdict(float), Counter())
            track.seen, track.at_end = step, Counter()
            if self._by_class:
                kind = int(samples.class_ids[row])
                track.votes[samples.class_names.get(kind, str(kind))] += float(samples.scores[row])
        if ids:
            rows = np.arange(len(ids))
            self._feed(Tracked(samples, ids, rows, rows + 1))
        for track_id in _older(self._tracks, step - self._gone_after):
            track = self._gone[track_id] = self._tracks.pop(track_id)
            track.at_end = self._at_end(track_id)
        for track_id in _older(self._gone, step - self._forget_after):
            self._end(track_id)

    def _feed(self, tracks: Tracked) -> None:
        for place, (_, crossings) in enumerate(self._lines):
            for crossing in crossings.feed(tracks):
                self._count(place, crossing)
        for place, (_, stays) in enumerate(self._zones, len(self._lines)):
            for stay in stays.feed(tracks):
                self._count(place, stay)

    def lines(self) -> list[LineCount]:
        """Return the counts of the lines, in the order of the scene."""
        numbers = self._numbers()
        return [
            LineCount(line, numbers[place, "in"], numbers[place, "out"]) for place, (line, _) in enumerate(self._lines)
        ]

    def zones(self) -> list[ZoneCount]:
        """Return the counts of the zones, in the order of the scene."""
        numbers = self._numbers()
        found = []
        for place, (zone, stays) in enumerate(self._zones, len(self._lines)):
            staying = [track_id for track_id in stays.inside_now if self._counts_at(place, track_id)]
            inside = sum(track_id in self._here for track_id in staying)
            found.append(ZoneCount(zone, inside, numbers[place, "stay"] + len(staying)))
        return found

    def left(self) -> dict[str, object]:
        """Return what `go_on` takes at the next file of the camera: a state whose steps are counted from here."""
        return self.state(since=self._step)

    def go_on(self, left: Mapping[str, object], step: float, *, joined: bool) -> None:
        """Continue in the next file of the camera, whose first frame is at `step`; where it is not `joined` to the one
        before, all tracks of that one have ended. Raises ValueError as `restore`."""
        self.restore(left)
        for track in self._tracks.values():
            track.seen += step - 1
        for track_id in [] if joined else list(self._tracks):
            self._end(track_id)

    def state(self, since: float = 0.0) -> dict[str, object]:
        """Return everything the next frames depend on, as JSON values. Steps are counted from `since`."""
        state = _State(
            _triples(self._totals),
            [
                (track_id, track.seen - since, dict(track.votes), _triples(track.done))
                for track_id, track in chain(self._gone.items(), self._tracks.items())
            ],
            [crossings.state() for _, crossings in self._lines],
            [stays.state() for _, stays in self._zones],
        )
        found: dict[str, object] = _states().dump_python(state, mode="json")
        return found

    def restore(self, state: Mapping[str, object]) -> None:
        """Continue where `state` was taken. Raises ValueError if it is none of this scene."""
        known = _states().validate_json(json.dumps(state), strict=True)
        self._totals = _counter(known.totals)
        self._gone = {}  # those that are find their way there with the next frame
        self._tracks = {
            track_id: _Track(seen, defaultdict(float, votes), _counter(done))
            for track_id, seen, votes, done in known.tracks
        }
        for (_, crossings), of_line in zip(self._lines, known.lines, strict=True):
            crossings.restore(of_line)
        for (_, stays), of_zone in zip(self._zones, known.zones, strict=True):
            stays.restore(of_zone)

    def _count(self, place: int, found: Crossing | Stay) -> None:
        # What counts some classes only waits for the track's last word.
        waits = self._places[place].classes is not None
        (self._track(found.track_id).done if waits else self._totals)[place, _key(found)] += 1

    def _at_end(self, track_id: int) -> Counter[tuple[int, str]]:
        """Return what the end of a track would settle. Its stays count already."""
        return Counter(
            (place, _key(crossing))
            for place, (_, crossings) in enumerate(self._lines)
            for crossing in crossings.at_end(track_id)
        )

    def _end(self, track_id: int) -> None:
        track = self._track(track_id)
        for place, (_, crossings) in enumerate(self._lines):
            for crossing in crossings.end(track_id):
                track.done[place, _key(crossing)] += 1
        for place, (_, stays) in enumerate(self._zones, len(self._lines)):
            for stay in stays.end(track_id):
                track.done[place, _key(stay)] += 1
        self._add(self._totals, track_id, track.done)
        self._gone.pop(track_id, None)
        self._tracks.pop(track_id, None)

    def _numbers(self) -> Counter[tuple[int, str]]:
        numbers = self._totals.copy()
        for track_id, track in self._gone.items():
            self._add(numbers, track_id, track.at_end)
        for track_id, track in chain(self._gone.items(), self._tracks.items()) if self._by_class else ():
            self._add(numbers, track_id, track.done)
        return numbers

    def _add(self, numbers: Counter[tuple[int, str]], track_id: int, done: Counter[tuple[int, str]]) -> None:
        for (place, key), number in done.items():
            if self._counts_at(place, track_id):
                numbers[place, key] += number

    def _track(self, track_id: int) -> _Track:
        return self._tracks[track_id] if track_id in self._tracks else self._gone[track_id]

    def _counts_at(self, place: int, track_id: int) -> bool:
        """Return whether a place counts a track's class, which is the one with most votes by now."""
        classes, votes = self._places[place].classes, self._track(track_id).votes
        return classes is None or max(sorted(votes), key=lambda kind: votes[kind]) in classes


def _older(tracks: dict[int, _Track], than: float) -> list[int]:
    return [track_id for track_id, _ in takewhile(lambda item: item[1].seen < than, tracks.items())]


def _key(found: Crossing | Stay) -> str:
    return "stay" if isinstance(found, Stay) else "in" if found.positive else "out"


def _triples(counter: Counter[tuple[int, str]]) -> Done:
    return [(place, key, number) for (place, key), number in counter.items()]


def _counter(triples: Done) -> Counter[tuple[int, str]]:
    return Counter({(place, key): number for place, key, number in triples})
