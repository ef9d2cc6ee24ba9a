"""How long a track stays in a zone.

A stay begins at the first sample inside (the boundary is inside) and ends before the first later sample outside by at
least the margin, or with the track. A gap in a track does not end a stay.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.analytics.geometry import Anchor, Polygon
from engine.analytics.samples import Moment, Row, Samples, Tracked


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
    """A stay that has not ended. Its last sample's moment is worked out only when someone asks."""

    first: Moment
    last: Row | Moment
    born_inside: bool

    def stay(self, track_id: int, anchor: Anchor, *, ended_inside: bool = True) -> Stay:
        last = self.last if isinstance(self.last, Moment) else self.last.moment(anchor)
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
        found: list[Stay] = []
        for number, (track_id, within) in enumerate(zip(tracks.ids, any_inside, strict=True)):
            stay = self._open.get(track_id)
            if not within and stay is None:  # the common case
                continue
            if all_inside[number] and stay is not None:
                stay.last = tracks.last[number]
                continue
            _, start, stop = tracks.spans[number]
            samples = tracks.samples.take(slice(start, stop))
            found += self._follow(track_id, samples, inside[start:stop], left[start:stop])
        self._seen.update(dict.fromkeys(tracks.ids))
        return found

    def _follow(
        self, track_id: int, samples: Samples, inside: NDArray[np.bool_], left: NDArray[np.bool_]
    ) -> list[Stay]:
        within, leaves = np.flatnonzero(inside).tolist(), np.flatnonzero(left).tolist()
        new = track_id not in self._seen
        stay = self._open.pop(track_id, None)
        ended: list[Stay] = []
        at = 0
        while at < len(samples):
            # All samples inside before the next leave are one stay, with those outside by less than the margin.
            until = _next(leaves, at, len(samples))
            first, last = _next(within, at, until), _last(within, until)
            if first < until:
                if stay is None:
                    begin = samples.moment(first, self._zone.anchor)
                    stay = _Open(begin, samples.row(last), born_inside=new and first == 0)
                else:
                    stay.last = samples.row(last)
            if until < len(samples) and stay is not None:
                ended.append(stay.stay(track_id, self._zone.anchor, ended_inside=False))
                stay = None
            at = max(until + 1, _next(within, until, len(samples))) if until < len(samples) else until
        if stay is not None:
            self._open[track_id] = stay
        return ended

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
    def inside_now(self) -> Collection[int]:
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


def _next(places: list[int], at: int, none: int) -> int:
    """Return the first of the sorted `places` at or after `at`; `none` if there is none."""
    index = bisect_left(places, at)
    return places[index] if index < len(places) else none


def _last(places: list[int], before: int) -> int:
    """Return the last of the sorted `places` before `before`; 0 if there is none."""
    index = bisect_left(places, before) - 1
    return places[index] if index >= 0 else 0
