"""Lines and zones of a scene as SVG over a frame: pixels, arrows, and the placement of names.

Labels of lines have fixed places, at the line and at its arrow; names of zones avoid them and each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from engine.analytics import Scene
from engine.report.island import shown

_Outline: TypeAlias = Sequence[tuple[float, float]]

# How wide a frame is shown, in letters: on a desk, and on a phone.
WIDE, NARROW = 43, 26


@dataclass(frozen=True)
class ZoneShape:
    """A polygon and its name, centred at `x`, `y`."""

    points: str
    name: str
    x: float
    y: float


@dataclass(frozen=True)
class LineShape:
    """A line, its name, which begins or ends (`side`) at `x`, `y`, and an arrow to the word for `in`."""

    points: str
    name: str
    into: str
    arrow: str
    x: float
    y: float
    side: str
    to_x: float
    to_y: float


@dataclass(frozen=True)
class SceneShapes:
    """A scene's lines and zones, with names in the font size `font`."""

    font: float
    lines: Sequence[LineShape]
    zones: Sequence[ZoneShape]


def shapes_of(scene: Scene, size_wh: tuple[int, int], across: int = WIDE) -> SceneShapes:
    """Return the shapes of a scene over a frame that is displayed `across` font sizes wide."""
    font = font_of(size_wh, across)
    lines = [line_shape(line.points, line.name, line.into, size_wh, font) for line in scene.lines]
    zones = zone_shapes([(zone.polygon, zone.name) for zone in scene.zones], lines, size_wh, font)
    return SceneShapes(font, lines, zones)


def points_of(points: Sequence[tuple[float, float]], size_wh: tuple[int, int]) -> str:
    """Format relative points for SVG, in pixels of the frame."""
    return " ".join(f"{x * size_wh[0]:.1f},{y * size_wh[1]:.1f}" for x, y in points)


def font_of(size_wh: tuple[int, int], across: int = WIDE) -> float:
    """Return the font size over a frame, in its pixels: a fraction 1 / `across` of the width."""
    return round(size_wh[0] / across, 1)


def zone_shapes(
    zones: Sequence[tuple[Sequence[tuple[float, float]], str]],
    lines: Sequence[LineShape],
    size_wh: tuple[int, int],
    font: float,
) -> list[ZoneShape]:
    """Return zones, given by polygons and names, each with its name in the middle, or near it if there it would cover
    other labels, lie in another zone, or be cut off at the frame's edge. `font` is the font size."""
    taken = [box for line in lines for box in _words_of(line, font)]
    outlines = [[(x * size_wh[0], y * size_wh[1]) for x, y in polygon] for polygon, _ in zones]
    shapes = []
    for number, (polygon, name) in enumerate(zones):
        own = outlines[number]
        others = [outline for outline in outlines if outline != own]
        x = sum(point[0] for point in own) / len(own)
        y = sum(point[1] for point in own) / len(own)
        half = len(shown(name)) * _LETTER * font / 2
        x = min(max(x, half), max(size_wh[0] - half, size_wh[0] / 2))
        places = [_box(shown(name), x, y + step * font, "middle", font) for step in _STEPS]
        inside = [each for each in places if each.top >= 0 and each.bottom <= size_wh[1]]
        free = [each for each in inside if not any(map(each.meets, taken))]
        # The first suitable place outside other zones, so that the name is not mistaken for another zone's.
        box = min(free, key=lambda place: place.share_in(others, but=own), default=places[0])
        taken.append(box)
        shapes.append(ZoneShape(points_of(polygon, size_wh), shown(name), round(x, 1), round(box.baseline, 1)))
    return shapes


# Offsets from a zone's middle, in lines of text, nearest first.
_STEPS = (0.0, *(sign * step * 1.25 for step in range(1, 9) for sign in (1, -1)))
# Width of a letter relative to the font size: a little more than the widest common ones.
_LETTER, _ABOVE, _BELOW = 0.62, 0.85, 0.25
# Positions along a word that are tested for being in a zone.
_ASKED = 9


@dataclass(frozen=True)
class _Box:
    """The box of a word: its sides and its baseline."""

    left: float
    top: float
    right: float
    bottom: float
    baseline: float

    def meets(self, other: _Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def share_in(self, outlines: Sequence[_Outline], *, but: _Outline) -> int:
        """Return how many test points of the word are inside one of the outlines but outside `but`."""
        step = (self.right - self.left) / (_ASKED - 1)
        places = [(self.left + number * step, y) for number in range(_ASKED) for y in (self.top, self.bottom)]
        foreign = [at for at in places if not _holds(but, at)]
        return sum(any(_holds(outline, at) for outline in outlines) for at in foreign)


def _holds(outline: _Outline, at: tuple[float, float]) -> bool:
    """Return whether a point is within a polygon."""
    x, y = at
    inside = False
    for (ax, ay), (bx, by) in zip(outline, [*outline[1:], outline[0]], strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            inside = not inside
    return inside


def _box(text: str, x: float, y: float, anchor: str, font: float) -> _Box:
    width = len(text) * _LETTER * font
    left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
    return _Box(left, y - _ABOVE * font, left + width, y + _BELOW * font, y)


def _words_of(line: LineShape, font: float) -> tuple[_Box, _Box]:
    return _box(line.name, line.x, line.y, line.side, font), _box(line.into, line.to_x, line.to_y, "middle", font)


def line_shape(
    points: Sequence[tuple[float, float]], name: str, into: str, size_wh: tuple[int, int], font: float
) -> LineShape:
    """Return a line with an arrow in its middle in the direction of `in`: to the right, seen along the line."""
    width, height = size_wh
    pixels = [(x * width, y * height) for x, y in points]
    middle = (len(pixels) - 1) // 2
    (ax, ay), (bx, by) = pixels[middle], pixels[middle + 1]
    along = ((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5 or 1.0
    right = (-(by - ay) / along, (bx - ax) / along)  # y grows downwards
    forward = ((bx - ax) / along, (by - ay) / along)
    x, y = (ax + bx) / 2, (ay + by) / 2
    long, head = height / 12, height / 40
    tip = (x + right[0] * long, y + right[1] * long)
    wings = [
        (tip[0] - right[0] * head + side * forward[0] * head, tip[1] - right[1] * head + side * forward[1] * head)
        for side in (-1, 1)
    ]
    arrow = f"M{x:.1f} {y:.1f}L{tip[0]:.1f} {tip[1]:.1f}M{wings[0][0]:.1f} {wings[0][1]:.1f}" + "".join(
        f"L{px:.1f} {py:.1f}" for px, py in (tip, wings[1])
    )
    first, aside = pixels[0], font / 4  # beside the line if it goes down
    half = min(len(shown(into)) * _LETTER * font, width) / 2
    return LineShape(
        points=points_of(points, size_wh),
        name=shown(name),
        into=shown(into),
        arrow=arrow,
        x=round(min(max(first[0] + (aside if first[0] < width / 2 else -aside), 4), width - 4), 1),
        y=round(max(first[1] - font / 3, font), 1),
        side="start" if first[0] < width / 2 else "end",
        to_x=round(min(max(tip[0] + right[0] * font, half), width - half), 1),
        to_y=round(min(max(tip[1] + right[1] * font + font / 3, font), height - 4), 1),
    )
