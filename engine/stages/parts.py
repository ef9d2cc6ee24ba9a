"""Parts: rectangles of a frame's tensor that are inferred in a smaller tensor.

Parts are aligned to the model's stride, and stay so in the smaller tensor: an object is on the same grid as in the
whole frame, and gets nearly the same result. Each frame has its own tensor, as small as its parts, so the detections of
one frame never depend on another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.records import Anchors, Part

# x0 y0 x1 y1 in cells, right and bottom exclusive.
Rect = tuple[int, int, int, int]

# Sides of a tensor up to this are even, in cells, and longer ones multiples of 4: the executor plans a network for each
# size that it meets, which takes about as long as inferring a whole frame.
_EVEN_CELLS = 12
# A side that every model takes.
_MIN_CELLS = 2
# A box as near to an edge of its part is cut by it, in pixels of the tensor.
_CUT = 3.0


def cells_covered(
    blocks: int, block_px: int, ratio: float, pad: int, size: int, cell: int, count: int, margin: int
) -> NDArray[np.bool_]:
    """Return which of `count` cells along one axis each block covers, (blocks, cells) bool. Blocks have `block_px`
    pixels of a frame of `size`, which is scaled by `ratio` and placed after `pad` pixels of the tensor; each gets a
    `margin`."""
    starts = np.arange(blocks) * block_px
    first = np.floor((starts * ratio + pad - margin) / cell)
    end = np.ceil((np.minimum(starts + block_px, size) * ratio + pad + margin) / cell)
    cells = np.arange(count)
    covered: NDArray[np.bool_] = (cells >= first[:, None]) & (cells < end[:, None])
    return covered


def rectangles(cells: NDArray[np.bool_]) -> list[Rect]:
    """Return non-overlapping rectangles around all groups of cells (rows, columns) that touch, even at a corner."""
    left = {(int(y), int(x)) for y, x in np.argwhere(cells)}
    found: list[Rect] = []
    while left:
        reached = [min(left)]
        left.discard(reached[0])
        for y, x in reached:
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            reached.extend(sorted(near))
            left -= near
        rows, columns = [y for y, _ in reached], [x for _, x in reached]
        found.append((min(columns), min(rows), max(columns) + 1, max(rows) + 1))
    return _without_overlap(found)


def grown(rects: list[Rect], counts: tuple[int, int]) -> list[Rect]:
    """Return a single rectangle as large as the tensor it will be in, within a frame of `counts` rows and columns: what
    is around it tells more than padding. Several are returned as they are."""
    if len(rects) != 1:
        return rects
    left, top, right, bottom = rects[0]
    (top, bottom), (left, right) = (
        _stretched(first, end, most) for first, end, most in ((top, bottom, counts[0]), (left, right, counts[1]))
    )
    return [(left, top, right, bottom)]


def packed(rects: Sequence[Rect], cell: int, counts: tuple[int, int]) -> tuple[tuple[Part, ...], tuple[int, int]]:
    """Return the parts of a frame of `counts` rows and columns, and the height and width of the smallest tensor found
    for them: rows of parts, highest first."""
    order = sorted(rects, key=lambda rect: (rect[1] - rect[3], rect))
    widest = max(right - left for left, _, right, _ in order)
    best: tuple[int, int, int, list[tuple[int, int]]] | None = None
    for width in range(widest, sum(right - left for left, _, right, _ in order) + 1):
        places, height = _in_rows(order, width)
        sides = _side(height, counts[0]), _side(width, counts[1])
        if best is None or sides[0] * sides[1] < best[0]:
            best = sides[0] * sides[1], *sides, places
    assert best is not None
    _, height, width, places = best
    parts = tuple(
        Part(left * cell, top * cell, (right - left) * cell, (bottom - top) * cell, x * cell, y * cell)
        for (left, top, right, bottom), (x, y) in zip(order, places, strict=True)
    )
    return parts, (height * cell, width * cell)


def in_whole(anchors: Anchors, parts: Sequence[Part], whole_hw: tuple[int, int]) -> Anchors:
    """Map anchors from a tensor of parts to that of the whole frame. Boxes cut by a part's edge are dropped, unless it
    is the frame's edge, and so are boxes outside all parts."""
    boxes, height, width = anchors.boxes_xyxy, *whole_hw
    centre_x, centre_y = (boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2
    kept, moved = np.zeros(len(boxes), np.bool_), boxes.copy()
    for part in parts:
        left, top, right, bottom = part.at_x, part.at_y, part.at_x + part.width, part.at_y + part.height
        inside = (centre_x >= left) & (centre_x < right) & (centre_y >= top) & (centre_y < bottom)
        if part.x > 0:
            inside &= boxes[:, 0] >= left + _CUT
        if part.y > 0:
            inside &= boxes[:, 1] >= top + _CUT
        if part.x + part.width < width:
            inside &= boxes[:, 2] <= right - _CUT
        if part.y + part.height < height:
            inside &= boxes[:, 3] <= bottom - _CUT
        kept |= inside
        shift_x, shift_y = np.float32(part.x - left), np.float32(part.y - top)
        moved[inside] += np.array((shift_x, shift_y, shift_x, shift_y), np.float32)
        # At the frame's edge: what reaches over it must not be in a neighbour of the smaller tensor.
        lowest = np.array((part.x, part.y) * 2, np.float32)
        highest = np.array((part.x + part.width, part.y + part.height) * 2, np.float32)
        moved[inside] = np.clip(moved[inside], lowest, highest)
    return Anchors(moved[kept], anchors.scores[kept], anchors.class_ids[kept], anchors.non_finite)


def _side(cells: int, most: int) -> int:
    """Return the side of a tensor that holds so many cells; of one that is as long as the frame's, just that."""
    side = cells + cells % 2 if cells <= _EVEN_CELLS else -(-cells // 4) * 4
    return most if max(cells, _MIN_CELLS) <= most < side else side


def _stretched(first: int, end: int, most: int) -> tuple[int, int]:
    side = min(_side(end - first, most), most)
    first = max(0, min(first - (side - (end - first)) // 2, most - side))
    return first, first + side


def _in_rows(order: Sequence[Rect], width: int) -> tuple[list[tuple[int, int]], int]:
    places: list[tuple[int, int]] = []
    x = y = row = 0
    for left, top, right, bottom in order:
        if x + right - left > width:
            x, y, row = 0, y + row, 0
        places.append((x, y))
        x, row = x + right - left, max(row, bottom - top)
    return places, y + row


def _without_overlap(found: list[Rect]) -> list[Rect]:
    rects: list[Rect] = []
    for rect in found:
        grown = rect
        while overlapping := [each for each in rects if _overlap(each, grown)]:
            rects = [each for each in rects if each not in overlapping]
            corners = [*overlapping, grown]
            grown = (
                min(each[0] for each in corners),
                min(each[1] for each in corners),
                max(each[2] for each in corners),
                max(each[3] for each in corners),
            )
        rects.append(grown)
    return sorted(rects)


def _overlap(a: Rect, b: Rect) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
