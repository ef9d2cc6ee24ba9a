"""What is drawn on a frame of an annotated video, and how: boxes, labels, trails."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain

import av
import numpy as np

from engine.config import EngineConfig
from engine.media.planes import colour_of, planes_of
from engine.records import Tracks
from engine_ext.overlay import draw_lines, draw_tracks

TrailState = list[float]
"""A trail as a checkpoint keeps it: the track's id, its colour, then time, x and y of each point."""

# Of a trail.
_MAX_POINTS = 2000


@dataclass(frozen=True)
class OverlayStyle:
    """label      what stands in a label, in this order; () for none
    colour_by  what has a colour of its own: each track, or each class
    line_width, label_size   in pixels; None: by the frame's size
    trail_s    seconds of its way that follow a track
    """

    label: Sequence[str] = ("class", "id")
    colour_by: str = "id"
    line_width: int | None = None
    label_size: int | None = None
    trail_s: float = 0.0

    @classmethod
    def of(cls, config: EngineConfig) -> OverlayStyle:
        """Return what a configuration asks for."""
        return cls(config.label, config.colour_by, config.line_width, config.label_size, config.trail_s)


class Overlay:
    """Draws on the frames of one video, in their order. Trails are its state, which `state` gives to a checkpoint."""

    def __init__(self, style: OverlayStyle, class_names: Sequence[str]) -> None:
        self._style = style
        self._names = class_names
        self._trails: dict[int, _Trail] = {}

    def draw(self, image: av.VideoFrame, tracks: Tracks) -> None:
        """Draw a frame's tracks on an image of even size that nobody else reads."""
        style, size_wh = self._style, (image.width, image.height)
        matrix, full_range = colour_of(image)
        planes = planes_of(image)
        colours = tracks.track_ids if style.colour_by == "id" else tracks.class_ids.astype(np.int64)
        if style.trail_s > 0:
            self._follow(tracks, colours)
            points, ends, of = self._lines()
            draw_lines(
                planes, size_wh, points, ends, of, matrix=matrix, full_range=full_range, thickness=style.line_width
            )
        if not len(tracks):
            return
        draw_tracks(
            planes,
            size_wh,
            tracks.boxes_xyxy,
            tracks.track_ids,
            self._labels(tracks),
            short_labels=self._short_labels(tracks),
            colours=colours,
            matrix=matrix,
            full_range=full_range,
            thickness=style.line_width,
            font_size=style.label_size,
        )

    def state(self) -> list[TrailState]:
        """The trails behind the last frame, as JSON values."""
        return [
            [float(track_id), float(trail.colour), *chain.from_iterable(trail.points)]
            for track_id, trail in self._trails.items()
        ]

    def restore(self, state: Sequence[Sequence[float]]) -> None:
        """Go on behind the frame at which `state` was taken. Raises ValueError where it is none."""
        self._trails = {}
        for values in state:
            if len(values) % 3 != 2:
                raise ValueError("a trail has no whole points")
            track_id, colour, *rest = values
            points = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
            self._trails[int(track_id)] = _Trail(int(colour), deque(points, maxlen=_MAX_POINTS))

    def _labels(self, tracks: Tracks) -> list[str]:
        parts: dict[str, list[str]] = {
            "class": [self._names[class_id] for class_id in tracks.class_ids.tolist()],
            "id": [str(track_id) for track_id in tracks.track_ids.tolist()],
            "score": [f"{score:.2f}" for score in tracks.scores.tolist()],
        }
        return [" ".join(words) for words in zip(*(parts[part] for part in self._style.label), strict=True)] or [
            ""
        ] * len(tracks)

    def _short_labels(self, tracks: Tracks) -> list[str] | None:
        """What is drawn where the whole label finds no room."""
        if len(self._style.label) < 2 or "id" not in self._style.label:
            return None
        return [str(track_id) for track_id in tracks.track_ids.tolist()]

    def _follow(self, tracks: Tracks, colours: np.ndarray) -> None:
        """Add the foot of each box to its track's trail, and let go what is too old."""
        now = float(tracks.frame.pts * Fraction(tracks.frame.time_base))
        for track_id, colour, (left, _, right, bottom) in zip(
            tracks.track_ids.tolist(), colours.tolist(), tracks.boxes_xyxy.tolist(), strict=True
        ):
            trail = self._trails.setdefault(track_id, _Trail(colour, deque(maxlen=_MAX_POINTS)))
            trail.points.append((now, (left + right) / 2, bottom))
        for track_id in list(self._trails):
            points = self._trails[track_id].points
            while points and points[0][0] < now - self._style.trail_s:
                points.popleft()
            if not points:
                del self._trails[track_id]

    def _lines(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        points = [(x, y) for trail in self._trails.values() for _, x, y in trail.points]
        ends = np.cumsum([len(trail.points) for trail in self._trails.values()], dtype=np.int64)
        colours = np.array([trail.colour & 63 for trail in self._trails.values()], np.int64)
        return np.array(points, np.float64).reshape(-1, 2), ends, colours


@dataclass
class _Trail:
    colour: int
    points: deque[tuple[float, float, float]]
