"""Letterbox: resizes, pads and converts the planes of a decoded frame directly into a model's input tensor.

Each output row needs two rows of each source plane. They are first resampled horizontally, only at the needed columns,
and kept as long as output rows use them. Vertical blending, colour conversion and the store are then one loop over
contiguous rows. So no image other than the output is written.
"""
import numpy as np

cimport numpy as cnp
from libc.stdint cimport int16_t, uint32_t
from libc.stdlib cimport free, malloc

from engine_ext.typedefs cimport f32, i32, u8, u16

from engine_ext.letterbox_tables import LUMA_WEIGHTS, PLANES, chroma_components, sample_to_rgb, tables

cnp.import_array()

ctypedef uint32_t u32


cdef extern from "letterbox_rows.h" nogil:
    ctypedef struct LetterboxColour:
        i32 zero[3]
        f32 weight[3][3]
        f32 bias[3]
        f32 low[3]
        f32 high[3]

    ctypedef struct LetterboxBlend:
        const int16_t *upper
        const int16_t *lower
        int16_t weight

    const int LETTERBOX_FRACTION, LETTERBOX_GROUP, LETTERBOX_WINDOW

    bint letterbox_has_windows()
    void letterbox_fetch_windows(
        const u8 *row, const i32 *start, const i32 *span, const u8 *picks, Py_ssize_t roomy, Py_ssize_t n, u32 *fetched
    )
    void letterbox_fetch_1(const u8 *row, const i32 *at, Py_ssize_t n, u32 *fetched)
    void letterbox_fetch_2(const u8 *row, const i32 *at, Py_ssize_t n, u32 *fetched)
    void letterbox_fetch_3(const u8 *row, const i32 *at, Py_ssize_t n, u32 *fetched)
    void letterbox_blend_1(const u32 *fetched, const int16_t *weights, Py_ssize_t n, int16_t *samples)
    void letterbox_blend_2(const u32 *fetched, const int16_t *weights, Py_ssize_t n, int16_t *samples)
    void letterbox_blend_3(const u32 *fetched, const int16_t *weights, Py_ssize_t n, int16_t *samples)
    void letterbox_repeat(const u8 *pixel, Py_ssize_t components, Py_ssize_t n, int16_t *samples)

    void letterbox_store_float32(const LetterboxBlend *, const LetterboxColour *, Py_ssize_t n, f32 *, f32 *, f32 *)
    void letterbox_store_float16(const LetterboxBlend *, const LetterboxColour *, Py_ssize_t n, u16 *, u16 *, u16 *)
    void letterbox_store_uint8(const LetterboxBlend *, const LetterboxColour *, Py_ssize_t n, u8 *, u8 *, u8 *)
    void letterbox_fill_float32(f32 *out, Py_ssize_t n, f32 value)
    void letterbox_fill_float16(u16 *out, Py_ssize_t n, f32 value)
    void letterbox_fill_uint8(u8 *out, Py_ssize_t n, f32 value)


cdef enum:
    MAX_SIDE = 32768
    MAX_NUMBER = 1000000    # of scale and mean: far below the overflow of float32
    FLOAT16_MAX = 65504


cdef struct Plane:
    const u8 *data
    Py_ssize_t stride
    Py_ssize_t components
    Py_ssize_t width
    Py_ssize_t chroma       # 0: the tables for full-size planes, 1: those for half-size ones


cdef class Letterbox:
    """Resizes and pads frames of one size and format into tensors of one size. See letterbox.pyi."""

    cdef readonly double ratio
    cdef readonly tuple ratio_xy
    cdef readonly tuple pad_xy
    cdef readonly tuple resized_wh
    cdef readonly tuple src_wh
    cdef readonly tuple dst_hw
    cdef readonly str pix_fmt

    # Written only in __cinit__, because threads share them.
    cdef tuple _components
    cdef bint _plain            # scale 1 and mean 0, which uint8 output requires
    cdef double _largest        # maximum magnitude of the output
    cdef Py_ssize_t _dst_h, _dst_w, _left, _top, _w, _h
    cdef LetterboxColour _colour
    cdef f32 _fill[3]
    # Row 0 is for full-size planes, row 1 for chroma. By output column: the byte offset of its first neighbour, and
    # the weight of the second. By output row: the same, with offsets in rows.
    cdef const i32[:, ::1] _x_at
    cdef const int16_t[:, ::1] _x_weight
    cdef const i32[:, ::1] _y_at
    cdef const int16_t[:, ::1] _y_weight
    # The arguments of letterbox_fetch_windows, by group of output columns, and whether a row of the tables may use it.
    cdef const i32[:, ::1] _window_at
    cdef const i32[:, ::1] _window_span
    cdef const u8[:, ::1] _window_picks
    cdef bint _windowed[2]
    cdef Py_ssize_t _roomy[2]

    # Not __init__, which Python code may call again while another thread is in apply().
    def __cinit__(
        self,
        src_wh,
        dst_hw,
        str pix_fmt not None,
        *,
        str matrix not None="bt601",
        bint full_range=False,
        str channel_order not None="rgb",
        scale=1.0,
        mean=0.0,
        double pad_value=114.0,
        str pad not None="center",
        str rounding not None="nearest",
        bint portable=False,
    ):
        src_w, src_h = _sides("src_wh", src_wh)
        dst_h, dst_w = _sides("dst_hw", dst_hw)
        _one_of("pix_fmt", pix_fmt, PLANES)
        _one_of("matrix", matrix, LUMA_WEIGHTS)
        _one_of("channel_order", channel_order, ("rgb", "bgr"))
        _one_of("pad", pad, ("center", "topleft", "stretch"))
        _one_of("rounding", rounding, ("nearest", "down"))
        scales = _three("scale", scale)
        means = _three("mean", mean)
        if 0.0 in scales:
            raise ValueError(f"scale must not be 0. Got {scale!r}.")
        if not 0.0 <= pad_value <= 255.0:
            raise ValueError(f"pad_value must be in [0, 255]. Got {pad_value!r}.")

        self.src_wh = (src_w, src_h)
        self.dst_hw = (dst_h, dst_w)
        self.pix_fmt = pix_fmt
        self.ratio = min(dst_w / src_w, dst_h / src_h)
        self.ratio_xy = (dst_w / src_w, dst_h / src_h) if pad == "stretch" else (self.ratio, self.ratio)
        whole = int if rounding == "down" else round
        width = max(1, min(dst_w, whole(src_w * self.ratio)))
        height = max(1, min(dst_h, whole(src_h * self.ratio)))
        if pad == "stretch":
            width, height = dst_w, dst_h
        self.resized_wh = (width, height)
        self.pad_xy = (0, 0)
        if pad == "center":
            # The extra pixel of an odd padding is at the right and at the bottom.
            self.pad_xy = (round((dst_w - width) / 2 - 0.1), round((dst_h - height) / 2 - 0.1))

        self._components = PLANES[pix_fmt]
        self._plain = scales == (1.0, 1.0, 1.0) and means == (0.0, 0.0, 0.0)
        self._dst_h, self._dst_w = dst_h, dst_w
        self._left, self._top = self.pad_xy
        self._w, self._h = width, height
        self._set_colour(sample_to_rgb(pix_fmt, matrix, full_range), channel_order, scales, means, pad_value)

        self._x_at, self._y_at, self._x_weight, self._y_weight = tables(
            self.src_wh, self.resized_wh, self._components
        )
        components = (self._components[0], chroma_components(self._components))
        windows = [_windows(at, step) for at, step in zip(np.asarray(self._x_at), components, strict=True)]
        self._window_at, self._window_span, self._window_picks = map(np.stack, zip(*windows, strict=True))
        for i, row_bytes in enumerate((src_w, (src_w + 1) // 2)):
            self._roomy[i] = min(
                width // LETTERBOX_GROUP, np.count_nonzero(windows[i][0] + LETTERBOX_WINDOW <= row_bytes)
            )
            narrow = components[i] == 1 and np.max(self._window_span[i]) <= LETTERBOX_WINDOW
            self._windowed[i] = narrow and not portable and letterbox_has_windows()

    cdef _set_colour(self, to_rgb, str channel_order, tuple scales, tuple means, double pad_value):
        zeros, rows = to_rgb
        if channel_order == "bgr":
            rows = rows[::-1]
        self._largest = 0.0
        for c, (row, scale, mean) in enumerate(zip(rows, scales, means, strict=True)):
            for p in range(3):
                self._colour.weight[c][p] = row[p] * scale / (1 << LETTERBOX_FRACTION)
                self._colour.zero[p] = zeros[p] << LETTERBOX_FRACTION
            ends = sorted(((0.0 - mean) * scale, (255.0 - mean) * scale))
            self._colour.bias[c] = -mean * scale
            self._colour.low[c], self._colour.high[c] = ends
            self._fill[c] = (pad_value - mean) * scale
            self._largest = max(self._largest, -ends[0], ends[1])

    def apply(self, planes, out):
        """Write one frame into `out`. See letterbox.pyi."""
        # A tuple keeps the arrays alive even if another thread changes the caller's list.
        cdef tuple arrays = tuple(planes)
        cdef Plane views[3]
        cdef Py_ssize_t i
        if len(arrays) != len(self._components):
            raise ValueError(f"planes must be {len(self._components)} for {self.pix_fmt}. Got {len(arrays)}.")
        for i in range(len(arrays)):
            self._view(i, arrays[i], &views[i])
        self._check_out(out)
        cdef int kind = cnp.PyArray_TYPE(<cnp.ndarray>out)
        cdef char *data = <char *>cnp.PyArray_DATA(<cnp.ndarray>out)
        cdef Py_ssize_t n_planes = len(arrays)
        cdef bint done
        with nogil:
            done = self._run(views, n_planes, data, kind)
        if not done:
            raise MemoryError("Letterbox.apply could not allocate its rows.")

    cdef _view(self, Py_ssize_t i, array, Plane *view):
        width, height = self.src_wh
        if i > 0:
            width, height = (width + 1) // 2, (height + 1) // 2
        components = self._components[i]
        needed = width * components
        if (
            not isinstance(array, np.ndarray)
            or array.dtype != np.uint8
            or array.ndim != 2
            or array.shape[0] != height
            or array.shape[1] < needed
            or (array.strides[1] != 1 and array.shape[1] > 1)
        ):
            raise ValueError(
                f"planes[{i}] must be a ({height}, {needed} or more) uint8 array with contiguous rows "
                f"for {self.pix_fmt} {self.src_wh[0]}x{self.src_wh[1]}. Got {_describe(array)}."
            )
        view.data = <const u8 *>cnp.PyArray_DATA(<cnp.ndarray>array)
        view.stride = cnp.PyArray_STRIDE(<cnp.ndarray>array, 0)
        view.components = components
        view.width = width
        view.chroma = i > 0

    cdef _check_out(self, out):
        shape = (3, *self.dst_hw)
        if (
            not isinstance(out, np.ndarray)
            or out.shape != shape
            or out.dtype not in (np.float32, np.float16, np.uint8)
            or not cnp.PyArray_ISCARRAY(<cnp.ndarray>out)
        ):
            raise ValueError(
                f"out must be a writable C-contiguous {shape} float32, float16 or uint8 array. Got {_describe(out)}."
            )
        if out.dtype == np.uint8 and not self._plain:
            raise ValueError("out may be uint8 only with scale 1 and mean 0. Got another scale or mean.")
        if out.dtype == np.float16 and self._largest > FLOAT16_MAX:
            raise ValueError(f"out may be float16 only for values up to {FLOAT16_MAX}. Got up to {self._largest:g}.")

    cdef bint _run(self, const Plane *planes, Py_ssize_t n_planes, char *out, int kind) noexcept nogil:
        """Write the output. Return False if memory ran out. Each call has its own scratch rows."""
        cdef Py_ssize_t w = self._w
        # The fetched pixels of a source row (at most 8 bytes each), then two rows of each of three components.
        cdef u32 *fetched = <u32 *>malloc(w * (2 * sizeof(u32) + 6 * sizeof(int16_t)))
        if fetched == NULL:
            return False
        cdef int16_t *rows = <int16_t *>(fetched + 2 * w)
        cdef Py_ssize_t held[3][2]      # by plane and slot: the source row in it
        cdef LetterboxBlend blend[3]
        cdef Py_ssize_t p, c, y, first, upper, lower
        for p in range(n_planes):
            held[p][0] = -1
            held[p][1] = -1

        self._fill_rows(out, kind, 0, self._top)
        for y in range(self._h):
            first = 0
            for p in range(n_planes):
                upper = self._y_at[planes[p].chroma, y]
                lower = upper + (self._y_weight[planes[p].chroma, y] != 0)
                self._resample(&planes[p], upper, &held[p][upper & 1], rows + (2 * first + (upper & 1)) * w, fetched)
                self._resample(&planes[p], lower, &held[p][lower & 1], rows + (2 * first + (lower & 1)) * w, fetched)
                for c in range(first, first + planes[p].components):
                    blend[c].upper = rows + (2 * c + (upper & 1)) * w
                    blend[c].lower = rows + (2 * c + (lower & 1)) * w
                    blend[c].weight = self._y_weight[planes[p].chroma, y]
                first += planes[p].components
            for c in range(first, 3):       # gray: the weights of the other two are 0
                blend[c] = blend[0]
            self._store_row(out, kind, self._top + y, blend)
        self._fill_rows(out, kind, self._top + self._h, self._dst_h)
        free(fetched)
        return True

    cdef void _resample(
        self, const Plane *plane, Py_ssize_t y, Py_ssize_t *held, int16_t *samples, u32 *fetched
    ) noexcept nogil:
        """Resample row y of each component of a plane at the output columns. Components are two rows apart."""
        if held[0] == y:
            return
        held[0] = y
        cdef const u8 *row = plane.data + y * plane.stride
        cdef const i32 *at = &self._x_at[plane.chroma, 0]
        cdef const int16_t *weights = &self._x_weight[plane.chroma, 0]
        if plane.width == 1:
            letterbox_repeat(row, plane.components, self._w, samples)
        elif plane.components == 1:
            if self._windowed[plane.chroma]:
                letterbox_fetch_windows(
                    row,
                    &self._window_at[plane.chroma, 0],
                    &self._window_span[plane.chroma, 0],
                    &self._window_picks[plane.chroma, 0],
                    self._roomy[plane.chroma],
                    self._w,
                    fetched,
                )
            else:
                letterbox_fetch_1(row, at, self._w, fetched)
            letterbox_blend_1(fetched, weights, self._w, samples)
        elif plane.components == 2:
            letterbox_fetch_2(row, at, self._w, fetched)
            letterbox_blend_2(fetched, weights, self._w, samples)
        else:
            letterbox_fetch_3(row, at, self._w, fetched)
            letterbox_blend_3(fetched, weights, self._w, samples)

    cdef void _store_row(self, char *out, int kind, Py_ssize_t y, const LetterboxBlend *blend) noexcept nogil:
        cdef Py_ssize_t start = y * self._dst_w + self._left
        cdef Py_ssize_t start_1 = start + self._dst_h * self._dst_w
        cdef Py_ssize_t start_2 = start_1 + self._dst_h * self._dst_w
        cdef f32 *out_f32 = <f32 *>out
        cdef u16 *out_f16 = <u16 *>out
        cdef u8 *out_u8 = <u8 *>out
        if kind == cnp.NPY_FLOAT32:
            letterbox_store_float32(
                blend, &self._colour, self._w, out_f32 + start, out_f32 + start_1, out_f32 + start_2
            )
        elif kind == cnp.NPY_FLOAT16:
            letterbox_store_float16(
                blend, &self._colour, self._w, out_f16 + start, out_f16 + start_1, out_f16 + start_2
            )
        else:
            letterbox_store_uint8(blend, &self._colour, self._w, out_u8 + start, out_u8 + start_1, out_u8 + start_2)
        self._fill_run(out, kind, y * self._dst_w, self._left)
        self._fill_run(out, kind, start + self._w, self._dst_w - self._left - self._w)

    cdef void _fill_rows(self, char *out, int kind, Py_ssize_t first, Py_ssize_t end) noexcept nogil:
        self._fill_run(out, kind, first * self._dst_w, (end - first) * self._dst_w)

    cdef void _fill_run(self, char *out, int kind, Py_ssize_t start, Py_ssize_t n) noexcept nogil:
        """Write padding: n elements of each channel."""
        cdef Py_ssize_t channel = self._dst_h * self._dst_w
        cdef Py_ssize_t c
        for c in range(3):
            if kind == cnp.NPY_FLOAT32:
                letterbox_fill_float32(<f32 *>out + c * channel + start, n, self._fill[c])
            elif kind == cnp.NPY_FLOAT16:
                letterbox_fill_float16(<u16 *>out + c * channel + start, n, self._fill[c])
            else:
                letterbox_fill_uint8(<u8 *>out + c * channel + start, n, self._fill[c])


def _sides(name, value):
    try:
        first, second = value
        sides = (first.__index__(), second.__index__())
    except (TypeError, ValueError, AttributeError):
        sides = ()
    if not sides or not all(1 <= side <= MAX_SIDE for side in sides):
        raise ValueError(f"{name} must be two ints in [1, {MAX_SIDE}]. Got {value!r}.")
    return sides


def _one_of(name, value, allowed):
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}. Got {value!r}.")


def _three(name, value):
    try:
        numbers = (float(value),) * 3 if np.ndim(value) == 0 else tuple(float(number) for number in value)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not all(abs(number) <= MAX_NUMBER for number in numbers):
        raise ValueError(f"{name} must be a number, or three, in [-{MAX_NUMBER}, {MAX_NUMBER}]. Got {value!r}.")
    return numbers


def _describe(value):
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    text = f"{value.shape} {value.dtype}"
    if not value.flags.c_contiguous:
        text += f" with strides {value.strides}"
    if not value.flags.aligned:
        text += ", not aligned"
    if not value.flags.writeable:
        text += ", read-only"
    return text


def _windows(at, components):
    """Return by group of output columns: the offset and length in bytes of its input, and for planes of one component
    the positions of its pairs of bytes therein. Windows longer than LETTERBOX_WINDOW must not be used."""
    groups = range(0, len(at), LETTERBOX_GROUP)
    starts = np.array([at[first] for first in groups], np.int32)
    ends = [at[min(first + LETTERBOX_GROUP, len(at)) - 1] + 2 for first in groups]
    picks = np.zeros((len(starts), LETTERBOX_GROUP, 2), np.uint8)
    if components == 1:
        own = np.repeat(starts, LETTERBOX_GROUP)[:len(at)]
        pairs = (at - own)[:, None] + (0, 1)
        picks.reshape(-1, 2)[:len(at)] = np.minimum(pairs, LETTERBOX_WINDOW - 1)
    return starts, (ends - starts).astype(np.int32), picks.reshape(-1)
