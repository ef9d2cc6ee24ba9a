"""How long a track stays in a zone.

A stay begins at the first sample inside (the boundary is inside) and ends before the first later sample outside by at
least the margin, or with the track. A gap in a track does not end a stay.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.analytics.geometry import Polygon
from engine.analytics.samples import Moment, Samples, Tracked


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


class Stays:
    """The stays in one zone of tracks that arrive in chunks, each in frame order."""

    def __init__(self, zone: Polygon) -> None:
        self._zone = zone
        self._open: dict[int, Stay | None] = {}
        """Each track's stay so far; None while it is outside."""

    def inside(self, samples: Samples) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return two (N,) bool arrays for samples of any tracks: inside; outside by the margin."""
        return self._zone.inside(samples.boxes_xyxy)

    def feed(self, tracks: Tracked) -> list[Stay]:
        """Process the next samples of some tracks and return the stays that end in them."""
        inside, left = self.inside(tracks.samples)
        any_inside = np.logical_or.reduceat(inside, tracks.starts).tolist()
        all_inside = np.logical_and.reduceat(inside, tracks.starts).tolist()
        found: list[Stay] = []
        for (track_id, start, stop), within, throughout in zip(tracks.spans, any_inside, all_inside, strict=True):
            stay = self._open.get(track_id)
            if not within and stay is None:  # the common case
                self._open[track_id] = None
                continue
            if throughout and stay is not None:
                self._open[track_id] = stay._replace(last=tracks.samples.moment(stop - 1, self._zone.anchor))
                continue
            samples = tracks.samples.take(slice(start, stop))
            found += self._follow(track_id, samples, inside[start:stop], left[start:stop])
        return found

    def _follow(
        self, track_id: int, samples: Samples, inside: NDArray[np.bool_], left: NDArray[np.bool_]
    ) -> list[Stay]:
        within, leaves = np.flatnonzero(inside).tolist(), np.flatnonzero(left).tolist()
        new = track_id not in self._open
        stay = self._open.get(track_id)
        ended: list[Stay] = []
        at = 0
        while at < len(samples):
            # All samples inside before the next leave are one stay, with those outside by less than the margin.
            until = _next(leaves, at, len(samples))
            first, last = _next(within, at, until), _last(within, until)
            if first < until:
                moment = samples.moment(last, self._zone.anchor)
                if stay is None:
                    begin = samples.moment(first, self._zone.anchor)
                    stay = Stay(track_id, begin, moment, born_inside=new and first == 0, ended_inside=True)
                else:
                    stay = stay._replace(last=moment)
            if until < len(samples) and stay is not None:
                ended.append(stay._replace(ended_inside=False))
                stay = None
            at = max(until + 1, _next(within, until, len(samples))) if until < len(samples) else until
        self._open[track_id] = stay
        return ended

    def end(self, track_id: int) -> list[Stay]:
        """Forget a track that has ended, and return the stay that ends with it, if any."""
        stay = self._open.pop(track_id, None)
        return [stay] if stay is not None else []

    def of(self, track_id: int) -> Stay | None:
        """Return a track's current stay, up to the last sample inside; None if it is outside."""
        return self._open.get(track_id)

    @property
    def inside_now(self) -> list[int]:
        """The tracks whose stay has not ended."""
        return [track_id for track_id, stay in self._open.items() if stay is not None]

    def state(self) -> list[tuple[int, Stay | None]]:
        """Return the stay of each track (None if outside), for `restore`."""
        return list(self._open.items())

    def restore(self, state: Iterable[tuple[int, Stay | None]]) -> None:
        """Continue from a state that `state` returned."""
        self._open = dict(state)


def _next(places: list[int], at: int, none: int) -> int:
    """Return the first of the sorted `places` at or after `at`; `none` if there is none."""
    index = bisect_left(places, at)
    return places[index] if index < len(places) else none


def _last(places: list[int], before: int) -> int:
    """Return the last of the sorted `places` before `before`; 0 if there is none."""
    index = bisect_left(places, before) - 1
    return places[index] if index >= 0 else 0
