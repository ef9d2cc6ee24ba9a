"""On which side of a line boxes are, and whether they are in a polygon. The interface is described in sides.pyi."""

import numpy as np

from libc.math cimport INFINITY, fabs, sqrt

from engine_ext.typedefs cimport f64, u8

# The error of a distance: far more than rounding can add up to, of pixels and of the size of the numbers.
cdef f64 NEAR_PX = 1e-6
cdef f64 NEAR_SHARE = 1e-12

# What of a box's sides is in its anchor, in halves.
cdef struct Anchor:
    f64 left
    f64 top
    f64 right
    f64 bottom

# A point, and how closely distances from there are known.
cdef struct Point:
    f64 x
    f64 y
    f64 doubt


def beside_line(boxes_xyxy, points, halves, margin):
    """The side of each box's anchor. See sides.pyi."""
    return _told(boxes_xyxy, points, halves, margin, False)


def inside_polygon(boxes_xyxy, corners, halves, margin):
    """Whether each box's anchor is inside. See sides.pyi."""
    inside, far, unsure = _told(boxes_xyxy, corners, halves, margin, True)
    return inside.view(np.bool_), far, unsure


cdef tuple _told(const f64[:, :] boxes, const f64[:, ::1] points, halves, f64 margin, bint closed):
    """What is said of a line, or of a polygon, which is `closed`: 1 is inside then, 0 is outside."""
    cdef Py_ssize_t row, count = boxes.shape[0], least = 3 if closed else 2
    cdef Anchor anchor
    cdef Point at
    cdef f64 distance
    if boxes.shape[1] != 4:
        raise ValueError(f"boxes_xyxy must be (N, 4). Got {boxes.shape[0]} x {boxes.shape[1]}.")
    if points.shape[0] < least or points.shape[1] != 2:
        raise ValueError(f"{least} or more points (P, 2) are needed. Got {points.shape[0]} x {points.shape[1]}.")
    (anchor.left, anchor.right), (anchor.top, anchor.bottom) = halves
    side, far = np.empty(count, np.int8), np.empty(count, np.bool_)
    cdef signed char[::1] sides = side
    cdef u8[::1] fars = far.view(np.uint8)
    cdef list unsure = []
    for row in range(count):
        at = _point(boxes, row, &anchor)
        distance = _from_edges(points, at, &sides[row]) if closed else _from_line(points, at, &sides[row])
        fars[row] = distance >= margin
        if distance <= at.doubt or fabs(distance - margin) <= at.doubt:
            unsure.append(row)
    return side, far, unsure


cdef inline Point _point(const f64[:, :] boxes, Py_ssize_t row, const Anchor* anchor) noexcept nogil:
    cdef Point at
    at.x = (anchor.left * boxes[row, 0] + anchor.right * boxes[row, 2]) / 2
    at.y = (anchor.top * boxes[row, 1] + anchor.bottom * boxes[row, 3]) / 2
    at.doubt = NEAR_PX + NEAR_SHARE * (fabs(at.x) + fabs(at.y))
    return at


cdef f64 _from_line(const f64[:, ::1] line, Point at, signed char* side) noexcept nogil:
    """The distance of a point to a line whose end pieces are endless."""
    cdef Py_ssize_t piece, last = line.shape[0] - 2, nearest = 0
    cdef f64 step_x, step_y, length2, along, rest_x, rest_y, distance2, normal_x, normal_y, turned
    cdef f64 least = INFINITY, best_x = 0.0, best_y = 0.0, best_along = 0.0
    for piece in range(last + 1):
        step_x, step_y = line[piece + 1, 0] - line[piece, 0], line[piece + 1, 1] - line[piece, 1]
        length2 = step_x * step_x + step_y * step_y
        rest_x, rest_y = at.x - line[piece, 0], at.y - line[piece, 1]
        along = (rest_x * step_x + rest_y * step_y) / length2
        if piece > 0 and along < 0.0:
            along = 0.0
        if piece < last and along > 1.0:
            along = 1.0
        rest_x -= along * step_x
        rest_y -= along * step_y
        distance2 = rest_x * rest_x + rest_y * rest_y
        if distance2 < least:
            least, nearest, best_x, best_y, best_along = distance2, piece, rest_x, rest_y, along
    _normal(line, nearest, &normal_x, &normal_y)
    # At a corner the mean of both normals decides: that of one piece can point to the wrong side.
    if best_along >= 1.0 and nearest < last:
        _add_normal(line, nearest + 1, &normal_x, &normal_y)
    if best_along <= 0.0 and nearest > 0:
        _add_normal(line, nearest - 1, &normal_x, &normal_y)
    turned = best_x * normal_x + best_y * normal_y
    side[0] = (turned > 0.0) - (turned < 0.0)
    return sqrt(least)


cdef inline void _normal(const f64[:, ::1] line, Py_ssize_t piece, f64* x, f64* y) noexcept nogil:
    """What points to the right of a piece, y downwards."""
    x[0] = y[0] = 0.0
    _add_normal(line, piece, x, y)


cdef inline void _add_normal(const f64[:, ::1] line, Py_ssize_t piece, f64* x, f64* y) noexcept nogil:
    cdef f64 step_x = line[piece + 1, 0] - line[piece, 0], step_y = line[piece + 1, 1] - line[piece, 1]
    cdef f64 length = sqrt(step_x * step_x + step_y * step_y)
    x[0] -= step_y / length
    y[0] += step_x / length


cdef f64 _from_edges(const f64[:, ::1] polygon, Point at, signed char* inside) noexcept nogil:
    """The distance of a point to the edges of a polygon."""
    cdef Py_ssize_t corner, count = polygon.shape[0]
    cdef f64 from_x = polygon[count - 1, 0], from_y = polygon[count - 1, 1], to_x, to_y
    cdef f64 step_x, step_y, length2, along, rest_x, rest_y, least = INFINITY
    cdef bint inner = False
    for corner in range(count):
        to_x, to_y = polygon[corner, 0], polygon[corner, 1]
        step_x, step_y = to_x - from_x, to_y - from_y
        rest_x, rest_y = at.x - from_x, at.y - from_y
        if (from_y > at.y) != (to_y > at.y):
            inner ^= at.x < from_x + rest_y * step_x / step_y
        length2 = step_x * step_x + step_y * step_y
        if length2 > 0.0:
            along = min(max((rest_x * step_x + rest_y * step_y) / length2, 0.0), 1.0)
            rest_x -= along * step_x
            rest_y -= along * step_y
        least = min(least, rest_x * rest_x + rest_y * rest_y)
        from_x, from_y = to_x, to_y
    inside[0] = inner
    return sqrt(least)
