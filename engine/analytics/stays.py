"""How long a track stays in a zone.

A stay begins at the first sample inside (the boundary is inside) and ends before the first later sample outside by at
least the margin, or with the track. A gap in a track does not end a stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, KeysView, Mapping
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.analytics.geometry import Anchor, Polygon
from engine.analytics.samples import LastRows, Moment, Row, Samples, Tracked


class Stay(NamedTuple):
    """One stay, from the first to the last sample *inside*. `born_inside`: it begins with the track; `ended_inside`:
    the track ended before it left."""

    track_id: int
    first: Moment
    last: Moment
    born_inside: bool
    ended_inside: bool

    @property
    def dwell_s(self) -> float:
        return self.last.time_s - self.first.time_s


@dataclass(slots=True, eq=False, repr=False)
class _Open:
    """A stay that has not ended. Its last sample's moment is worked out only when someone asks. `calm`: the track's
    last sample is inside."""

    first: Moment
    last: LastRows | Row | Moment
    born_inside: bool
    calm: bool = False

    def stay(self, track_id: int, anchor: Anchor, *, ended_inside: bool = True) -> Stay:
        last = self.last.of(track_id) if isinstance(self.last, LastRows) else self.last
        last = last if isinstance(last, Moment) else last.moment(anchor)
        return Stay(track_id, self.first, last, self.born_inside, ended_inside)


class Stays:
    """The stays in one zone of tracks that arrive in chunks, each in frame order."""

    def __init__(self, zone: Polygon) -> None:
        self._zone = zone
        self._seen: dict[int, None] = {}
        """All tracks that have not ended, in the order of their first samples."""
        self._open: dict[int, _Open] = {}
        """The stays of those inside."""

    def inside(self, samples: Samples) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return two (N,) bool arrays for samples of any tracks: inside; outside by the margin."""
        return self._zone.inside(samples.boxes_xyxy)

    def feed(self, tracks: Tracked) -> list[Stay]:
        """Process the next samples of some tracks and return the stays that end in them."""
        inside, left = self.inside(tracks.samples)
        any_inside, all_inside = tracks.most(inside).tolist(), tracks.least(inside).tolist()
        before = list(map(self._open.__contains__, tracks.ids))
        found: list[Stay] = []
        if not before == any_inside == all_inside:  # most stay where they are
            for number, (was, some, whole) in enumerate(zip(before, any_inside, all_inside, strict=True)):
                if not was == some == whole:
                    track_id, start, stop = tracks.spans[number]
                    states = zip(inside[start:stop].tolist(), left[start:stop].tolist(), strict=True)
                    found += self._moved(track_id, states, tracks.row_at(number))
                    before[number] = False
        for track_id in compress(tracks.ids, before):
            stay = self._open[track_id]
            stay.last, stay.calm = tracks.last, True
        self._seen.update(dict.fromkeys(tracks.ids))
        return found

    def step(self, track_id: int, row: Row, inside: int | None, far: bool, before: Row | None) -> list[Stay]:
        """Process one sample of one track, given whether it is inside, None: not known, and whether it is at least the
        margin from the boundary, as `feed` does. `before` is the track's last sample if that was not processed, because
        the track stayed on its `calm_side`."""
        leaves = far and not inside
        if inside is None:
            within, left = self._zone.inside(np.array([row.box_xyxy]))
            inside, leaves = bool(within[0]), bool(left[0])
        if before is not None:
            self.stayed({track_id: before})
        found = self._moved(track_id, ((bool(inside), leaves),), lambda _: row)
        self._seen[track_id] = None
        return found

    def _moved(self, track_id: int, states: Iterable[tuple[bool, bool]], row: Callable[[int], Row]) -> list[Stay]:
        """Process the samples of a track that enters or leaves, or is outside by less than the margin: of each whether
        it is inside, and whether outside by the margin. `row` gives one by its index."""
        anchor = self._zone.anchor
        stay = self._open.pop(track_id, None)
        ended: list[Stay] = []
        last: int | None = None
        within = False
        for index, (within, leaves) in enumerate(states):
            if within:
                if stay is None:
                    born_inside = index == 0 and track_id not in self._seen
                    first = row(index)
                    stay = _Open(first.moment(anchor), first, born_inside)
                last = index
            elif leaves and stay is not None:
                if last is not None:
                    stay.last, last = row(last), None
                ended.append(stay.stay(track_id, anchor, ended_inside=False))
                stay = None
        if stay is not None:
            if last is not None:
                stay.last = row(last)
            stay.calm = within
            self._open[track_id] = stay
        return ended

    def calm_side(self, track_id: int) -> int | None:
        """Return 1 for a track inside, 0 for one without a stay, None for another or a new one. As long as it stays
        inside, or outside without a stay, its samples need not be processed."""
        stay = self._open.get(track_id)
        if stay is None:
            return 0 if track_id in self._seen else None
        return 1 if stay.calm else None

    def stayed(self, last: Mapping[int, Row]) -> None:
        """Take the last samples of tracks that were not processed, because they stayed inside or outside."""
        for track_id, row in last.items():
            stay = self._open.get(track_id)
            if stay is not None and stay.calm:
                stay.last = row

    def end(self, track_id: int) -> list[Stay]:
        """Forget a track that has ended, and return the stay that ends with it, if any."""
        stay = self.of(track_id)
        self._seen.pop(track_id, None)
        self._open.pop(track_id, None)
        return [stay] if stay is not None else []

    def of(self, track_id: int) -> Stay | None:
        """Return a track's current stay, up to the last sample inside; None if it is outside."""
        stay = self._open.get(track_id)
        return stay.stay(track_id, self._zone.anchor) if stay is not None else None

    @property
    def inside_now(self) -> KeysView[int]:
        """The tracks whose stay has not ended."""
        return self._open.keys()

    def state(self) -> list[tuple[int, Stay | None]]:
        """Return the stay of each track (None if outside), for `restore`."""
        return [(track_id, self.of(track_id)) for track_id in self._seen]

    def restore(self, state: Iterable[tuple[int, Stay | None]]) -> None:
        """Continue from a state that `state` returned."""
        stays = dict(state)
        self._seen = dict.fromkeys(stays)
        self._open = {
            track_id: _Open(stay.first, stay.last, stay.born_inside)
            for track_id, stay in stays.items()
            if stay is not None
        }
