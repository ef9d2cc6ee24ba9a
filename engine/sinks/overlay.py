"""Drawing on the frames of an annotated video: boxes, labels, trails and the scene."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, cast

import av
import numpy as np
from numpy.typing import NDArray

from engine.analytics.samples import FrameTracks
from engine.config import EngineConfig
from engine.media.planes import colour_of, planes_of
from engine.records import Frame, Tracks
from engine.sinks.base import DrawnState
from engine_ext.overlay import DARK, Layer, draw_layers, draw_lines, draw_tracks, lines_layer, text_layer

if TYPE_CHECKING:
    from engine.sinks.scene_overlay import SceneJson, SceneOverlay

# Of a trail.
_MAX_POINTS = 2000
# What the kernel says of a label's place is below it.
_MAX_SLOTS = 64
# Frames between two looks for tracks whose labels' places need not be remembered any more.
_FRAMES_BETWEEN_PURGES = 64


@dataclass(frozen=True)
class OverlayStyle:
    """label      the contents of a label, in this order; () for none
    colour_by  one colour per track, or per class
    line_width, label_size   in pixels; None: by frame size
    trail_s    seconds of a track's path to draw behind it
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
    """Draws on the frames of one video, in their order. `state` gives a checkpoint what the next frames depend on.

    Tracks are drawn as they are in the file of tracks, from which `render` draws the same again: boxes to 0.01 pixel,
    scores to 0.0001.
    """

    def __init__(self, style: OverlayStyle, class_names: Sequence[str], scene: SceneOverlay | None = None) -> None:
        self._style = style
        self._names = class_names
        self._kinds = dict(enumerate(class_names))
        self._scene = scene
        self._layers: _SceneLayers | None = None
        self._trails: dict[int, _Trail] = {}
        self._slots: dict[int, int] = {}  # of tracks: where their labels stood last

    @property
    def scene(self) -> SceneOverlay | None:
        return self._scene

    def draw(self, image: av.VideoFrame, tracks: Tracks) -> None:
        """Draw a frame's tracks on an image of even size that nobody else reads."""
        style, size_wh, scene = self._style, (image.width, image.height), self._scene
        matrix, full_range = colour_of(image)
        planes = planes_of(image)
        boxes = tracks.boxes_xyxy.round(2)
        layers = None
        if scene is not None:
            upright_wh = tracks.frame.size_wh or size_wh  # without what was added to make its size even
            scene.see(tracks.frame, rows_of(tracks, boxes, self._kinds), upright_wh, tracks.alive)
            layers = self._layers_of(scene, _Canvas(size_wh, upright_wh, matrix, full_range))
            layers.lines.draw(planes)
        colours = tracks.track_ids if style.colour_by == "id" else tracks.class_ids.astype(np.int64)
        ids: list[int] = tracks.track_ids.tolist()
        if style.trail_s > 0:
            self._follow(tracks.frame, ids, boxes, colours)
            points, ends, of = self._lines()
            draw_lines(
                planes, size_wh, points, ends, of, matrix=matrix, full_range=full_range, thickness=style.line_width
            )
        if ids:
            slots = np.array([self._slots.get(track_id, -1) for track_id in ids], np.int64)
            labels, short_labels = self._labels(tracks, ids)
            draw_tracks(
                planes,
                size_wh,
                boxes,
                tracks.track_ids,
                labels,
                short_labels=short_labels,
                colours=colours,
                matrix=matrix,
                full_range=full_range,
                thickness=style.line_width,
                font_size=style.label_size,
                taken=None if layers is None else layers.rooms,
                slots=slots,
            )
            self._slots.update(zip(ids, slots.tolist(), strict=True))
        if tracks.frame.index % _FRAMES_BETWEEN_PURGES == 0:
            here = frozenset(ids)
            self._slots = {track_id: slot for track_id, slot in self._slots.items() if track_id in here}
        if scene is not None and layers is not None:
            draw_layers(planes, layers.signs(scene.signs(tracks.frame)))

    def _layers_of(self, scene: SceneOverlay, canvas: _Canvas) -> _SceneLayers:
        if self._layers is None or self._layers.canvas != canvas:
            self._layers = _SceneLayers(scene, canvas, self._style.label_size)
        return self._layers

    def state(self) -> DrawnState:
        """Return what is to be known behind the last frame, as JSON values."""
        state: DrawnState = {}
        if self._trails:
            state["trails"] = [
                [float(track_id), float(trail.colour), *chain.from_iterable(trail.points)]
                for track_id, trail in self._trails.items()
            ]
        if self._slots:
            state["labels"] = [[track_id, slot] for track_id, slot in self._slots.items()]
        if self._scene is not None and (known := self._scene.state()) is not None:
            state["scene"] = cast("dict[str, object]", known)
        return state

    def restore(self, state: DrawnState) -> None:
        """Continue behind the frame at which `state` was taken; an empty one is that before the first. Raises
        ValueError, TypeError, KeyError or OverflowError if it is none."""
        self._trails = {}
        for values in state.get("trails", ()):
            if len(values) % 3 != 2:
                raise ValueError("a trail has no whole points")
            track_id, colour, *rest = values
            points = zip(rest[::3], rest[1::3], rest[2::3], strict=True)
            self._trails[int(track_id)] = _Trail(int(colour), deque(points, maxlen=_MAX_POINTS))
        self._slots = {int(track_id): int(slot) for track_id, slot in state.get("labels", ())}
        if not all(-1 <= slot < _MAX_SLOTS for slot in self._slots.values()):
            raise ValueError("a label has no such place")
        if self._scene is not None:
            self._scene.restore(cast("SceneJson | None", state.get("scene")))

    def _labels(self, tracks: Tracks, ids: list[int]) -> tuple[list[str], list[str] | None]:
        """Return the labels, and what is drawn where a whole one finds no room."""
        label = self._style.label
        if not label:
            return [""] * len(ids), None
        words = [self._words(part, tracks, ids) for part in label]
        if len(words) == 1:
            return words[0], None
        return list(map(" ".join, zip(*words, strict=True))), words[label.index("id")] if "id" in label else None

    def _words(self, part: str, tracks: Tracks, ids: list[int]) -> list[str]:
        """Return one part of all labels."""
        if part == "class":
            return [self._names[class_id] for class_id in tracks.class_ids.tolist()]
        if part == "id":
            return list(map(str, ids))
        return [f"{score:.2f}" for score in np.round(tracks.scores.astype(np.float64), 4).tolist()]

    def _follow(self, frame: Frame, ids: list[int], boxes: NDArray[np.float64], colours: NDArray[np.int64]) -> None:
        """Add the foot of each box to its track's trail, and let go what is too old."""
        now = float(frame.pts * Fraction(frame.time_base))
        for track_id, colour, (left, _, right, bottom) in zip(ids, colours.tolist(), boxes.tolist(), strict=True):
            trail = self._trails.setdefault(track_id, _Trail(colour, deque(maxlen=_MAX_POINTS)))
            trail.points.append((now, (left + right) / 2, bottom))
        for track_id in list(self._trails):
            points = self._trails[track_id].points
            while points and points[0][0] < now - self._style.trail_s:
                points.popleft()
            if not points:
                del self._trails[track_id]

    def _lines(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        points = chain.from_iterable(trail.points for trail in self._trails.values())
        values = np.fromiter(chain.from_iterable(points), np.float64).reshape(-1, 3)
        ends = np.cumsum([len(trail.points) for trail in self._trails.values()], dtype=np.int64)
        colours = np.array([trail.colour & 63 for trail in self._trails.values()], np.int64)
        return values[:, 1:], ends, colours


class _Canvas(NamedTuple):
    """What all frames have in common on which a scene is drawn alike."""

    size_wh: tuple[int, int]
    upright_wh: tuple[int, int]
    matrix: str
    full_range: bool


class _SceneLayers:
    """What is drawn of a scene on frames that are alike, each part made once for as long as it stays the same."""

    def __init__(self, scene: SceneOverlay, canvas: _Canvas, label_size: int | None) -> None:
        self.canvas = canvas
        self.rooms = scene.rooms(canvas.upright_wh)
        """Where no label may stand."""
        self.lines = lines_layer(
            canvas.size_wh, scene.strokes(canvas.upright_wh), matrix=canvas.matrix, full_range=canvas.full_range
        )
        """What is drawn below the tracks."""
        self._label_size = label_size
        self._texts = [""] * len(self.rooms)
        self._signs = [self._sign(number, text) for number, text in enumerate(self._texts)]

    def signs(self, texts: list[str]) -> list[Layer]:
        """Return what is drawn above all else: these texts, one a room."""
        for number, (text, before) in enumerate(zip(texts, self._texts, strict=True)):
            if text != before:
                self._signs[number] = self._sign(number, text)
        self._texts = texts
        return self._signs

    def _sign(self, number: int, text: str) -> Layer:
        left, top = self.rooms[number, :2].tolist()
        size_wh, _, matrix, full_range = self.canvas
        return text_layer(
            size_wh, (left, top), DARK, text, matrix=matrix, full_range=full_range, font_size=self._label_size
        )


def rows_of(tracks: Tracks, boxes_xyxy: NDArray[np.float64], class_names: dict[int, str]) -> FrameTracks:
    """Return the tracks of a frame as those who count take them, with these boxes."""
    frame, columns = tracks.frame, (tracks.track_ids, tracks.class_ids, tracks.scores, boxes_xyxy)
    return FrameTracks(frame.index, frame.pts, frame.time_s, class_names, *columns)


@dataclass
class _Trail:
    colour: int
    points: deque[tuple[float, float, float]]
