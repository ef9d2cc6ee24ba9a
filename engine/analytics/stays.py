"""How long a track stays in a zone.

A stay begins at the first sample inside (the boundary is inside) and ends before the first later sample that is outside
by at least the margin, or with the track. A hole in a track is not a leave.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.analytics.geometry import Polygon
from engine.analytics.samples import Moment, Samples

Inside: TypeAlias = tuple[NDArray[np.bool_], NDArray[np.bool_]]


@dataclass(frozen=True)
class Stay:
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
    """The stays in one zone of tracks that are given in pieces, each in the order of its frames."""

    def __init__(self, zone: Polygon) -> None:
        self._zone = zone
        self._open: dict[int, Stay | None] = {}
        """Of each track: its stay as far as it is known, None while it is outside."""
        self._later: dict[int, tuple[Samples, int]] = {}
        """Of a track with a stay: the row of some samples that is the last one inside, where that is not in it yet."""

    def inside(self, samples: Samples) -> Inside:
        """Return where samples, of any tracks, stand: (N,) whether inside, and (N,) whether outside by the margin."""
        return self._zone.inside(samples.boxes_xyxy)

    def feed(self, track_id: int, samples: Samples, known: Inside | None = None) -> list[Stay]:
        """Take the next samples of a track, at least one, and return the stays that end in them. `known` says where
        they stand, where somebody has asked."""
        inside, left = known if known is not None else self.inside(samples)
        self._catch_up(track_id)
        if not inside.any() and self._open.get(track_id) is None:  # as most are
            self._open[track_id] = None
            return []
        within, leaves = np.flatnonzero(inside), np.flatnonzero(left)
        new = track_id not in self._open
        stay = self._open.get(track_id)
        ended: list[Stay] = []
        at = 0
        while at < len(samples):
            # Up to the next leave: whatever is inside before it is one stay, and what is outside by less is in it.
            until = _next(leaves, at, len(samples))
            first, last = _next(within, at, until), _last(within, until)
            if first < until:
                moment = samples.moment(last, self._zone.anchor)
                if stay is None:
                    begin = samples.moment(first, self._zone.anchor)
                    stay = Stay(track_id, begin, moment, born_inside=new and first == 0, ended_inside=True)
                else:
                    stay = replace(stay, last=moment)
            if until < len(samples) and stay is not None:
                ended.append(replace(stay, ended_inside=False))
                stay = None
            at = max(until + 1, _next(within, until, len(samples))) if until < len(samples) else until
        self._open[track_id] = stay
        return ended

    def feed_frame(self, samples: Samples) -> list[Stay]:
        """Take the samples of one frame, one a track, and return the stays that end there."""
        inside, left = self.inside(samples)
        found: list[Stay] = []
        for row, (track_id, within) in enumerate(zip(samples.track_ids.tolist(), inside.tolist(), strict=True)):
            if within and self._open.get(track_id) is not None:
                self._later[track_id] = (samples, row)
            elif within or self._open.get(track_id, self) is not None:
                only = slice(row, row + 1)
                found += self.feed(track_id, samples.take(only), (inside[only], left[only]))
        return found

    @property
    def open_ids(self) -> list[int]:
        """The tracks that stay in the zone, as far as is known."""
        return [track_id for track_id, stay in self._open.items() if stay is not None]

    def state(self) -> list[list[Any]]:
        """Return what is known of each track, as JSON values."""
        for track_id in list(self._later):
            self._catch_up(track_id)
        return [
            [track_id, None if stay is None else [[*astuple(stay.first)], [*astuple(stay.last)], stay.born_inside]]
            for track_id, stay in self._open.items()
        ]

    def restore(self, state: Iterable[list[Any]]) -> None:
        """Go on where `state` was taken. Raises ValueError or TypeError for anything else."""
        self._open, self._later = {}, {}
        for track_id, values in state:
            stay = None
            if values is not None:
                first, last, born_inside = values
                stay = Stay(int(track_id), Moment(*first), Moment(*last), bool(born_inside), ended_inside=True)
            self._open[int(track_id)] = stay

    def _catch_up(self, track_id: int) -> None:
        """Put into a track's stay what `feed_frame` has left for later."""
        later, stay = self._later.pop(track_id, None), self._open.get(track_id)
        if later is not None and stay is not None:
            self._open[track_id] = replace(stay, last=later[0].moment(later[1], self._zone.anchor))

    def end(self, track_id: int) -> list[Stay]:
        """Forget a track that has ended, and return the stay that ends with it, if there is one."""
        self._catch_up(track_id)
        stay = self._open.pop(track_id, None)
        return [stay] if stay is not None else []


def _next(places: NDArray[np.intp], at: int, none: int) -> int:
    """Return the first of the sorted `places` that is not before `at`."""
    index = int(np.searchsorted(places, at))
    return int(places[index]) if index < len(places) else none


def _last(places: NDArray[np.intp], before: int) -> int:
    """Return the last of the sorted `places` before `before`; 0 where there is none."""
    index = int(np.searchsorted(places, before)) - 1
    return int(places[index]) if index >= 0 else 0
