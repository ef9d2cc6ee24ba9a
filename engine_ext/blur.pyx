"""Makes boxes unrecognisable on the planes of a yuv420p frame. The interface is described in blur.pyi."""

import numpy as np

from libc.math cimport ceil, floor
from libc.string cimport memset

from engine_ext.typedefs cimport f64, u8

cdef enum:
    CELLS_MAX = 64
    CELL_MIN = 8

# A box of whole chroma blocks within the frame, in luma pixels; right and bottom are exclusive.
cdef struct Area:
    Py_ssize_t left
    Py_ssize_t top
    Py_ssize_t right
    Py_ssize_t bottom


cdef bint place(const f64[:, ::1] boxes, Py_ssize_t row, Py_ssize_t width, Py_ssize_t height,
                Area* area) noexcept nogil:
    """Extend a box to whole blocks. Return False if it has no area or lies outside the frame."""
    cdef f64 left = boxes[row, 0], top = boxes[row, 1], right = boxes[row, 2], bottom = boxes[row, 3]
    # Negated so that NaN fails.
    if not (right > left and bottom > top and right > 0.0 and bottom > 0.0 and left < width and top < height):
        return False
    left, top = max(left, 0.0), max(top, 0.0)
    right, bottom = min(right, <f64> width), min(bottom, <f64> height)
    area.left, area.top = (<Py_ssize_t> floor(left)) & ~1, (<Py_ssize_t> floor(top)) & ~1
    area.right = min(((<Py_ssize_t> ceil(right)) + 1) & ~1, width)
    area.bottom = min(((<Py_ssize_t> ceil(bottom)) + 1) & ~1, height)
    return True


cdef int average(u8[:, :] plane, Py_ssize_t left, Py_ssize_t top, Py_ssize_t right, Py_ssize_t bottom) except -1 nogil:
    """Set a non-empty rectangle within the plane to the mean of its values, rounded half up."""
    cdef Py_ssize_t row, column, stride = plane.strides[0], width = right - left, rows = bottom - top
    cdef unsigned long long total = 0, count = <unsigned long long> (width * rows)
    cdef unsigned int line
    cdef u8* at = &plane[top, left]
    # Access the last element, so that a build with bounds checks notices.
    cdef u8* last = &plane[bottom - 1, right - 1]
    cdef u8* here
    if last == NULL:
        return 0
    for row in range(rows):
        here = at + row * stride
        line = 0
        for column in range(width):
            line += here[column]
        total += line
    cdef u8 mean = <u8> ((total + count // 2) // count)
    for row in range(rows):
        memset(at + row * stride, mean, <size_t> width)
    return 0


cdef int flat(u8[:, :] plane, Py_ssize_t left, Py_ssize_t top, Py_ssize_t right, Py_ssize_t bottom,
              u8 value) except -1 nogil:
    """Fill a rectangle within the plane."""
    cdef Py_ssize_t row, stride = plane.strides[0]
    if right <= left or bottom <= top:
        return 0
    cdef u8* at = &plane[top, left]
    cdef u8* last = &plane[bottom - 1, right - 1]
    if last == NULL:
        return 0
    for row in range(bottom - top):
        memset(at + row * stride, value, <size_t> (right - left))
    return 0


cdef int hide_all(u8[:, :] y, u8[:, :] u, u8[:, :] v, Py_ssize_t width, Py_ssize_t height, const f64[:, ::1] boxes,
                  Py_ssize_t cells, bint fill, u8 grey) except -1 nogil:
    cdef Py_ssize_t row, side, top, left, right, bottom
    cdef Area area
    for row in range(boxes.shape[0]):
        if not place(boxes, row, width, height, &area):
            continue
        if fill:
            flat(y, area.left, area.top, area.right, area.bottom, grey)
            flat(u, area.left >> 1, area.top >> 1, (area.right + 1) >> 1, (area.bottom + 1) >> 1, 128)
            flat(v, area.left >> 1, area.top >> 1, (area.right + 1) >> 1, (area.bottom + 1) >> 1, 128)
            continue
        side = max(area.right - area.left, area.bottom - area.top)
        # Even, so that cells are whole chroma blocks.
        side = (max((side + cells - 1) // cells, CELL_MIN) + 1) & ~1
        top = area.top
        while top < area.bottom:
            bottom = min(top + side, area.bottom)
            left = area.left
            while left < area.right:
                right = min(left + side, area.right)
                average(y, left, top, right, bottom)
                average(u, left >> 1, top >> 1, (right + 1) >> 1, (bottom + 1) >> 1)
                average(v, left >> 1, top >> 1, (right + 1) >> 1, (bottom + 1) >> 1)
                left = right
            top = bottom
    return 0


def check_planes(planes, width, height):
    """Raise TypeError or ValueError if the planes are not those of a frame of this size."""
    if len(planes) != 3:
        raise ValueError(f"planes must be Y, U and V. Got {len(planes)} planes.")
    for name, plane, columns, rows in zip(
        "YUV", planes, (width, (width + 1) // 2, (width + 1) // 2), (height, (height + 1) // 2, (height + 1) // 2),
        strict=True
    ):
        if not isinstance(plane, np.ndarray) or plane.dtype != np.uint8:
            raise TypeError(f"plane {name} must be an array of uint8. Got {getattr(plane, 'dtype', type(plane))}.")
        if plane.ndim != 2 or plane.shape[0] < rows or plane.shape[1] < columns or plane.strides[1] != 1:
            raise ValueError(
                f"plane {name} must have at least {rows} rows of {columns} bytes that follow each other. "
                f"Got {plane.shape}."
            )
        if not plane.flags.writeable:
            raise ValueError(f"plane {name} is read-only: call frame.make_writable() first.")


def hide_boxes(planes, frame_wh, boxes_xyxy, *, cells=6, fill=False, full_range=False):
    width, height = frame_wh
    if type(width) is not int or type(height) is not int or width < 1 or height < 1:
        raise ValueError(f"frame_wh must be two whole numbers, each at least 1. Got {frame_wh}.")
    if type(cells) is not int or not 1 <= cells <= CELLS_MAX:
        raise ValueError(f"cells must be a whole number in [1, {CELLS_MAX}]. Got {cells}.")
    check_planes(planes, width, height)
    if not isinstance(boxes_xyxy, np.ndarray) or boxes_xyxy.dtype not in (np.float64, np.float32):
        raise TypeError(
            f"boxes_xyxy must be an array of float64 or float32. Got {getattr(boxes_xyxy, 'dtype', type(boxes_xyxy))}."
        )
    if boxes_xyxy.ndim != 2 or boxes_xyxy.shape[1] != 4:
        raise ValueError(f"boxes_xyxy must be (N, 4). Got {boxes_xyxy.shape}.")
    if not len(boxes_xyxy):
        return
    cdef const f64[:, ::1] boxes = np.ascontiguousarray(boxes_xyxy, np.float64)
    cdef u8[:, :] y = planes[0], u = planes[1], v = planes[2]
    cdef Py_ssize_t columns = width, rows = height, count = cells
    cdef bint plain = bool(fill)
    cdef u8 grey = 128 if full_range else 126
    with nogil:
        hide_all(y, u, v, columns, rows, boxes, count, plain, grey)
