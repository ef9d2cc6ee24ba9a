"""The scene on an annotated video: its lines and zones, their counts up to the frame, and the time.

Signs are placed beside or inside their lines and zones (`sign_places.py`). Each has room for growing counts, so it
never moves.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import NamedTuple, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

from engine.analytics.live import LiveCounts
from engine.analytics.samples import FrameTracks
from engine.analytics.scene import Scene, SceneLine, SceneZone
from engine.records import Frame
from engine.sinks.sign_places import Outline, Room, place_signs
from engine_ext.overlay import DARK, LIGHT, line_thickness, text_sizes

Points: TypeAlias = NDArray[np.float64]

# The widest number for which a sign has room from the beginning.
_WIDEST = 9999
# Steps for which a track that is taken to have ended is remembered: trackers may follow one for a while before they
# tell of it again.
_REMEMBERED = 1500.0
# Of the frame's shorter side: how far a line's arrow reaches.
_ARROW = 0.06


class SceneJson(TypedDict):
    """What is drawn of a scene, behind a frame: the time of the video's first frame, the size of its frames, and the
    counts."""

    first_s: float
    size_wh: list[int]
    counts: Mapping[str, object] | None


class CountsJson(TypedDict):
    """What the counts on the next file's video continue with: the scene's hash, the size of the frames, and the state
    of its LiveCounts."""

    scene: str
    size_wh: list[int]
    counts: dict[str, object]


class Strokes(NamedTuple):
    """Lines of one thickness, as `lines_layer` takes them."""

    points: Points
    ends: NDArray[np.int64]
    colours: NDArray[np.int64]
    thickness: int


class _Layout(NamedTuple):
    """What stays the same at one size of the frame. `rooms` has left, top, right and bottom of each sign."""

    strokes: tuple[Strokes, ...]
    rooms: NDArray[np.int64]


class SceneOverlay:
    """What is drawn of the scene in one video, whose frames come in their order."""

    def __init__(
        self,
        scene: Scene | None,
        parts: Sequence[str],
        *,
        gone_after: float,
        wall_start: datetime | None = None,
        line_width: int | None = None,
        label_size: int | None = None,
    ) -> None:
        """`scene`: None has neither lines nor zones. `parts`: which of lines, zones, counts and clock. `gone_after`:
        steps after which a track that was not seen is taken to have ended. `wall_start` is the clock at the first
        frame, for frames that bear none. `line_width` and `label_size` are in pixels; None: by the frame's size."""
        scene = scene or Scene()
        self._scene = scene
        self._parts = frozenset(parts)
        self._gone_after = gone_after
        self._wall_start = wall_start
        self._line_width, self._label_size = line_width, label_size
        self._places: list[SceneLine | SceneZone] = [
            *(scene.lines if self._parts & {"lines", "counts"} else ()),
            *(scene.zones if self._parts & {"zones", "counts"} else ()),
        ]
        self._counts: LiveCounts | None = None
        self._saved: Mapping[str, object] | None = None
        self._said: tuple[int, list[str]] | None = None
        """What the signs of lines and zones say, and after which change of the counts."""
        self._first_s: float | None = None
        self._layouts: dict[tuple[int, int], _Layout] = {}
        self._size_wh = (0, 0)
        self.before: Callable[[], tuple[CountsJson | None, bool]] = lambda: (None, False)
        """Gives what the file before of the same camera has `left`, and whether this one is joined to it; asked at the
        first frame."""

    def see(
        self, frame: Frame, tracks: FrameTracks, size_wh: tuple[int, int], alive: NDArray[np.int64] | None = None
    ) -> None:
        """Take the next frame, its tracks, and the size that it has upright. `alive` are the tracks that may be seen
        again; None: in this frame that is not known."""
        if self._first_s is None:
            self._first_s = frame.time_s
        if "counts" not in self._parts or not self._places:
            return
        step = frame.time_s / float(frame.step_s) if frame.step_s else float(frame.index)
        if self._counts is None:
            self._size_wh = size_wh
            self._counts = self._new_counts(size_wh)
            if self._saved is not None:
                self._counts.restore(self._saved)
            else:
                self._go_on(self._counts, step)
        self._counts.see(tracks, step, alive)

    def left(self) -> CountsJson | None:
        """Return what the next file of the camera continues with; None if nothing is counted."""
        if self._counts is None:
            return None
        return {"scene": self._digest, "size_wh": list(self._size_wh), "counts": self._counts.left()}

    def _go_on(self, counts: LiveCounts, step: float) -> None:
        """Take over what the file before has left. What is of another scene counts for nothing; at another size of the
        frame, its tracks have ended."""
        before, joined = self.before()
        if before is None or before["scene"] != self._digest:
            return
        width, height = before["size_wh"]
        if (width, height) == self._size_wh:
            counts.go_on(before["counts"], step, joined=joined)
            return
        other = self._new_counts((width, height))
        other.go_on(before["counts"], step, joined=False)
        counts.restore(other.state())

    @cached_property
    def _digest(self) -> str:
        return hashlib.sha256(json.dumps(self._scene.table()).encode()).hexdigest()

    def strokes(self, size_wh: tuple[int, int]) -> tuple[Strokes, ...]:
        """Return what is drawn below the tracks, the lowest first."""
        return self._at(size_wh).strokes

    def rooms(self, size_wh: tuple[int, int]) -> NDArray[np.int64]:
        """Return where no label may stand: (K, 4) left, top, right and bottom of the signs."""
        return self._at(size_wh).rooms

    def signs(self, frame: Frame) -> list[str]:
        """Return the texts of the signs, in the order of their rooms."""
        return ([self._time_of(frame)] if "clock" in self._parts else []) + self._texts()

    def state(self) -> SceneJson | None:
        """Return what the next frames depend on; None before the first one."""
        if self._first_s is None:
            return None
        counts = None if self._counts is None else self._counts.state()
        return {"first_s": self._first_s, "size_wh": list(self._size_wh), "counts": counts}

    def restore(self, state: SceneJson | None) -> None:
        """Continue where `state` was taken; None: begin again. Raises ValueError, TypeError or KeyError for anything
        else."""
        self._first_s = self._counts = self._saved = self._said = None
        if state is None:
            return
        self._first_s, self._saved = float(state["first_s"]), state["counts"]
        if self._saved is not None:
            self._new_counts((2, 2)).restore(self._saved)  # whether it is one

    def _new_counts(self, size_wh: tuple[int, int]) -> LiveCounts:
        return LiveCounts(self._scene, size_wh, self._gone_after, self._gone_after + _REMEMBERED)

    def _texts(self) -> list[str]:
        if "counts" not in self._parts:
            return [place.name for place in self._places]
        counts = self._counts
        if counts is None:
            return []
        if self._said is None or self._said[0] != counts.changes:
            lines = [_of_line(each.line, each.into, each.out) for each in counts.lines()]
            zones = [_of_zone(each.zone, each.inside, each.stays) for each in counts.zones()]
            self._said = counts.changes, lines + zones
        return self._said[1]

    def _time_of(self, frame: Frame) -> str:
        since = timedelta(seconds=frame.time_s - (self._first_s or 0.0))
        wall = frame.wall
        if wall is None and self._wall_start is not None:
            wall = self._wall_start + since
        if wall is not None:
            return wall.strftime("%Y-%m-%d %H:%M:%S")
        seconds = int(since.total_seconds())
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"

    def _at(self, size_wh: tuple[int, int]) -> _Layout:
        if size_wh not in self._layouts:
            self._layouts[size_wh] = self._arranged(size_wh)
        return self._layouts[size_wh]

    def _arranged(self, size_wh: tuple[int, int]) -> _Layout:
        thickness = self._line_width or line_thickness(size_wh)
        drawn = list(self._drawn(size_wh))
        widest = ["0000-00-00 00:00:00"] if "clock" in self._parts else []
        for place in self._places:
            if "counts" not in self._parts:
                widest.append(place.name)
            elif isinstance(place, SceneLine):
                widest.append(_of_line(place, _WIDEST, _WIDEST))
            else:
                widest.append(_of_zone(place, _WIDEST, _WIDEST))
        sizes = text_sizes(widest, size_wh, font_size=self._label_size).tolist()
        edge = max((size[1] for size in sizes), default=0) // 2
        clock = [_placed(edge, edge, *sizes.pop(0))] if "clock" in self._parts else []
        signs = place_signs(
            [_outline(place, size_wh) for place in self._places],
            sizes,
            drawn,
            size_wh,
            edge=edge,
            gap=2 * thickness,
            taken=clock,
        )
        rooms = [*clock, *signs]
        return _Layout(_strokes(drawn, thickness), np.array(rooms, np.int64).reshape(-1, 4))

    def _drawn(self, size_wh: tuple[int, int]) -> Iterator[Points]:
        """Give what is drawn of lines and zones, each through points in pixels."""
        for zone in self._scene.zones if "zones" in self._parts else ():
            yield _outline(zone, size_wh).points
        for line in self._scene.lines if "lines" in self._parts else ():
            points = _outline(line, size_wh).points
            yield points
            yield from _arrow(points, _ARROW * min(size_wh))


def _of_line(line: SceneLine, into: int, out: int) -> str:
    return f"{line.name}: {line.into} {into}, {line.out} {out}"


def _of_zone(zone: SceneZone, inside: int, stays: int) -> str:
    return f"{zone.name}: now {inside}, total {stays}"


def _outline(place: SceneLine | SceneZone, size_wh: tuple[int, int]) -> Outline:
    """Return a line or zone in pixels."""
    if isinstance(place, SceneLine):
        return Outline(np.array(place.points, np.float64) * size_wh, closed=False)
    return Outline(np.array([*place.polygon, place.polygon[0]], np.float64) * size_wh, closed=True)


def _arrow(points: Points, length: float) -> Iterator[Points]:
    """Give an arrow from the middle of a line to its right hand: the way that is called "in"."""
    steps = np.diff(points, axis=0)
    lengths = np.hypot(*steps.T)
    half = lengths.sum() / 2
    piece = int(np.searchsorted(np.cumsum(lengths), half))
    along = steps[piece] / lengths[piece]
    middle = points[piece] + along * (half - lengths[:piece].sum())
    right = np.array([-along[1], along[0]])
    tip = middle + right * length
    yield np.array([middle, tip])
    yield np.array([tip + (along - right) * length / 3, tip, tip - (along + right) * length / 3])


def _strokes(drawn: Sequence[Points], thickness: int) -> tuple[Strokes, ...]:
    """Draw light lines on dark ones, which can be seen on any ground."""
    if not drawn:
        return ()
    points, ends = np.concatenate(drawn), np.cumsum([len(each) for each in drawn])
    return tuple(
        Strokes(points, ends, np.full(len(ends), colour), wide)
        for colour, wide in ((DARK, min(thickness + 2 * ((thickness + 2) // 3), 64)), (LIGHT, thickness))
    )


def _placed(left: float, top: float, width: int, height: int) -> Room:
    """Return a sign's room at whole blocks of chroma, where the drawing puts it."""
    x, y = (int(left) + 1) & ~1, (int(top) + 1) & ~1
    return x, y, x + width, y + height
