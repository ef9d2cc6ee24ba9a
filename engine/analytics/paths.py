"""The path of each track, simplified to few points."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from engine.analytics.geometry import anchors
from engine.analytics.samples import Samples

UNITS = 1000
"""The unit of paths: thousandths of the frame's width and height."""

# Positions kept per track; when there are more, every second one is dropped.
_MAX_PLACES = 64
# A point closer to the straight path than this, in thousandths, can be left out.
TOLERANCE = 4.0

_Point = tuple[int, int]


class TrackPath(NamedTuple):
    """The path of a track: x, y of each point in thousandths of the frame, flattened."""

    track_id: int
    points: tuple[int, ...]


@dataclass(eq=False, repr=False)
class _Growing:
    """A path so far, its last point, and every how many rows one is kept."""

    points: list[_Point] = field(default_factory=list)
    last: _Point = (0, 0)
    rows: int = 0
    stride: int = 1


class Paths:
    """Collects the paths of all tracks from rows given in chunks: the middle of the box's lower edge, as for lines.
    Memory is bounded by the number of tracks."""

    def __init__(self) -> None:
        self._tracks: dict[int, _Growing] = {}

    def feed(self, samples: Samples, size_wh: tuple[int, int]) -> None:
        """Add the next rows, of a video whose upright frame has this size."""
        tracks = samples.by_track()
        places = anchors(tracks.samples.boxes_xyxy, "bottom") / size_wh
        points = list(map(_point, np.clip(np.rint(places * UNITS), 0, UNITS).astype(np.int64).tolist()))
        for track_id, start, stop in tracks.spans:
            track = self._tracks.setdefault(track_id, _Growing())
            track.points += points[start + (-track.rows) % track.stride : stop : track.stride]
            track.rows += stop - start
            track.last = points[stop - 1]
            while len(track.points) > _MAX_PLACES:
                track.points = track.points[::2]
                track.stride *= 2

    def ended(self, tolerance: float = TOLERANCE) -> dict[int, TrackPath]:
        """Return the simplified path of each track, by its id."""
        return {
            track_id: TrackPath(track_id, tuple(value for point in _whole(track, tolerance) for value in point))
            for track_id, track in self._tracks.items()
        }


def simplified(points: list[_Point], tolerance: float) -> list[_Point]:
    """Leave out points that are within `tolerance` of the path without them (Ramer, 1972; Douglas and Peucker, 1973).
    The first and the last point stay."""
    keep = {0, len(points) - 1}
    parts = [(0, len(points) - 1)]
    while parts:
        first, last = parts.pop()
        far, furthest = 0.0, 0
        for place in range(first + 1, last):
            distance = _distance(points[place], points[first], points[last])
            if distance > far:
                far, furthest = distance, place
        if far > tolerance:
            keep.add(furthest)
            parts += [(first, furthest), (furthest, last)]
    return [points[place] for place in sorted(keep)]


def _whole(track: _Growing, tolerance: float) -> list[_Point]:
    points = track.points if track.points[-1] == track.last else [*track.points, track.last]
    return simplified(points, tolerance) if len(points) > 1 else points


def _distance(point: _Point, first: _Point, second: _Point) -> float:
    """Return the distance of a point to the segment between two others."""
    along, across = second[0] - first[0], second[1] - first[1]
    x, y = point[0] - first[0], point[1] - first[1]
    length = along * along + across * across
    share = min(1.0, max(0.0, (x * along + y * across) / length)) if length else 0.0
    return float(((x - share * along) ** 2 + (y - share * across) ** 2) ** 0.5)


def _point(place: list[int]) -> _Point:
    x, y = place
    return x, y
