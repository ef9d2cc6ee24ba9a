"""Exact predicates on lines and polygons in pixels: side, inside, distance, and where a step meets a line.

Floats decide wherever they are certain. A value closer to a bound than their rounding error is decided with fractions
of the decimals that were written: half-pixel anchors lie *on* a line surprisingly often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from math import lcm
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine_ext.sides import beside_line, inside_polygon

if TYPE_CHECKING:
    from engine_ext.sides import Halves

Floats: TypeAlias = NDArray[np.float64]
Anchor = Literal["bottom", "centre", "top", "top-left", "top-right", "bottom-left", "bottom-right"]
Point: TypeAlias = tuple[float, float]
ExactPoint: TypeAlias = tuple[Fraction, Fraction]
WholePoint: TypeAlias = tuple[int, int]
_Number = TypeVar("_Number", Fraction, int)

_HUNDREDTHS = 100  # of a pixel, in which rows are written

# Weights of (x1, x2) and (y1, y2) of a box in its anchor, in halves.
_ANCHOR_HALVES: dict[str, Halves] = {
    "bottom": ((1, 1), (0, 2)),
    "centre": ((1, 1), (1, 1)),
    "top": ((1, 1), (2, 0)),
    "top-left": ((2, 0), (2, 0)),
    "top-right": ((0, 2), (2, 0)),
    "bottom-left": ((2, 0), (0, 2)),
    "bottom-right": ((0, 2), (0, 2)),
}


def anchors(boxes_xyxy: Floats, anchor: Anchor) -> Floats:
    """Return the (N, 2) anchor points of (N, 4) boxes."""
    (ax, bx), (ay, by) = _ANCHOR_HALVES[anchor]
    x1, y1, x2, y2 = boxes_xyxy.T
    return np.column_stack(((ax * x1 + bx * x2) / 2, (ay * y1 + by * y2) / 2))


def anchor_of(box_xyxy: Sequence[float], anchor: Anchor) -> Point:
    """Return the anchor point of one box, equal to that of `anchors`."""
    (ax, bx), (ay, by) = _ANCHOR_HALVES[anchor]
    x1, y1, x2, y2 = box_xyxy
    return (ax * x1 + bx * x2) / 2, (ay * y1 + by * y2) / 2


def exact_anchor(box_xyxy: Sequence[float], anchor: Anchor) -> ExactPoint:
    """Return the anchor of one box as fractions of the decimals that its floats were read from."""
    (ax, bx), (ay, by) = _ANCHOR_HALVES[anchor]
    x1, y1, x2, y2 = (exact(value) for value in box_xyxy)
    return (ax * x1 + bx * x2) / 2, (ay * y1 + by * y2) / 2


def _whole_anchor(box_xyxy: Sequence[float], anchor: Anchor, scale: int) -> WholePoint | None:
    """Return what `exact_anchor` does, times a multiple of two hundred; None if the box is not of hundredths."""
    sides = [round(value * _HUNDREDTHS) for value in box_xyxy]
    # What is nearest to a decimal was read from it: hundredths are further apart than floats are.
    if any(side / _HUNDREDTHS != value for side, value in zip(sides, box_xyxy, strict=True)):
        return None
    (ax, bx), (ay, by) = _ANCHOR_HALVES[anchor]
    x1, y1, x2, y2 = sides
    step = scale // (2 * _HUNDREDTHS)
    return (ax * x1 + bx * x2) * step, (ay * y1 + by * y2) * step


def exact(value: float) -> Fraction:
    """Return the decimal number that a float was read from: 0.1 is 1/10."""
    return Fraction(repr(value))


@dataclass(frozen=True, eq=False, repr=False)
class Shape:
    """Relative points (0..1) in pixels of a frame of `size_wh`. `margin` is a fraction of the frame's height."""

    closed: ClassVar[bool]

    points: tuple[Point, ...]
    size_wh: tuple[int, int]
    anchor: Anchor
    margin: float

    @property
    def watched(self) -> tuple[Floats, Halves, float, bool]:
        """What a Watch has to know of it."""
        return self.pixels, _ANCHOR_HALVES[self.anchor], self._margin_px, self.closed

    @cached_property
    def exact_points(self) -> tuple[ExactPoint, ...]:
        width, height = self.size_wh
        return tuple((exact(x) * width, exact(y) * height) for x, y in self.points)

    @cached_property
    def pixels(self) -> Floats:
        return np.array([[float(x), float(y)] for x, y in self.exact_points])

    @cached_property
    def exact_margin(self) -> Fraction:
        return exact(self.margin) * self.size_wh[1]

    @cached_property
    def _margin_px(self) -> float:
        return float(self.exact_margin)


class PolyLine(Shape):
    """A line of two or more points. The positive side is on the right, going from the first to the last point on the
    screen (y grows downwards). Its end segments extend to infinity to divide the frame into two sides, but only a
    meeting between its ends is a crossing."""

    closed = False

    def sides(self, boxes_xyxy: Floats) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        """Return the side of each box's anchor, (N,) -1, 0 or 1, and whether it is at least the margin away."""
        side, far, unsure = beside_line(boxes_xyxy, self.pixels, _ANCHOR_HALVES[self.anchor], self._margin_px)
        for index in unsure:
            side[index], squared = self._exactly(exact_anchor(boxes_xyxy[index].tolist(), self.anchor))
            far[index] = squared >= self.exact_margin**2
        return side, far

    def crossing(self, before: Sequence[float], after: Sequence[float]) -> Fraction | None:
        """Return where the step from one box's anchor to the next meets the line, as a fraction 0..1 of the step; the
        last meeting if there are several, None if the step passes beyond the line's ends."""
        scale, points = self._whole_points
        a, b = _whole_anchor(before, self.anchor, scale), _whole_anchor(after, self.anchor, scale)
        if a is not None and b is not None:
            return _last_meeting(a, b, points)
        return _last_meeting(exact_anchor(before, self.anchor), exact_anchor(after, self.anchor), self.exact_points)

    @cached_property
    def _whole_points(self) -> tuple[int, tuple[WholePoint, ...]]:
        """A factor that makes all points, and half hundredths of a pixel, integers, and the scaled points: these take a
        tenth of the time of fractions."""
        scale = lcm(2 * _HUNDREDTHS, *(side.denominator for point in self.exact_points for side in point))
        return scale, tuple((int(x * scale), int(y * scale)) for x, y in self.exact_points)

    def _exactly(self, point: ExactPoint) -> tuple[int, Fraction]:
        """Return the side of a point, and the square of its distance."""
        parts = list(pairwise(self.exact_points))
        found: list[tuple[Fraction, Fraction]] = []
        for number, (p, q) in enumerate(parts):
            along = ((point[0] - p[0]) * (q[0] - p[0]) + (point[1] - p[1]) * (q[1] - p[1])) / _squared(p, q)
            begins, ends = number == 0, number == len(parts) - 1
            along = along if begins else max(along, Fraction(0))
            along = along if ends else min(along, Fraction(1))
            side = _cross(p, q, point)
            # A point nearest to a corner is outside of the bend.
            if along == 1 and not ends:
                side = -_cross(p, q, parts[number + 1][1]) or side
            elif along == 0 and not begins:
                side = -_cross(*parts[number - 1], q) or side
            at = p[0] + along * (q[0] - p[0]), p[1] + along * (q[1] - p[1])
            found.append((_squared(at, point), side))
        squared, side = min(found, key=lambda each: each[0])
        return ((side > 0) - (side < 0) if squared else 0), squared


class Polygon(Shape):
    """A closed polygon including its boundary. If it intersects itself, the even-odd rule decides what is inside."""

    closed = True

    def inside(self, boxes_xyxy: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return two (N,) bool arrays: each box's anchor is inside; it is outside by at least the margin."""
        inner, far, unsure = inside_polygon(boxes_xyxy, self.pixels, _ANCHOR_HALVES[self.anchor], self._margin_px)
        for index in unsure:
            point = exact_anchor(boxes_xyxy[index].tolist(), self.anchor)
            squared = min(_squared_distance(p, q, point) for p, q in self._edges)
            inner[index] = squared == 0 or self._exactly_inside(point)
            far[index] = squared >= self.exact_margin**2
        return inner, far & ~inner

    @cached_property
    def _edges(self) -> list[tuple[ExactPoint, ExactPoint]]:
        corners = self.exact_points
        return list(zip(corners, corners[1:] + corners[:1], strict=True))

    def _exactly_inside(self, point: ExactPoint) -> bool:
        inner = False
        for p, q in self._edges:
            if (p[1] > point[1]) != (q[1] > point[1]):
                inner ^= point[0] < p[0] + (point[1] - p[1]) * (q[0] - p[0]) / (q[1] - p[1])
        return inner


def _last_meeting(
    a: tuple[_Number, _Number], b: tuple[_Number, _Number], points: Sequence[tuple[_Number, _Number]]
) -> Fraction | None:
    """Return where the step from a to b last meets a line, as a fraction 0..1 of the step; None if it does not."""
    met: list[Fraction] = []
    for p, q in pairwise(points):
        from_a, from_b = _cross(p, q, a), _cross(p, q, b)
        if from_a == from_b:
            continue
        share = Fraction(from_a, from_a - from_b)
        if 0 <= share <= 1 and _cross(a, b, p) * _cross(a, b, q) <= 0:
            met.append(share)
    return max(met, default=None)


def _cross(p: tuple[_Number, _Number], q: tuple[_Number, _Number], a: tuple[_Number, _Number]) -> _Number:
    """Return twice the signed area of p, q, a: positive if a is to the right of p -> q, y downwards."""
    return (q[0] - p[0]) * (a[1] - p[1]) - (q[1] - p[1]) * (a[0] - p[0])


def _squared(p: ExactPoint, q: ExactPoint) -> Fraction:
    return (q[0] - p[0]) ** 2 + (q[1] - p[1]) ** 2


def _squared_distance(p: ExactPoint, q: ExactPoint, a: ExactPoint) -> Fraction:
    """Return the squared distance of a point to a segment."""
    length = _squared(p, q)
    if not length:
        return _squared(p, a)
    along = ((a[0] - p[0]) * (q[0] - p[0]) + (a[1] - p[1]) * (q[1] - p[1])) / length
    along = min(max(along, Fraction(0)), Fraction(1))
    return _squared((p[0] + along * (q[0] - p[0]), p[1] + along * (q[1] - p[1])), a)
