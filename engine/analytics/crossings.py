"""When a track crosses a line: once, however much its box jitters.

A track has a settled side, initially that of its first sample off the line. It changes once a sample is on the other
side by at least the margin, or when the track ends on the other side. The crossing is the path's last change of side up
to then, and counts if the path meets the line there between the line's ends. Back-and-forth within the margin does not
count in either direction. A sample exactly on the line has the side of the previous sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from engine.analytics.geometry import PolyLine
from engine.analytics.samples import LastRows, Moment, Row, Tracked


class Crossing(NamedTuple):
    """One crossing. `positive`: from the left to the right of the line, seen along its direction from first to last
    point."""

    track_id: int
    positive: bool
    at: Moment


@dataclass(slots=True, eq=False, repr=False)
class Approach:
    """A track's state at a line. `side` is that of the last sample off the line, 0 before there is one; `change` holds
    the two samples between which it last left the `settled` side."""

    last: Row
    side: int
    settled: int
    change: tuple[Row, Row] | None = None


class Crossings:
    """The crossings of one line by tracks that arrive in chunks, each in frame order."""

    def __init__(self, line: PolyLine) -> None:
        self._line = line
        self._tracks: dict[int, Approach] = {}
        self._last: dict[int, LastRows | Row] = {}
        """Where the last row of each track is."""
        self._calm: dict[int, int] = {}
        """The side of each track that is on its settled side."""

    def feed(self, tracks: Tracked) -> list[Crossing]:
        """Process the next samples of some tracks and return the crossings that they complete."""
        sides, far = self._line.sides(tracks.samples.boxes_xyxy)
        least, most = tracks.least(sides).tolist(), tracks.most(sides).tolist()
        before = list(map(self._calm.get, tracks.ids))
        found: list[Crossing] = []
        if not before == least == most:  # most stay where they are
            for number, (track_id, side, low, high) in enumerate(zip(tracks.ids, before, least, most, strict=True)):
                if track_id not in self._tracks and low == high != 0:
                    self._tracks[track_id] = Approach(tracks.last.rows[number], low, low)
                    self._calm[track_id] = low
                elif not side == low == high:
                    _, start, stop = tracks.spans[number]
                    # In most of them something changes at once, and of a frame there is one: arrays take longer.
                    states = zip(sides[start:stop].tolist(), far[start:stop].tolist(), strict=True)
                    found += self._moved(track_id, states, tracks.row_at(number))
        self._last.update(dict.fromkeys(tracks.ids, tracks.last))
        return found

    def step(self, track_id: int, row: Row, side: int | None, far: bool, before: Row | None) -> list[Crossing]:
        """Process one sample of one track, given its side, None: not known, and whether it is at least the margin away,
        as `feed` does. `before` is the track's last sample if that was not processed, because the track stayed on its
        `calm_side`."""
        if side is None:
            sides, away = self._line.sides(np.array([row.box_xyxy]))
            side, far = int(sides[0]), bool(away[0])
        if before is not None:
            self._last[track_id] = before
        found = self._moved(track_id, ((side, far),), lambda _: row)
        self._last[track_id] = row
        return found

    def _moved(self, track_id: int, states: Iterable[tuple[int, bool]], row: Callable[[int], Row]) -> list[Crossing]:
        """Process the samples of a track that does not stay on its settled side: of each its side, and whether it is
        at least the margin away. `row` gives one by its index."""
        track = self._tracks.get(track_id)
        if track is None:
            track = self._tracks[track_id] = Approach(row(0), 0, 0)
        else:
            track.last = self._last_of(track_id)
        found: list[Crossing] = []
        for index, (side, away) in enumerate(states):
            if side not in (0, track.side):
                if track.side:
                    track.change = row(index - 1) if index else track.last, row(index)
                else:
                    track.settled = side
                track.side = side
            if away and track.side != track.settled:
                found += self._settle(track_id, track)
        if track.side == track.settled != 0:
            self._calm[track_id] = track.side
        else:
            self._calm.pop(track_id, None)
        return found

    def calm_side(self, track_id: int) -> int | None:
        """Return a track's settled side if it is there. As long as it is, its samples need not be processed."""
        return self._calm.get(track_id)

    def stayed(self, last: Mapping[int, Row]) -> None:
        """Take the last samples of tracks that were not processed, because they stayed on their settled sides."""
        self._last.update(last)

    def end(self, track_id: int) -> list[Crossing]:
        """Forget a track that has ended, and return the crossing that its end completes, if any."""
        found = self.at_end(track_id)
        for known in (self._tracks, self._last, self._calm):
            known.pop(track_id, None)
        return found

    def at_end(self, track_id: int) -> list[Crossing]:
        """Return the crossing that would be completed if the track ended now, if any."""
        track = self._tracks.get(track_id)
        return self._crossed(track_id, track) if track is not None and track.side != track.settled else []

    def state(self) -> list[tuple[int, Approach]]:
        """Return the state of each track, for `restore`."""
        return [(track_id, replace(track, last=self._last_of(track_id))) for track_id, track in self._tracks.items()]

    def restore(self, state: Iterable[tuple[int, Approach]]) -> None:
        """Continue from a state that `state` returned."""
        self._tracks = {track_id: replace(track) for track_id, track in state}
        self._last = {track_id: track.last for track_id, track in self._tracks.items()}
        self._calm = {
            track_id: track.side for track_id, track in self._tracks.items() if track.side == track.settled != 0
        }

    def _last_of(self, track_id: int) -> Row:
        last = self._last[track_id]
        return last if isinstance(last, Row) else last.of(track_id)

    def _settle(self, track_id: int, track: Approach) -> list[Crossing]:
        track.settled = track.side
        return self._crossed(track_id, track)

    def _crossed(self, track_id: int, track: Approach) -> list[Crossing]:
        """Return the last change of side as a crossing, if the path met the line between its ends."""
        assert track.change is not None
        before, after = track.change
        share = self._line.crossing(before.box_xyxy, after.box_xyxy)
        if share is None:
            return []
        anchor = self._line.anchor
        return [Crossing(track_id, track.side > 0, before.moment(anchor).towards(after.moment(anchor), float(share)))]
