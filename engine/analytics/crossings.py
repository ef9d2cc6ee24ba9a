"""When a track crosses a line: once, however much its box flickers.

A track has a settled side, at first that of its first sample off the line. It changes once a sample lies on the other
side by at least the margin, or when the track ends on the other side. The crossing is the last change of side of its
path up to then, and counts if the path meets the line there between its ends. What happens within the margin meanwhile
does not count, in either direction. A sample exactly on the line has the side of the sample before.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from itertools import pairwise
from typing import Any, TypeAlias

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
class _Sample:
    moment: Moment
    box_xyxy: tuple[float, float, float, float]

    def to_json(self) -> list[list[Any]]:
        return [list(astuple(self.moment)), list(self.box_xyxy)]

    @classmethod
    def from_json(cls, values: list[list[Any]]) -> _Sample:
        moment, (x1, y1, x2, y2) = values
        return cls(Moment(*moment), (float(x1), float(y1), float(x2), float(y2)))


@dataclass
class _Track:
    last: _Sample | tuple[Samples, int]
    """Its last sample, or the row of some that it is."""
    side: int
    """That of the last sample off the line; 0 before there is one."""
    settled: int
    change: tuple[_Sample, _Sample] | None = None
    """The samples between which the side changed last, away from the settled one."""


class Crossings:
    """The crossings of one line by tracks that are given in pieces, each in the order of its frames."""

    def __init__(self, line: PolyLine) -> None:
        self._line = line
        self._tracks: dict[int, _Track] = {}

    def sides(self, samples: Samples) -> Sides:
        """Return where samples, of any tracks, stand: (N,) -1, 0 or 1, and (N,) whether that is the margin away."""
        return self._line.sides(samples.boxes_xyxy)

    def feed(self, track_id: int, samples: Samples, known: Sides | None = None) -> list[Crossing]:
        """Take the next samples of a track, at least one, and return the crossings that they settle. `known` are their
        sides where somebody has them: those of all tracks together take hardly longer than those of one."""
        sides, far = known if known is not None else self.sides(samples)
        track = self._tracks.get(track_id)
        if track is None:
            track = self._tracks[track_id] = _Track(self._sample(samples, 0), 0, 0)
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
                before = self._sample(samples, start - 1) if start else self._last(track)
                track.side, track.change = int(sides[start]), (before, self._sample(samples, start))
            if track.side != track.settled and far[start:stop].any():
                found += self._settle(track_id, track)
        track.last = self._sample(samples, -1)
        return found

    def feed_frame(self, samples: Samples) -> list[Crossing]:
        """Take the samples of one frame, one a track, and return the crossings that they settle."""
        known = self.sides(samples)
        found: list[Crossing] = []
        for row, (track_id, side) in enumerate(zip(samples.track_ids.tolist(), known[0].tolist(), strict=True)):
            track = self._tracks.get(track_id)
            if track is not None and side == track.side == track.settled:  # as most are
                track.last = (samples, row)
            else:
                only = slice(row, row + 1)
                found += self.feed(track_id, samples.take(only), (known[0][only], known[1][only]))
        return found

    def state(self) -> list[list[Any]]:
        """Return what is known of each track, as JSON values."""
        return [
            [
                track_id,
                track.side,
                track.settled,
                self._last(track).to_json(),
                None if track.change is None else [sample.to_json() for sample in track.change],
            ]
            for track_id, track in self._tracks.items()
        ]

    def restore(self, state: Iterable[list[Any]]) -> None:
        """Go on where `state` was taken. Raises ValueError or TypeError for anything else."""
        self._tracks = {}
        for track_id, side, settled, last, change in state:
            changed = None
            if change is not None:
                before, after = change
                changed = (_Sample.from_json(before), _Sample.from_json(after))
            self._tracks[int(track_id)] = _Track(_Sample.from_json(last), int(side), int(settled), changed)

    def end(self, track_id: int) -> list[Crossing]:
        """Forget a track that has ended, and return the crossing that its end settles, if there is one."""
        found = self.at_end(track_id)
        self._tracks.pop(track_id, None)
        return found

    def at_end(self, track_id: int) -> list[Crossing]:
        """Return the crossing that the end of a track would settle, if there is one."""
        track = self._tracks.get(track_id)
        return self._crossed(track_id, track) if track is not None and track.side != track.settled else []

    def _settle(self, track_id: int, track: _Track) -> list[Crossing]:
        track.settled = track.side
        return self._crossed(track_id, track)

    def _crossed(self, track_id: int, track: _Track) -> list[Crossing]:
        """Return the last change of side, if the line was met there."""
        assert track.change is not None
        before, after = track.change
        share = self._line.crossing(before.box_xyxy, after.box_xyxy)
        if share is None:
            return []
        return [Crossing(track_id, track.side > 0, before.moment.towards(after.moment, float(share)))]

    def _last(self, track: _Track) -> _Sample:
        return track.last if isinstance(track.last, _Sample) else self._sample(*track.last)

    def _sample(self, samples: Samples, index: int) -> _Sample:
        x1, y1, x2, y2 = samples.boxes_xyxy[index].tolist()
        return _Sample(samples.moment(index, self._line.anchor), (x1, y1, x2, y2))
