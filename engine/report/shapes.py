"""Lines and zones of a scene as SVG draws them over a frame: pixels, arrows, places for names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.report.island import shown


@dataclass(frozen=True)
class ZoneShape:
    """A polygon and its name, whose middle is at `x`, `y`."""

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


def points_of(points: Sequence[tuple[float, float]], size_wh: tuple[int, int]) -> str:
    """Return relative points as SVG has them, in pixels of the frame."""
    return " ".join(f"{x * size_wh[0]:.1f},{y * size_wh[1]:.1f}" for x, y in points)


def zone_shape(polygon: Sequence[tuple[float, float]], name: str, size_wh: tuple[int, int]) -> ZoneShape:
    """Return a zone with its name in its middle."""
    x = sum(point[0] for point in polygon) / len(polygon) * size_wh[0]
    y = sum(point[1] for point in polygon) / len(polygon) * size_wh[1]
    return ZoneShape(points_of(polygon, size_wh), shown(name), round(x, 1), round(y, 1))


def line_shape(points: Sequence[tuple[float, float]], name: str, into: str, size_wh: tuple[int, int]) -> LineShape:
    """Return a line with an arrow in its middle that points where `in` leads: to its right hand, walking along it."""
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
    font = height / 24
    first = pixels[0]
    return LineShape(
        points=points_of(points, size_wh),
        name=shown(name),
        into=shown(into),
        arrow=arrow,
        x=round(min(max(first[0], 4), width - 4), 1),
        y=round(max(first[1] - font / 3, font), 1),
        side="start" if first[0] < width / 2 else "end",
        to_x=round(tip[0] + right[0] * font, 1),
        to_y=round(min(max(tip[1] + right[1] * font + font / 3, font), height - 4), 1),
    )
