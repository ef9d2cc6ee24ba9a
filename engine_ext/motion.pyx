"""Finds where a frame differs from the last accepted one. The interface is described in motion.pyi."""

import struct

import numpy as np

from libc.string cimport memset

from engine_ext.typedefs cimport i32, i64, u8, u16

cdef enum:
    BLOCK = 8               # side of a block, in reduced pixels
    LONGEST = 320           # maximum longer side of a frame, in reduced pixels
    LARGEST_FACTOR = 128    # the sum of two rows of so many bytes fits u16
    MAX_SIDE = 32768
    LEVELS = 256
    FINE = 16               # resolution of noise: 1 / FINE of a unit
    SLOWNESS = 4            # noise is corrected by 1 / 2 ** SLOWNESS of its error

_MAGIC = b"motion1"
_HEAD = struct.Struct("<7sxIIB3x")


cdef void add_rows(const u8* one, const u8* two, u16* out, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = <u16> (<u16> one[i] + <u16> two[i])


cdef void halve(const u16* row, u16* out, Py_ssize_t n) noexcept nogil:
    """Add pairs of neighbours, n sums. `out` may be `row`."""
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = <u16> (row[2 * i] + row[2 * i + 1])


cdef class MotionMap:
    """See motion.pyi."""

    cdef readonly tuple size_wh, blocks_hw
    cdef readonly int block_px
    cdef readonly double shift
    cdef readonly double share
    cdef Py_ssize_t _width, _height, _w, _h, _bw, _bh, _factor, _rows, _unit
    cdef u16[:, ::1] _now, _before
    cdef i32[:, ::1] _count, _signed, _noise
    cdef u8[:, ::1] _changed
    cdef u16[::1] _line
    cdef i32 _offset
    cdef bint _known

    def __cinit__(self, size_wh):
        width, height = size_wh
        if type(width) is not int or type(height) is not int or not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise ValueError(f"size_wh must be two whole numbers in [1, {MAX_SIDE}]. Got {size_wh!r}.")
        self.size_wh = (width, height)
        self._width, self._height, self._factor = width, height, 1
        while max(width, height) > LONGEST * self._factor and 2 * self._factor <= min(width, height, LARGEST_FACTOR):
            self._factor *= 2
        self._rows = 1 if self._factor == 1 else 2
        self._unit = self._factor * self._rows
        # The remainder at the right and at the bottom is less than a reduced pixel.
        self._w, self._h = width // self._factor, height // self._factor
        self._bw, self._bh = (self._w + BLOCK - 1) // BLOCK, (self._h + BLOCK - 1) // BLOCK
        self.blocks_hw, self.block_px = (self._bh, self._bw), BLOCK * self._factor
        self._now, self._before = (np.zeros((self._h, self._w), np.uint16) for _ in range(2))
        self._signed, self._noise = (np.zeros((self._bh, self._bw), np.int32) for _ in range(2))
        self._changed = np.zeros((self._bh, self._bw), np.uint8)
        self._line = np.zeros(self._w * self._factor, np.uint16)
        sides = (np.minimum(BLOCK, side - np.arange(0, side, BLOCK)) for side in (self._h, self._w))
        self._count = np.outer(*sides).astype(np.int32)
        self._known, self._offset = False, 0
        self.shift = self.share = 0.0

    @property
    def changed(self):
        """See motion.pyi."""
        return np.asarray(self._changed).astype(np.bool_)

    def look(self, luma, *, double threshold=4.0, double noises=3.0, int pixels=2):
        """See motion.pyi."""
        if not isinstance(luma, np.ndarray) or luma.dtype != np.uint8 or luma.ndim != 2:
            raise ValueError(f"luma must be a 2-D array of uint8. Got {getattr(luma, 'dtype', type(luma))}.")
        if luma.shape[0] < self._height or luma.shape[1] < self._width or luma.strides[1] != 1:
            raise ValueError(
                f"luma must have {self._height} rows of {self._width} bytes that follow each other. Got {luma.shape}."
            )
        if not 0.5 <= threshold <= 255 or not 0 <= noises <= 100 or not 1 <= pixels <= BLOCK * BLOCK:
            raise ValueError("threshold must be in [0.5, 255], noises in [0, 100], pixels in [1, 64].")
        cdef const u8[:, :] rows = luma
        cdef i64 least = <i64> (threshold * self._unit * FINE + 0.5)
        cdef i64 times = <i64> (noises * FINE + 0.5)
        with nogil:
            self._reduce(&rows[0, 0], rows.strides[0])
            if self._known:
                self._compare(least, times, pixels)
        self.shift = self._offset / <double> self._unit
        self.share = np.count_nonzero(self._changed) / <double> (self._bh * self._bw)

    def accept(self, blocks=None):
        """See motion.pyi."""
        if blocks is not None and (
            not isinstance(blocks, np.ndarray) or blocks.shape != self.blocks_hw or blocks.dtype != np.bool_
        ):
            raise ValueError(f"blocks must be {self.blocks_hw} bool. Got {getattr(blocks, 'shape', type(blocks))}.")
        if blocks is None or not self._known:
            self._before[:, :] = self._now
            self._known = True
            return
        grown = np.repeat(np.repeat(blocks, BLOCK, 0), BLOCK, 1)[:self._h, :self._w]
        np.copyto(np.asarray(self._before), np.asarray(self._now), where=grown)

    def get_state(self):
        """See motion.pyi."""
        head = _HEAD.pack(_MAGIC, self._width, self._height, self._known)
        return head + np.asarray(self._before).astype("<u2").tobytes() + np.asarray(self._noise).astype("<i4").tobytes()

    def set_state(self, state):
        """See motion.pyi."""
        pixels, blocks = self._h * self._w * 2, self._bh * self._bw * 4
        if type(state) is not bytes or len(state) != _HEAD.size + pixels + blocks:
            raise ValueError("state is not that of a MotionMap of this size.")
        magic, width, height, known = _HEAD.unpack_from(state)
        if magic != _MAGIC or (width, height) != self.size_wh or known not in (0, 1):
            raise ValueError("state is not that of a MotionMap of this size.")
        noise = np.frombuffer(state, "<i4", offset=_HEAD.size + pixels).reshape(self.blocks_hw)
        if noise.min(initial=0) < 0 or noise.max(initial=0) > LEVELS * self._unit * FINE:
            raise ValueError("state is damaged: its noise is none.")
        before = np.frombuffer(state, "<u2", self._h * self._w, offset=_HEAD.size).reshape(self._h, self._w)
        np.asarray(self._before)[...] = before
        np.asarray(self._noise)[...] = noise
        self._known = bool(known)

    cdef int _reduce(self, const u8* luma, Py_ssize_t stride) except -1 nogil:
        """Compute reduced pixels, each the sum of `factor` columns of one or two rows."""
        cdef Py_ssize_t y, x, n, upper = self._factor // 4, lower = upper + self._factor // 2
        cdef const u8* row
        cdef u16* line = &self._line[0]
        cdef u16* out
        for y in range(self._h):
            row = luma + y * self._factor * stride
            out = &self._now[y, 0]
            if self._rows == 1:
                for x in range(self._w):
                    out[x] = row[x]
                continue
            n = self._w * self._factor
            add_rows(row + upper * stride, row + lower * stride, line, n)
            while n > 2 * self._w:
                n //= 2
                halve(line, line, n)
            halve(line, out, self._w)
        return 0

    cdef int _compare(self, i64 least, i64 times, int pixels) except -1 nogil:
        """Set how much the brightness of the whole frame has shifted, and which blocks have changed apart from that. In
        the other blocks, update the noise."""
        cdef Py_ssize_t y, x, by, bx, first, end
        cdef i32 total, offset, difference, limit, over, size
        cdef const u16* now
        cdef const u16* before
        cdef i64 bound
        for by in range(self._bh):
            for bx in range(self._bw):
                first, end = bx * BLOCK, min((bx + 1) * BLOCK, self._w)
                total = 0
                for y in range(by * BLOCK, min((by + 1) * BLOCK, self._h)):
                    now, before = &self._now[y, 0], &self._before[y, 0]
                    for x in range(first, end):
                        total += <i32> now[x] - <i32> before[x]
                self._signed[by, bx] = total
        self._find_offset()
        offset = self._offset
        for by in range(self._bh):
            for bx in range(self._bw):
                first, end = bx * BLOCK, min((bx + 1) * BLOCK, self._w)
                bound = (least + self._noise[by, bx] * times // FINE) // FINE
                limit = <i32> min(bound, <i64> LEVELS * self._unit)
                total = over = 0
                for y in range(by * BLOCK, min((by + 1) * BLOCK, self._h)):
                    now, before = &self._now[y, 0], &self._before[y, 0]
                    for x in range(first, end):
                        difference = <i32> now[x] - <i32> before[x] - offset
                        difference = difference if difference >= 0 else -difference
                        total += difference
                        over += difference > limit
                self._changed[by, bx] = over >= pixels
                if over < pixels:
                    size = self._count[by, bx]
                    self._noise[by, bx] += (total * FINE // size - self._noise[by, bx]) >> SLOWNESS
        return 0

    cdef int _find_offset(self) except -1 nogil:
        """Set the offset: the lower median of the blocks' mean differences, rounded down to whole units."""
        cdef i32 counts[2 * LEVELS]
        cdef Py_ssize_t by, bx, i, half, seen = 0
        cdef i32 mean, unit = <i32> self._unit, size
        memset(counts, 0, sizeof(counts))
        for by in range(self._bh):
            for bx in range(self._bw):
                size = self._count[by, bx] * unit
                mean = self._signed[by, bx] + size * LEVELS  # not negative
                counts[mean // size] += 1
        half = (self._bh * self._bw + 1) // 2
        for i in range(2 * LEVELS):
            seen += counts[i]
            if seen >= half:
                self._offset = <i32> (i - LEVELS) * unit
                break
        return 0
