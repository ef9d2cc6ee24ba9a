"""Converts 4:2:0 planes to the colours of JPEG. The interface is described in jpeg_planes.pyi."""

import numpy as np

from libc.stdlib cimport free, malloc

from engine_ext.typedefs cimport f32, u8

# Adding this float32 rounds to the nearest integer, ties to even: it is so large that it has no fractional bits.
cdef f32 ROUNDS = 12582912.0


def jpeg_planes(luma, blue, red, weights, black):
    """Return planes with the colours of a JPEG. See jpeg_planes.pyi."""
    cdef const u8[:, ::1] greys = luma, blues = blue, reds = red
    cdef const f32[:, ::1] by = weights
    cdef Py_ssize_t height = greys.shape[0], width = greys.shape[1]
    cdef Py_ssize_t rows = (height + 1) // 2, columns = (width + 1) // 2, row
    cdef f32 zero = black
    if by.shape[0] != 3 or by.shape[1] != 3:
        raise ValueError(f"weights must be (3, 3). Got {by.shape[0]} x {by.shape[1]}.")
    for shape in (blue.shape, red.shape):
        if shape != (rows, columns):
            raise ValueError(f"chroma must be ({rows}, {columns}). Got {shape[0]} x {shape[1]}.")
    made = np.empty((height, width), np.uint8), np.empty((rows, columns), np.uint8), np.empty((rows, columns), np.uint8)
    cdef u8[:, ::1] grey = made[0], made_blue = made[1], made_red = made[2]
    cdef f32* around
    if not height or not width:
        return made
    around = <f32*>malloc(2 * columns * sizeof(f32))
    if around == NULL:
        raise MemoryError
    with nogil:
        for row in range(rows):
            _chroma(&blues[row, 0], &reds[row, 0], &made_blue[row, 0], columns, by[1, 1], by[1, 2])
            _chroma(&blues[row, 0], &reds[row, 0], &made_red[row, 0], columns, by[2, 1], by[2, 2])
            _around(&blues[row, 0], &reds[row, 0], around, columns, by[0, 1], by[0, 2])
            _luma(&greys[2 * row, 0], around, &grey[2 * row, 0], width, by[0, 0], zero)
            if 2 * row + 1 < height:
                _luma(&greys[2 * row + 1, 0], around, &grey[2 * row + 1, 0], width, by[0, 0], zero)
        free(around)
    return made


cdef inline u8 _level(f32 value) noexcept nogil:
    value = value if value > 0 else 0
    value = value if value < 255 else 255
    return <u8><int>((value + ROUNDS) - ROUNDS)


cdef void _chroma(const u8* blue, const u8* red, u8* out, Py_ssize_t count, f32 of_blue, f32 of_red) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = _level((<f32>blue[i] - 128) * of_blue + (<f32>red[i] - 128) * of_red + 128)


cdef void _around(const u8* blue, const u8* red, f32* out, Py_ssize_t count, f32 of_blue, f32 of_red) noexcept nogil:
    """For each column, what the chroma of 2x2 pixels contributes to their luma."""
    cdef Py_ssize_t i
    cdef f32 value
    for i in range(count):
        value = (<f32>blue[i] - 128) * of_blue + (<f32>red[i] - 128) * of_red
        out[2 * i] = value
        out[2 * i + 1] = value


cdef void _luma(const u8* luma, const f32* around, u8* out, Py_ssize_t count, f32 of_luma, f32 zero) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(count):
        out[i] = _level((<f32>luma[i] - zero) * of_luma + around[i])
