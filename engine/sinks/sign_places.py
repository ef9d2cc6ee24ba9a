"""Where the signs of a scene's lines and zones stand on a frame.

A sign belongs to what it is nearest to, as people read it; inside a zone, that zone is nearer than one across an edge.
Each sign takes the place at which the least of it is nearer to something else, which lies closest to its own line or
zone and covers the least of what is drawn, and never one on another sign while there is room in the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Room: TypeAlias = tuple[int, int, int, int]

# Costs of a place: of lying on other signs, of being nearer to something else, of a drawn line's length under it and of
# the way to its own line or zone. The last two are in heights of the sign, the others are parts of it.
_OVERLAP, _FOREIGN, _COVERED, _AWAY = 1000.0, 6.0, 1.25, 1.5
# Pixels between signs.
_BETWEEN = 2
# Each sign is placed anew once the others have their places.
_ROUNDS = 3
# Where in a sign it is asked what is nearest, in parts of its width and height.
_ASKED = np.array([(x, y) for y in (0.0, 0.5, 1.0) for x in (0.0, 0.25, 0.5, 0.75, 1.0)])
# Of the frame's shorter side: the squares for which it is known what is nearest.
_SQUARES = 90
# Costs that differ by less are the same on every machine; the first place is taken.
_DIGITS = 6


class Outline(NamedTuple):
    """A line or zone in pixels. A zone is `closed`: its first point comes again at the end."""

    points: Floats
    closed: bool


def place_signs(
    outlines: Sequence[Outline],
    sizes_wh: Sequence[tuple[int, int]],
    drawn: Sequence[Floats],
    frame_wh: tuple[int, int],
    *,
    edge: int,
    gap: int,
    taken: Sequence[Room] = (),
) -> list[Room]:
    """Return left, top, right and bottom of each outline's sign, at even columns and rows.

    `sizes_wh` are the signs' sizes, `drawn` the lines which they should not cover, each through points in pixels.
    Signs keep `edge` pixels from the frame's edges where they are not too large for it, `gap` from their outlines, and
    off the rooms that are `taken`.
    """
    ground = _Ground(outlines, [height for _, height in sizes_wh], drawn, frame_wh, gap)
    candidates = [
        _candidates(outline, size_wh, frame_wh, edge, gap) for outline, size_wh in zip(outlines, sizes_wh, strict=True)
    ]
    costs = [ground.cost_of(number, rooms) for number, rooms in enumerate(candidates)]
    chosen: dict[int, Floats] = {}
    smallest_first = np.argsort([np.ptp(outline.points, axis=0).sum() for outline in outlines], kind="stable").tolist()
    for _ in range(_ROUNDS):
        for number in smallest_first:
            others = [np.array(room, np.float64) for room in taken]
            others += [room for other, room in chosen.items() if other != number]
            rooms = candidates[number]
            cost = costs[number] + _OVERLAP * _overlap(rooms, others)
            chosen[number] = rooms[int(np.argmin(np.round(cost, _DIGITS)))]
    found = [chosen[number].astype(int).tolist() for number in range(len(outlines))]
    return [(left, top, right, bottom) for left, top, right, bottom in found]


class _Ground:
    """What a sign may stand on: how far each square of the frame is from each outline, and where something is drawn."""

    def __init__(
        self,
        outlines: Sequence[Outline],
        heights: Sequence[int],
        drawn: Sequence[Floats],
        frame_wh: tuple[int, int],
        gap: int,
    ) -> None:
        self._square = max(min(frame_wh) // _SQUARES, 1)
        columns, rows = (side // self._square + 1 for side in frame_wh)
        self._heights = heights
        # So near to an outline all places are alike: the better known ones are taken.
        self._near = gap + self._square
        x, y = np.meshgrid(np.arange(columns), np.arange(rows))
        squares = (np.stack((x, y), axis=-1).reshape(-1, 2) + 0.5) * self._square
        self._shape = rows, columns
        self._away = [_distances(squares, outline.points) for outline in outlines]
        # What is in a zone is nearer to it than to anything across its edge.
        told = [
            away + height * ~(outline.closed & _inside(squares, outline.points))
            for outline, away, height in zip(outlines, self._away, heights, strict=True)
        ]
        self._foreign = [
            np.logical_or.reduce([other < own for at, other in enumerate(told) if at != number])
            if len(told) > 1
            else np.zeros(len(squares), bool)
            for number, own in enumerate(told)
        ]
        # Smaller than the gap, so that a sign beside a line does not cover it.
        self._pixel = max(min(gap // 2, min(frame_wh) // 270), 1)
        self._ink = _ink_of(drawn, frame_wh, self._pixel)

    def cost_of(self, number: int, rooms: Floats) -> Floats:
        """Return what each of the rooms, (N, 4), costs the sign of an outline."""
        height = max(self._heights[number], 1)
        asked = rooms[:, None, :2] + _ASKED * (rooms[:, None, 2:] - rooms[:, None, :2])
        squares = (asked / self._square).astype(np.int64)
        at = np.clip(squares[..., 1], 0, self._shape[0] - 1) * self._shape[1]
        at += np.clip(squares[..., 0], 0, self._shape[1] - 1)
        foreign, away = self._foreign[number][at].mean(axis=1), self._away[number][at].min(axis=1)
        away = np.maximum(away - self._near, 0)
        cost: Floats = _FOREIGN * foreign + (_AWAY * away + _COVERED * self._covered(rooms)) / height
        return cost

    def _covered(self, rooms: Floats) -> Floats:
        """Return the length of what is drawn under each room, in pixels."""
        low = np.floor(rooms[:, :2] / self._pixel).astype(np.int64)
        high = np.ceil(rooms[:, 2:] / self._pixel).astype(np.int64)
        rows, columns = self._ink.shape
        (left, top), (right, bottom) = (np.clip(each, 0, (columns - 1, rows - 1)).T for each in (low, high))
        ink = self._ink
        covered: Floats = ink[bottom, right] - ink[top, right] - ink[bottom, left] + ink[top, left]
        return covered


def _candidates(outline: Outline, size_wh: tuple[int, int], frame_wh: tuple[int, int], edge: int, gap: int) -> Floats:
    """Return rooms for a sign, (N, 4): the better known places first, then those all over the frame."""
    width, height = size_wh
    points = outline.points
    middles = (points[:-1] + points[1:]) / 2
    known = [
        (x + aside, y + above)
        for x, y in (*points, *middles)
        for above in (-height - gap, gap, -height / 2)
        for aside in (0, -width, -width / 2, gap, -width - gap)
        # Beside a point, not on it.
        if above != -height / 2 or aside in (gap, -width - gap)
    ]
    high = np.maximum(np.array(frame_wh) - size_wh - edge, 0)
    low = np.minimum(edge, high)
    columns = np.linspace(low[0], high[0], 1 + int(4 * (high[0] - low[0]) // max(width, 1)))
    rows = np.linspace(low[1], high[1], 1 + int((high[1] - low[1]) // max(height, 1)))
    everywhere = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    corners = np.concatenate((np.array(known, np.float64).reshape(-1, 2), everywhere))
    # The drawing puts signs at whole blocks of chroma.
    corners = (np.clip(corners, low, high) // 2) * 2
    return np.concatenate((corners, corners + size_wh), axis=1)


def _overlap(rooms: Floats, others: Sequence[Floats]) -> Floats:
    """Return which part of each room lies on others; those that lie on one at all have a cost of their own."""
    lost = np.zeros(len(rooms))
    for other in others:
        sides = np.minimum(rooms[:, 2:], other[2:]) - np.maximum(rooms[:, :2], other[:2]) + _BETWEEN
        lost += np.where((sides > 0).all(axis=1), 1 + sides.prod(axis=1) / (rooms[0, 2:] - rooms[0, :2]).prod(), 0)
    return lost


def _distances(at: NDArray[np.floating], points: Floats) -> Floats:
    """Return how far each of the places, (M, 2), is from the line through `points`."""
    nearest = np.full(len(at), np.inf)
    for first, last in pairwise(points):
        along = last - first
        length = float(along @ along)
        away = at - first
        part = np.clip(away @ along / length, 0, 1) if length else np.zeros(len(at))
        away -= part[:, None] * along
        x, y = away.T
        np.minimum(nearest, x * x + y * y, out=nearest)
    found: Floats = np.sqrt(nearest)
    return found


def _inside(at: NDArray[np.floating], points: Floats) -> NDArray[np.bool_]:
    """Return which of the places, (M, 2), are inside a polygon."""
    x, y = at.T
    inside = np.zeros(len(at), bool)
    for (ax, ay), (bx, by) in pairwise(points.tolist()):
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return inside


def _ink_of(drawn: Sequence[Floats], frame_wh: tuple[int, int], pixel: int) -> Floats:
    """Return the length of lines, in the frame's pixels, above and to the left of each corner of pixels of that size:
    a summed-area table with a row and a column of zeros."""
    columns, rows = (side // pixel + 1 for side in frame_wh)
    ink = np.zeros((rows + 1, columns + 1))
    for points in drawn:
        for first, last in pairwise(points):
            length = float(np.hypot(*(last - first)))
            count = int(length // pixel) + 1
            steps = first + (last - first) * ((np.arange(count) + 0.5) / count)[:, None]
            x, y = (steps // pixel).astype(np.int64).T
            here = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
            np.add.at(ink, (y[here] + 1, x[here] + 1), length / count)
    # In place: the first touch of fresh memory takes longer than the sums.
    np.cumsum(ink, axis=0, out=ink)
    return np.cumsum(ink, axis=1, out=ink)
