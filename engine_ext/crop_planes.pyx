"""Copies parts of 4:2:0 frames into the planes of a JPEG. The interface is described in crop_planes.pyi."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy

from engine_ext.typedefs cimport f64, u8

cdef f64 AROUND = 0.08  # margin around a box, as a share of its sides
cdef enum:
    BLOCK = 16  # side of a JPEG's block with its subsampled chroma, in pixels
    LEVELS = 256


def around(f64 left, f64 top, f64 right, f64 bottom, Py_ssize_t width, Py_ssize_t height):
    """Return the part of a frame that shows a box. See crop_planes.pyi."""
    cdef f64 x1 = left if left > 0 else 0, y1 = top if top > 0 else 0
    cdef f64 x2 = right if right < width else width, y2 = bottom if bottom < height else height
    cdef f64 around_x = AROUND * (x2 - x1), around_y = AROUND * (y2 - y1)
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f"the box must lie within {width} x {height}. Got {left, top, right, bottom}.")
    cdef (Py_ssize_t, Py_ssize_t) across = _in_blocks(x1 - around_x, x2 + around_x, width)
    cdef (Py_ssize_t, Py_ssize_t) down = _in_blocks(y1 - around_y, y2 + around_y, height)
    return across[0], down[0], across[1], down[1]


def cut_out(luma, blue, red, box):
    """Return the part of a frame inside a box. See crop_planes.pyi."""
    cdef const u8[:, ::1] greys = luma, blues = blue, reds = red
    cdef Py_ssize_t left = box[0], top = box[1], right = box[2], bottom = box[3]
    cdef Py_ssize_t width = right - left, height = bottom - top
    cdef Py_ssize_t columns = (right + 1) // 2 - left // 2, rows = (bottom + 1) // 2 - top // 2
    if not (0 <= left < right <= greys.shape[1] and 0 <= top < bottom <= greys.shape[0]):
        raise ValueError(f"the box must lie within {greys.shape[1]} x {greys.shape[0]}. Got {tuple(box)}.")
    if (
        min(blues.shape[1], reds.shape[1]) < (right + 1) // 2
        or min(blues.shape[0], reds.shape[0]) < (bottom + 1) // 2
    ):
        raise ValueError(f"chroma must reach {(right + 1) // 2} x {(bottom + 1) // 2}.")
    part = PyBytes_FromStringAndSize(NULL, width * height + 2 * columns * rows)
    cdef u8* out = <u8*>PyBytes_AS_STRING(part)
    out = _copied(&greys[top, left], greys.shape[1], width, height, out)
    out = _copied(&blues[top // 2, left // 2], blues.shape[1], columns, rows, out)
    _copied(&reds[top // 2, left // 2], reds.shape[1], columns, rows, out)
    return part


def put_looked_up(const u8[::1] part, luma, blue, red, Py_ssize_t width, Py_ssize_t height, greys, colours):
    """Put a part into planes, with its levels mapped by a table. See crop_planes.pyi."""
    cdef Py_ssize_t columns = (width + 1) // 2, rows = (height + 1) // 2
    cdef const u8[::1] of_grey = greys, of_colour = colours
    cdef u8[:, ::1] target
    cdef const u8* at
    cdef const u8* table
    if width < 1 or height < 1 or part.shape[0] != width * height + 2 * columns * rows:
        raise ValueError(f"a part of {width} x {height} has another size than {part.shape[0]} bytes.")
    if of_grey.shape[0] != LEVELS or of_colour.shape[0] != LEVELS:
        raise ValueError(f"tables must have 256 levels. Got {of_grey.shape[0]} and {of_colour.shape[0]}.")
    at, table = &part[0], &of_grey[0]
    for plane in (luma, blue, red):
        target = plane
        if target.shape[0] < height or target.shape[1] < width:
            raise ValueError(f"planes must hold {width} x {height}. Got {target.shape[1]} x {target.shape[0]}.")
        _look_up(at, table, &target[0, 0], target.shape[1], width, height)
        at, table = at + width * height, &of_colour[0]
        width, height = columns, rows


cdef (Py_ssize_t, Py_ssize_t) _in_blocks(f64 low, f64 high, Py_ssize_t size) noexcept:
    """Return the whole blocks around an interval, clipped to the frame. They begin at an even pixel, as chroma does."""
    cdef Py_ssize_t first = <Py_ssize_t>low if low > 0 else 0
    cdef Py_ssize_t last = min(size, <Py_ssize_t>high + 1)
    cdef Py_ssize_t length = (last - first + BLOCK - 1) // BLOCK * BLOCK
    first = max(0, min(first - (length - (last - first)) // 2, size - length)) // 2 * 2
    return first, min(size, max(last, first + length))


cdef u8* _copied(const u8* plane, Py_ssize_t stride, Py_ssize_t width, Py_ssize_t height, u8* out) noexcept:
    """Copy rows of a plane, and return what follows them in the copy."""
    cdef Py_ssize_t row
    for row in range(height):
        memcpy(out + row * width, plane + row * stride, width)
    return out + height * width


cdef void _look_up(
    const u8* part, const u8* table, u8* plane, Py_ssize_t stride, Py_ssize_t width, Py_ssize_t height
) noexcept:
    cdef Py_ssize_t row, column
    for row in range(height):
        for column in range(width):
            plane[row * stride + column] = table[part[row * width + column]]
