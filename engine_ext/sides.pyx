"""On which side of a line boxes are, and whether they are in a polygon. The interface is described in sides.pyi."""

import numpy as np

from libc.math cimport INFINITY, fabs, sqrt

from engine_ext.typedefs cimport f64, i64, u8

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
    cdef Py_ssize_t row, count = boxes.shape[0]
    cdef Anchor anchor
    cdef Point at
    cdef f64 distance
    _check_boxes(boxes)
    _check_points(points, closed)
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


cdef int _check_boxes(const f64[:, :] boxes) except -1:
    if boxes.shape[1] != 4:
        raise ValueError(f"boxes_xyxy must be (N, 4). Got {boxes.shape[0]} x {boxes.shape[1]}.")
    return 0


cdef int _check_points(const f64[:, ::1] points, bint closed) except -1:
    cdef Py_ssize_t least = 3 if closed else 2
    if points.shape[0] < least or points.shape[1] != 2:
        raise ValueError(f"{least} or more points (P, 2) are needed. Got {points.shape[0]} x {points.shape[1]}.")
    return 0


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


cdef enum:
    UNSETTLED = 2  # no side


cdef class _Place:
    """A line, or a polygon, which is `closed`."""

    cdef const f64[:, ::1] points
    cdef Anchor anchor
    cdef f64 margin
    cdef bint closed

    def __init__(self, points, halves, margin, closed):
        self.points, self.margin, self.closed = points, margin, closed
        _check_points(self.points, self.closed)
        (self.anchor.left, self.anchor.right), (self.anchor.top, self.anchor.bottom) = halves


cdef class Watch:
    """Tells where tracks are not on the side on which they were before. See sides.pyi."""

    cdef list places
    cdef dict slots                # of tracks: where in the following arrays each is
    cdef i64[::1] ids
    cdef f64[::1] seen             # step
    cdef i64[::1] frames           # in which each was last seen, by number
    cdef signed char[:, ::1] sides  # by place
    cdef i64 frame
    cdef Py_ssize_t before         # tracks in the frame before

    def __init__(self, places):
        self.places = [_Place(*each) for each in places]
        self.slots = {}
        self.frame = self.before = 0
        self._room(16)

    def follow(self, track_ids, boxes_xyxy, f64 step, f64 gone_before):
        """Take the tracks of the next frame. See sides.pyi."""
        cdef const i64[:] ids = track_ids
        cdef const f64[:, :] boxes = boxes_xyxy
        cdef Py_ssize_t row, slot, number, count = ids.shape[0]
        cdef bint same = count == self.before
        cdef signed char side
        cdef f64 distance
        cdef Point at
        cdef _Place place
        cdef list new = [], moved = [], gone = []
        cdef Py_ssize_t[::1] of = np.empty(count, np.intp)
        _check_boxes(boxes)
        if boxes.shape[0] != count:
            raise ValueError(f"boxes_xyxy must be ({count}, 4), as many as ids. Got {boxes.shape[0]}.")
        self.frame += 1
        self.before = count
        for row in range(count):
            known = self.slots.get(ids[row])
            if known is None:
                new.append(ids[row])
                known = self._added(ids[row])
            of[row] = slot = known
            same &= self.frames[slot] == self.frame - 1
            self.seen[slot], self.frames[slot] = step, self.frame
        for number in range(len(self.places)):
            place = self.places[number]
            for row in range(count):
                at = _point(boxes, row, &place.anchor)
                if place.closed:
                    distance = _from_edges(place.points, at, &side)
                else:
                    distance = _from_line(place.points, at, &side)
                if distance <= at.doubt:
                    moved.append((number, row, None, False))
                elif side != self.sides[of[row], number]:
                    known = None if fabs(distance - place.margin) <= at.doubt else side
                    moved.append((number, row, known, distance >= place.margin))
        for slot in range(len(self.slots)):
            if self.frames[slot] != self.frame and self.seen[slot] < gone_before:
                gone.append((self.seen[slot], self.ids[slot]))
        for _, track_id in gone:
            self.forget(track_id)
        gone.sort()
        return new, moved, gone, same

    def settle(self, Py_ssize_t place, track_id, side):
        """Note on which side of a place a track is, None: on none."""
        self.sides[<Py_ssize_t>self.slots[track_id], place] = UNSETTLED if side is None else side

    def add(self, track_id, f64 seen):
        """Follow a track that was seen before. See sides.pyi."""
        cdef Py_ssize_t slot = self.slots[track_id] if track_id in self.slots else self._added(track_id)
        self.seen[slot] = seen

    def forget(self, track_id):
        """Forget a track, if it is followed."""
        cdef Py_ssize_t last = len(self.slots) - 1, slot = self.slots.pop(track_id, -1)
        if 0 <= slot < last:  # the last one takes its place
            self.slots[self.ids[last]] = slot
            self.ids[slot], self.seen[slot], self.frames[slot] = self.ids[last], self.seen[last], self.frames[last]
            self.sides[slot, :] = self.sides[last, :]

    def last_seen(self):
        """Return the tracks that are followed. See sides.pyi."""
        return [(self.seen[<Py_ssize_t>slot], track_id) for track_id, slot in self.slots.items()]

    cdef Py_ssize_t _added(self, track_id) except -1:
        cdef Py_ssize_t slot = len(self.slots)
        if slot == self.ids.shape[0]:
            self._room(2 * slot)
        self.ids[slot], self.frames[slot] = track_id, -1
        self.sides[slot, :] = UNSETTLED
        self.slots[track_id] = slot
        return slot

    cdef int _room(self, Py_ssize_t size) except -1:
        """Make room for so many tracks."""
        cdef Py_ssize_t count = len(self.slots)
        ids, seen, frames = np.empty(size, np.int64), np.empty(size), np.empty(size, np.int64)
        sides = np.empty((size, len(self.places)), np.int8)
        if count:
            ids[:count], seen[:count], frames[:count] = self.ids, self.seen, self.frames
            sides[:count] = self.sides
        self.ids, self.seen, self.frames, self.sides = ids, seen, frames, sides
        return 0
