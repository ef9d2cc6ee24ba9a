"""Where each track went, in as few points as show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.analytics import Samples
from engine.analytics.geometry import anchors
from engine.report.records import Path

UNITS = 1000
"""Paths are in thousandths of the frame's width and height."""

# Places of a track that are kept; every second is dropped when there are more.
_MAX_PLACES = 64
# A point that lies nearer to the straight way than this, in thousandths, tells nothing.
TOLERANCE = 4.0

_Point = tuple[int, int]


@dataclass
class _Growing:
    points: list[_Point] = field(default_factory=list)
    last: _Point = (0, 0)
    rows: int = 0
    stride: int = 1


class Paths:
    """Collects the ways of all tracks from rows given in pieces: the middle of the box's lower edge, as for lines.
    Memory is bounded by the number of tracks."""

    def __init__(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """`sizes` has the size of each video's upright frames, by its name."""
        self._sizes = sizes
        self._tracks: dict[int, _Growing] = {}

    def feed(self, samples: Samples) -> None:
        """Take the next rows of a video."""
        width, height = self._sizes[samples.video]
        for track_id, rows in samples.by_track():
            track = self._tracks.setdefault(track_id, _Growing())
            places = anchors(rows.boxes_xyxy, "bottom") / (width, height)
            points = [(_unit(x), _unit(y)) for x, y in places.tolist()]
            track.points += points[(-track.rows) % track.stride :: track.stride]
            track.rows += len(points)
            track.last = points[-1]
            while len(track.points) > _MAX_PLACES:
                track.points = track.points[::2]
                track.stride *= 2

    def ended(self, tolerance: float = TOLERANCE) -> dict[int, Path]:
        """Return the way of each track, by its id."""
        return {
            track_id: Path(track_id, tuple(value for point in _whole(track, tolerance) for value in point))
            for track_id, track in self._tracks.items()
        }


def simplified(points: list[_Point], tolerance: float) -> list[_Point]:
    """Leave out the points that lie within `tolerance` of the way without them (Ramer, 1972; Douglas and Peucker,
    1973). The first and the last stay."""
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
    """Return how far a point is from the stretch between two others."""
    along, across = second[0] - first[0], second[1] - first[1]
    x, y = point[0] - first[0], point[1] - first[1]
    length = along * along + across * across
    share = min(1.0, max(0.0, (x * along + y * across) / length)) if length else 0.0
    return float(((x - share * along) ** 2 + (y - share * across) ** 2) ** 0.5)


def _unit(value: float) -> int:
    return min(UNITS, max(0, round(value * UNITS)))
