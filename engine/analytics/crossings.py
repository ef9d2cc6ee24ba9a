"""When a track crosses a line: once, however much its box flickers.

A track has a settled side, at first that of its first sample off the line. It changes once a sample lies on the other
side by at least the margin, or when the track ends on the other side. The crossing is the last change of side of its
path up to then, and counts if the path meets the line there between its ends. What happens within the margin meanwhile
does not count, in either direction. A sample exactly on the line has the side of the sample before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.analytics.geometry import PolyLine
from engine.analytics.samples import Moment, Samples

Sides: TypeAlias = tuple[NDArray[np.int8], NDArray[np.bool_]]


@dataclass(frozen=True)
class Crossing:
    """One crossing. `positive`: from the left to the right of the line, walking from its first to its last point."""

    track_id: int
    positive: bool
    at: Moment


@dataclass(frozen=True)
class Sighting:
    """One sample of a track: where its anchor was, and its box in pixels."""

    moment: Moment
    box_xyxy: tuple[float, float, float, float]


@dataclass
class Approach:
    """How far a track is with a line. `side` is that of the last sample off the line, 0 before there is one; `change`
    are the samples between which it changed last, away from the `settled` one."""

    last: Sighting
    side: int
    settled: int
    change: tuple[Sighting, Sighting] | None = None


class Crossings:
    """The crossings of one line by tracks that are given in pieces, each in the order of its frames."""

    def __init__(self, line: PolyLine) -> None:
        self._line = line
        self._tracks: dict[int, Approach] = {}

    def sides(self, samples: Samples) -> Sides:
        """Return where samples, of any tracks, stand: (N,) -1, 0 or 1, and (N,) whether that is the margin away."""
        return self._line.sides(samples.boxes_xyxy)

    def feed(self, track_id: int, samples: Samples, known: Sides | None = None) -> list[Crossing]:
        """Take the next samples of a track, at least one, and return the crossings that they settle. `known` are their
        sides where somebody has them: those of all tracks together take hardly longer than those of one."""
        sides, far = known if known is not None else self.sides(samples)
        track = self._tracks.get(track_id)
        if track is None:
            track = self._tracks[track_id] = Approach(self._sample(samples, 0), 0, 0)
        if track.side and track.side == track.settled and (sides == track.side).all():  # as most are
            track.last = self._sample(samples, -1)
            return []
        off_line = np.flatnonzero(sides)
        if not track.side and len(off_line):
            track.side = track.settled = int(sides[off_line[0]])
        found: list[Crossing] = []
        # Runs of samples on one side: those on the line belong to the run before them.
        bounds = off_line[np.flatnonzero(np.diff(sides[off_line], prepend=track.side))]
        for start, stop in pairwise((0, *bounds.tolist(), len(samples))):
            if start in bounds:
                before = self._sample(samples, start - 1) if start else track.last
                track.side, track.change = int(sides[start]), (before, self._sample(samples, start))
            if track.side != track.settled and far[start:stop].any():
                found += self._settle(track_id, track)
        track.last = self._sample(samples, -1)
        return found

    def end(self, track_id: int) -> list[Crossing]:
        """Forget a track that has ended, and return the crossing that its end settles, if there is one."""
        track = self._tracks.pop(track_id, None)
        return self._settle(track_id, track) if track is not None and track.side != track.settled else []

    def state(self) -> list[tuple[int, Approach]]:
        """Return how far each track is, to `restore` it from."""
        return [(track_id, replace(track)) for track_id, track in self._tracks.items()]

    def restore(self, state: Iterable[tuple[int, Approach]]) -> None:
        """Go on where `state` was taken."""
        self._tracks = {track_id: replace(track) for track_id, track in state}

    def _settle(self, track_id: int, track: Approach) -> list[Crossing]:
        assert track.change is not None
        track.settled = track.side
        before, after = track.change
        share = self._line.crossing(before.box_xyxy, after.box_xyxy)
        if share is None:
            return []
        return [Crossing(track_id, track.side > 0, before.moment.towards(after.moment, float(share)))]

    def _sample(self, samples: Samples, index: int) -> Sighting:
        x1, y1, x2, y2 = samples.boxes_xyxy[index].tolist()
        return Sighting(samples.moment(index, self._line.anchor), (x1, y1, x2, y2))
