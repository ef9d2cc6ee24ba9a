"""Measures how sharp parts of a frame are, and how well they show an object. See sharpness.pyi."""

import numpy as np

from libc.stdlib cimport abs

from engine_ext.typedefs cimport f32, f64, u8

cdef enum:
    MAX_POINTS = 16  # sample points across a box, and down

cdef f64 EDGE_PX = 1.0
cdef f64 AT_EDGE = 0.25
cdef f64 HALF_SHARP = 16.0  # mean Laplacian of an image that counts as half as sharp as possible


def sharpness(plane, boxes_xyxy, size_wh, *, components=1):
    """Return the mean absolute Laplacian inside boxes. See sharpness.pyi."""
    cdef const u8[:, ::1] rows = plane
    cdef const f64[:, :] boxes = boxes_xyxy
    cdef Py_ssize_t width = size_wh[0], height = size_wh[1], step = components
    cdef Py_ssize_t i, count = boxes.shape[0]
    _check(rows, boxes, width, height, step)
    found = np.zeros(count, np.float64)
    cdef f64[::1] out = found
    if width < 3 or height < 3:
        return found
    with nogil:
        for i in range(count):
            out[i] = _between(rows, step, width, height, boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3])
    return found


def better(plane, boxes_xyxy, scores, rows, least, size_wh, *, components=1):
    """Return the rows whose boxes show their objects better. See sharpness.pyi."""
    cdef const u8[:, ::1] levels = plane
    cdef const f64[:, :] boxes = boxes_xyxy
    cdef const f32[:] sure = scores
    cdef Py_ssize_t width = size_wh[0], height = size_wh[1], step = components
    cdef Py_ssize_t row
    cdef f64 left, top, right, bottom, worth, sharp, bound
    cdef list found = []
    _check(levels, boxes, width, height, step)
    if sure.shape[0] != boxes.shape[0] or len(rows) != len(least):
        raise ValueError(
            f"scores must be ({boxes.shape[0]},), and as many rows as least. Got {sure.shape[0]}, {len(rows)} and "
            f"{len(least)}."
        )
    # A few microseconds: to let others have the interpreter meanwhile, and wait for it, could take longer.
    for row, bound in zip(rows, least):
        if not 0 <= row < boxes.shape[0]:
            raise ValueError(f"rows must be below {boxes.shape[0]}. Got {row}.")
        left, right = max(boxes[row, 0], 0.0), min(boxes[row, 2], <f64>width)
        top, bottom = max(boxes[row, 1], 0.0), min(boxes[row, 3], <f64>height)
        if not (left < right and top < bottom):
            continue
        worth = sure[row] * (right - left) * (bottom - top)
        if left <= EDGE_PX or top <= EDGE_PX or right >= width - EDGE_PX or bottom >= height - EDGE_PX:
            worth *= AT_EDGE
        if not worth > bound:  # not even if it were perfectly sharp
            continue
        sharp = _between(levels, step, width, height, left, top, right, bottom)
        worth *= (sharp + 1) / (sharp + 1 + HALF_SHARP)
        if worth > bound:
            found.append((row, worth))
    return found


cdef int _check(
    const u8[:, ::1] rows, const f64[:, :] boxes, Py_ssize_t width, Py_ssize_t height, Py_ssize_t step
) except -1:
    if boxes.shape[1] != 4:
        raise ValueError(f"boxes_xyxy must be (M, 4). Got {boxes.shape[0]} x {boxes.shape[1]}.")
    if step not in (1, 3):
        raise ValueError(f"components must be 1 or 3. Got {step}.")
    if width < 1 or height < 1 or rows.shape[0] < height or rows.shape[1] < width * step:
        raise ValueError(
            f"plane must hold {height} rows of {width * step} bytes. Got {rows.shape[0]} of {rows.shape[1]}."
        )
    return 0


cdef inline f64 _between(
    const u8[:, ::1] rows, Py_ssize_t step, Py_ssize_t width, Py_ssize_t height, f64 x1, f64 y1, f64 x2, f64 y2
) noexcept nogil:
    """Return the sharpness of a box; 0 if no pixel of the frame has four neighbours."""
    if width < 3 or height < 3:
        return 0.0
    return _of(
        &rows[0, 0] + step // 2, rows.shape[1], step,
        _inside(x1, width), _inside(y1, height), _inside(x2, width), _inside(y2, height),
    )


cdef inline Py_ssize_t _inside(f64 at, Py_ssize_t size) noexcept nogil:
    """Return the pixel at a coordinate, moved to one with a neighbour on each side. NaN gives the first."""
    if not at > 1:
        return 1
    return <Py_ssize_t>at if at < size - 1 else size - 1


cdef f64 _of(
    const u8* plane, Py_ssize_t stride, Py_ssize_t step, Py_ssize_t x1, Py_ssize_t y1, Py_ssize_t x2, Py_ssize_t y2
) noexcept nogil:
    cdef Py_ssize_t across = x2 - x1, down = y2 - y1, nx, ny, column, row
    cdef Py_ssize_t[MAX_POINTS] columns
    cdef int[MAX_POINTS] sums
    cdef int total = 0
    cdef const u8* line
    cdef const u8* at
    if across <= 0 or down <= 0:
        return 0.0
    nx = across if across < MAX_POINTS else MAX_POINTS
    ny = down if down < MAX_POINTS else MAX_POINTS
    # Divisions dominate the time: one per column, not one per point.
    for column in range(nx):
        columns[column] = (x1 + (2 * column + 1) * across // (2 * nx)) * step
        sums[column] = 0
    for row in range(ny):
        line = plane + (y1 + (2 * row + 1) * down // (2 * ny)) * stride
        for column in range(nx):
            at = line + columns[column]
            # Without a branch: which sign comes next can't be guessed.
            sums[column] += abs(4 * <int>at[0] - at[-step] - at[step] - at[-stride] - at[stride])
    for column in range(nx):
        total += sums[column]
    return total / <f64>(nx * ny)
