"""Runs a planned convolutional network: a table of steps on one workspace. The interface is described in convnet.pyi.

The kernels trust the table. So everything that a step may read or write is checked against the sizes of the four
buffers when the network is constructed. A run is one loop without the GIL.
"""
import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t, uintptr_t

from engine_ext.typedefs cimport f32, i64

cnp.import_array()


cdef extern from "convnet.h" nogil:
    ctypedef struct ConvnetStep:
        int64_t kind
        int64_t planar, in_at, in_channels, in_height, in_width, in_block
        int64_t out_at, out_channels, out_height, out_width, out_block, row_length
        int64_t kernel_height, kernel_width, stride_height, stride_width, pad_top, pad_left
        int64_t weights_at, bias_at, affine_at, group
        int64_t activation, activation_at
        int64_t other_at, other_block, other_when
        int64_t scratch_at, segments_at
        int64_t chunk
        int64_t channel
        int64_t third_at, third_block, heads

    ctypedef struct ConvnetSegment:
        pass

    ctypedef struct ConvnetBuffers:
        const f32 *picture
        const f32 *weights
        f32 *workspace
        f32 *output

    enum:
        CONVNET_FIELDS
        CONVNET_CONV, CONVNET_DEPTHWISE, CONVNET_MAX_POOL, CONVNET_UPSAMPLE
        CONVNET_ELEMENTWISE, CONVNET_COPY, CONVNET_STORE_ROWS, CONVNET_ATTENTION, CONVNET_CONV_BF16, CONVNET_WINOGRAD
        CONVNET_WINOGRAD_BF16, CONVNET_PICTURE_BF16
        CONVNET_KINDS
        CONVNET_ACTIVATIONS, CONVNET_NO_OTHER, CONVNET_WHENS
        CONVNET_AVX2, CONVNET_AVX512, CONVNET_AVX512_BF16, CONVNET_AMX
        CONVNET_MAX_TILE_BLOCKS, CONVNET_ATTENTION_ROWS, CONVNET_MAX_DEPTH
        CONVNET_BF16_ROWS, CONVNET_BF16_PAIRS, CONVNET_BF16_CHUNK, CONVNET_BF16_SLACK

    int convnet_has(int instructions)
    void convnet_means_of_bins(
        int instructions, const f32 *values, Py_ssize_t row, Py_ssize_t column, const f32 *weights, Py_ssize_t count,
        Py_ssize_t rows, Py_ssize_t columns, f32 *out
    )
    void convnet_run(int instructions, const ConvnetStep *steps, Py_ssize_t count, const ConvnetBuffers *buffers)


FIELDS = (
    "kind",
    "planar", "in_at", "in_channels", "in_height", "in_width", "in_block",
    "out_at", "out_channels", "out_height", "out_width", "out_block", "row_length",
    "kernel_height", "kernel_width", "stride_height", "stride_width", "pad_top", "pad_left",
    "weights_at", "bias_at", "affine_at", "group",
    "activation", "activation_at",
    "other_at", "other_block", "other_when",
    "scratch_at", "segments_at",
    "chunk",
    "channel",
    "third_at", "third_block", "heads",
)
KINDS = ("conv", "depthwise", "max_pool", "upsample", "elementwise", "copy", "store_rows", "attention", "conv_bf16",
         "winograd", "winograd_bf16", "picture_bf16")
ATTENTION_ROWS = CONVNET_ATTENTION_ROWS
MAX_DEPTH = CONVNET_MAX_DEPTH
BF16_ROWS = CONVNET_BF16_ROWS
BF16_PAIRS = CONVNET_BF16_PAIRS
BF16_CHUNK = CONVNET_BF16_CHUNK
BF16_SLACK = CONVNET_BF16_SLACK
ACTIVATIONS = ("nothing", "silu", "sigmoid", "relu", "leaky_relu", "clip", "hard_sigmoid", "hard_swish")
WHENS = ("no", "add_before", "add_after", "multiply_after")

if len(FIELDS) != CONVNET_FIELDS or len(KINDS) != CONVNET_KINDS:
    raise ImportError("convnet.pyx and convnet.h do not agree.")
if len(ACTIVATIONS) != CONVNET_ACTIVATIONS or len(WHENS) != CONVNET_WHENS:
    raise ImportError("convnet.pyx and convnet.h do not agree.")

_F32_SETS = {"AVX-512": CONVNET_AVX512, "AVX2": CONVNET_AVX2}
_BF16_SETS = {"AMX": CONVNET_AMX, "AVX-512 BF16": CONVNET_AVX512_BF16}
_SETS = _F32_SETS | _BF16_SETS
BF16_SETS = tuple(_BF16_SETS)

cdef enum:
    LARGEST = 1 << 20       # maximum of a dimension
    ALIGNMENT = 64

cdef i64 FARTHEST = 1 << 40     # maximum of a position, in floats: sums of a few fit i64


def instruction_sets():
    return tuple(name for name, number in _F32_SETS.items() if convnet_has(number))


def bf16_instruction_sets():
    return tuple(name for name, number in _BF16_SETS.items() if convnet_has(number))


cdef int _number(instruction_set) except -1:
    if instruction_set not in _SETS:
        raise ValueError(f"instruction_set must be one of {', '.join(_SETS)}. Got {instruction_set!r}.")
    if not convnet_has(_SETS[instruction_set]):
        raise ValueError(f"instruction_set must be one this processor has. Got {instruction_set!r}.")
    return _SETS[instruction_set]


def aligned(size):
    """Return zeros aligned to a cache line, so that a pixel of a block is one line."""
    if size < 0:
        raise ValueError(f"size must be at least 0. Got {size}.")
    whole = np.zeros(size + ALIGNMENT // 4, np.float32)
    first = -(<uintptr_t> cnp.PyArray_DATA(<cnp.ndarray> whole)) % ALIGNMENT // 4
    return whole[first:first + size]


def means_of_bins(values, weights, instruction_set):
    cdef int number = _number(instruction_set)
    _check_array(weights, "weights", np.float32, 1)
    if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.ndim != 3:
        raise TypeError("values must be a float32 array of 3 dimensions.")
    cdef Py_ssize_t rows = values.shape[0], columns = values.shape[1], count = values.shape[2]
    cdef Py_ssize_t row = values.strides[0], column = values.strides[1], size = sizeof(f32)
    if count == 0 or count % 16 or count != weights.shape[0]:
        raise ValueError(f"values and weights must have 16 bins or a multiple. Got {count} and {weights.shape[0]}.")
    if not values.size:
        return np.empty((rows, columns), np.float32)
    if not values.flags.aligned or values.strides[2] != size or row % size or column % size:
        raise ValueError(f"values must have the bins of each distribution side by side. Got strides {values.strides}.")
    out = np.empty((rows, columns), np.float32)
    cdef const f32 *source = <const f32 *> cnp.PyArray_DATA(<cnp.ndarray> values)
    cdef const f32 *factors = <const f32 *> cnp.PyArray_DATA(<cnp.ndarray> weights)
    cdef f32 *target = <f32 *> cnp.PyArray_DATA(<cnp.ndarray> out)
    with nogil:
        convnet_means_of_bins(
            number, source, row // size, column // size, factors, count, rows, columns, target
        )
    return out


cdef class ConvNet:
    cdef object _table          # owns the steps
    cdef object _weights
    cdef const ConvnetStep *_steps
    cdef Py_ssize_t _count
    cdef int _set
    cdef readonly tuple picture_shape
    cdef readonly tuple output_shape
    cdef readonly Py_ssize_t workspace_size
    cdef readonly str instruction_set

    def __init__(self, steps, weights, picture_shape, output_shape, workspace_size, instruction_set):
        self._set = _number(instruction_set)
        _check_array(steps, "steps", np.int64, 2)
        _check_array(weights, "weights", np.float32, 1)
        if steps.shape[1] != CONVNET_FIELDS:
            raise ValueError(f"steps must be (S, {CONVNET_FIELDS}). Got {steps.shape}.")
        self.instruction_set = instruction_set
        self.picture_shape = tuple(int(n) for n in picture_shape)
        self.output_shape = tuple(int(n) for n in output_shape)
        if len(self.picture_shape) != 3 or not all(0 < n <= LARGEST for n in self.picture_shape):
            raise ValueError(f"picture_shape must be three numbers in [1, {LARGEST}]. Got {picture_shape}.")
        if len(self.output_shape) != 2 or not all(0 < n <= LARGEST for n in self.output_shape):
            raise ValueError(f"output_shape must be two numbers in [1, {LARGEST}]. Got {output_shape}.")
        if not 0 <= workspace_size <= FARTHEST:
            raise ValueError(f"workspace_size must be in [0, {FARTHEST}]. Got {workspace_size}.")
        self.workspace_size = workspace_size
        table = steps.copy()
        table.setflags(write=False)
        self._table = table
        self._weights = weights
        self._count = steps.shape[0]
        self._steps = <const ConvnetStep *> cnp.PyArray_DATA(<cnp.ndarray> table)
        cdef Py_ssize_t i
        for i in range(self._count):
            in_bf16 = self._steps[i].kind in (CONVNET_CONV_BF16, CONVNET_WINOGRAD_BF16, CONVNET_PICTURE_BF16)
            if in_bf16 and instruction_set not in _BF16_SETS:
                raise ValueError(f"steps[{i}] needs one of {', '.join(_BF16_SETS)}. Got {instruction_set}.")
            problem = _fault(
                self._steps + i, weights.shape[0], workspace_size, _product(self.picture_shape),
                self.output_shape[0], self.output_shape[1], self._set != CONVNET_AVX2,
            )
            if problem:
                raise ValueError(f"steps[{i}] is out of bounds: {problem}.")

    def run(self, picture, output, workspace, *, first=0, end=None):
        _check_array(picture, "picture", np.float32, 3)
        _check_array(output, "output", np.float32, 2)
        _check_array(workspace, "workspace", np.float32, 1)
        if picture.shape != self.picture_shape:
            raise ValueError(f"picture must be {self.picture_shape}. Got {picture.shape}.")
        if output.shape != self.output_shape:
            raise ValueError(f"output must be {self.output_shape}. Got {output.shape}.")
        if workspace.shape[0] < self.workspace_size:
            raise ValueError(f"workspace must hold {self.workspace_size} floats. Got {workspace.shape[0]}.")
        if not output.flags.writeable or not workspace.flags.writeable:
            raise ValueError("output and workspace must be writable.")
        cdef Py_ssize_t start = first
        cdef Py_ssize_t stop = self._count if end is None else end
        if not 0 <= start <= stop <= self._count:
            raise ValueError(f"first and end must be in [0, {self._count}], in order. Got {first} and {end}.")
        cdef ConvnetBuffers buffers
        buffers.picture = <const f32 *> cnp.PyArray_DATA(<cnp.ndarray> picture)
        buffers.weights = <const f32 *> cnp.PyArray_DATA(<cnp.ndarray> self._weights)
        buffers.workspace = <f32 *> cnp.PyArray_DATA(<cnp.ndarray> workspace)
        buffers.output = <f32 *> cnp.PyArray_DATA(<cnp.ndarray> output)
        with nogil:
            convnet_run(self._set, self._steps + start, stop - start, &buffers)


cdef _check_array(array, name, dtype, dimensions):
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        found = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(f"{name} must be a {np.dtype(dtype)} array. Got {found}.")
    if array.ndim != dimensions or not array.flags.c_contiguous or not array.flags.aligned:
        raise ValueError(f"{name} must have {dimensions} dimensions and be C-contiguous. Got {array.shape}.")


cdef i64 _product(shape) except -1:
    cdef i64 total = 1
    for n in shape:
        total *= n
        if total > FARTHEST:
            raise ValueError(f"{shape} is too large.")
    return total


cdef bint _inside(i64 at, i64 size, i64 room) noexcept:
    return 0 <= at <= FARTHEST and 0 <= size <= FARTHEST and at + size <= room


cdef i64 _extent(i64 channels, i64 block, i64 pixels) noexcept:
    """Return the number of floats from the first of a tensor to its last."""
    return ((channels + 15) // 16 - 1) * block + pixels * 16


cdef bint _apart(i64 at, i64 size, i64 other, i64 other_size) noexcept:
    return at + size <= other or other + other_size <= at


cdef str _fault(
    const ConvnetStep *s, i64 weights, i64 workspace, i64 picture, i64 rows, i64 columns, bint wide
):  # fmt: skip
    """Return what of a step exceeds a buffer; None if nothing does. See convnet.h for what each kind reads."""
    cdef i64 pixels, products, padded, ring, unit, parts, in_extent, size
    cdef bint of_picture = s.kind == CONVNET_CONV or s.kind == CONVNET_PICTURE_BF16
    cdef bint conv = of_picture or s.kind == CONVNET_CONV_BF16
    cdef bint winograd = s.kind == CONVNET_WINOGRAD or s.kind == CONVNET_WINOGRAD_BF16
    cdef bint windowed = conv or winograd or s.kind == CONVNET_DEPTHWISE or s.kind == CONVNET_MAX_POOL
    if not 0 <= s.kind < CONVNET_KINDS:
        return f"kind {s.kind}"
    for size in (s.in_channels, s.in_height, s.in_width, s.out_channels, s.out_height, s.out_width,
                 s.kernel_height, s.kernel_width, s.stride_height, s.stride_width):
        if not 1 <= size <= LARGEST:
            return f"a size of {size}"
    for size in (s.in_block, s.out_block, s.other_block, s.third_block):
        if not 0 <= size <= FARTHEST:
            return f"a block of {size}"
    if s.in_height * s.in_width > LARGEST * 16 or s.out_height * s.out_width > LARGEST * 16:
        return "too many pixels"
    if not (0 <= s.pad_top < s.kernel_height and 0 <= s.pad_left < s.kernel_width):
        return "the padding"
    if not 0 <= s.activation < CONVNET_ACTIVATIONS or not _inside(s.activation_at, 2, weights):
        return "the activation"
    if not 0 <= s.other_when < CONVNET_WHENS or not 0 <= s.channel <= LARGEST:
        return "other_when or channel"
    pixels = s.out_height * s.out_width
    parts = (s.in_channels + 15) // 16
    unit = 16
    if s.planar:
        if not of_picture or s.in_block < s.in_height * s.in_width:
            return "planar"
        parts, unit = s.in_channels, 1
        in_extent = (parts - 1) * s.in_block + s.in_height * s.in_width
        if not _inside(s.in_at, in_extent, picture):
            return "the picture"
    elif s.kind == CONVNET_PICTURE_BF16:
        return "planar"
    elif not _inside(s.in_at, _extent(s.in_channels, s.in_block, s.in_height * s.in_width), workspace):
        return "the input"
    # The output.
    if s.row_length:
        if not conv and s.kind != CONVNET_STORE_ROWS:
            return "rows of this kind"
        if s.row_length != columns or not 0 <= s.out_at <= FARTHEST or s.other_when != CONVNET_NO_OTHER:
            return "the rows"
        if s.out_at % columns + s.out_channels > columns or s.out_at // columns + pixels > rows:
            return "the output"
    elif s.kind == CONVNET_STORE_ROWS:
        return "the rows"
    elif s.kind == CONVNET_COPY:
        if not _inside(s.out_at, _extent(s.channel + s.in_channels, s.out_block, s.in_height * s.in_width), workspace):
            return "the output"
    elif not _inside(s.out_at, _extent(s.out_channels, s.out_block, pixels), workspace):
        return "the output"
    if s.other_when != CONVNET_NO_OTHER:
        if not _inside(s.other_at, _extent(s.out_channels, s.other_block, pixels), workspace):
            return "the second input"
    # The window: its last row and column may reach below and right of the input by less than the kernel.
    padded = (s.out_width - 1) * s.stride_width + s.kernel_width
    if windowed:
        if (s.out_height - 1) * s.stride_height - s.pad_top >= s.in_height:
            return "a window below the input"
        if (s.out_width - 1) * s.stride_width - s.pad_left >= s.in_width:
            return "a window right of the input"
    if s.kind == CONVNET_CONV:
        products = s.kernel_height * s.kernel_width * s.in_channels
        if products > FARTHEST // 16 // LARGEST:
            return "too many products"
        if not 1 <= s.group <= (CONVNET_MAX_TILE_BLOCKS if wide else 1) or s.chunk < 1:
            return "group or chunk"
        if not _inside(s.weights_at, products * ((s.out_channels + 15) // 16) * 16, weights):
            return "the weights"
        if not _inside(s.bias_at, (s.out_channels + 15) // 16 * 16, weights):
            return "the bias"
        size = s.kernel_height * parts * (1 if s.planar else s.kernel_width)
        size *= sizeof(ConvnetSegment) // 4
        if not _inside(s.segments_at, size, workspace) or s.segments_at % 2:
            return "the segments"
        # Segments are positions, so they must not be overwritten while they are used.
        if not s.row_length and not _apart(s.segments_at, size, s.out_at, _extent(s.out_channels, s.out_block, pixels)):
            return "the segments in the output"
        if s.affine_at >= 0 and (s.scratch_at < 0 or not s.planar or not _inside(s.affine_at, 2 * parts, weights)):
            return "affine_at"
        if s.scratch_at >= 0:
            ring = s.kernel_height * parts * padded * unit
            if not _inside(s.scratch_at, ring, workspace) or not _apart(s.segments_at, size, s.scratch_at, ring):
                return "the scratch"
        elif (s.pad_top or s.pad_left or padded > s.in_width
              or (s.out_height - 1) * s.stride_height + s.kernel_height > s.in_height):
            return "padding without scratch"
    elif s.kind == CONVNET_CONV_BF16:
        parts = (s.in_channels + 31) // 32
        if s.kernel_height > CONVNET_BF16_ROWS:
            return "the kernel"
        if not 1 <= s.group <= CONVNET_MAX_TILE_BLOCKS:
            return "group"
        if s.affine_at >= 0:
            return "affine_at"
        products = s.kernel_height * s.kernel_width * parts * 256
        if products > FARTHEST // LARGEST:
            return "too many products"
        if not _inside(s.weights_at, products * ((s.out_channels + 15) // 16), weights):
            return "the weights"
        if not _inside(s.bias_at, (s.out_channels + 15) // 16 * 16, weights):
            return "the bias"
        if s.kernel_height * s.kernel_width * s.stride_height * s.stride_width == 1:
            padded = CONVNET_BF16_CHUNK
        size = (s.kernel_height * parts * padded + CONVNET_BF16_SLACK * s.stride_width) * 16
        if not _inside(s.scratch_at, size, workspace):
            return "the scratch"
    elif s.kind == CONVNET_PICTURE_BF16:
        products = s.kernel_height * parts * ((s.kernel_width + 1) // 2)
        if products > CONVNET_BF16_PAIRS:
            return "the kernel"
        if s.affine_at >= 0 and not _inside(s.affine_at, 2 * parts, weights):
            return "affine_at"
        if not _inside(s.weights_at, products * 16 * ((s.out_channels + 15) // 16), weights):
            return "the weights"
        if not _inside(s.bias_at, (s.out_channels + 15) // 16 * 16, weights):
            return "the bias"
        size = (s.kernel_height * parts * (padded + s.kernel_width % 2) + 1) // 2
        if not _inside(s.scratch_at, size, workspace):
            return "the scratch"
    elif winograd:
        if s.kernel_height != 3 or s.kernel_width != 3 or s.stride_height != 1 or s.stride_width != 1:
            return "the kernel"
        if s.in_channels > CONVNET_MAX_DEPTH:
            return "the channels"
        if not 1 <= s.group <= (CONVNET_MAX_TILE_BLOCKS if wide else 1) or not 1 <= s.chunk <= LARGEST:
            return "group or chunk"
        products, size = s.in_channels * 16, 4 * (2 * s.chunk + 2)  # of an output block; of the rows of a block
        if s.kind == CONVNET_WINOGRAD_BF16:
            parts = (s.in_channels + 31) // 32
            products, size = parts * 256, 2 * size
        if not _inside(s.weights_at, 16 * products * ((s.out_channels + 15) // 16), weights):
            return "the weights"
        if not _inside(s.bias_at, (s.out_channels + 15) // 16 * 16, weights):
            return "the bias"
        size += (16 * (parts + s.group) + 4 * s.group) * s.chunk
        if not _inside(s.scratch_at, size * 16, workspace):
            return "the scratch"
    elif s.kind == CONVNET_DEPTHWISE:
        if s.in_channels != s.out_channels:
            return "the channels"
        if not _inside(s.weights_at, s.kernel_height * s.kernel_width * ((s.out_channels + 15) // 16) * 16, weights):
            return "the weights"
        if not _inside(s.bias_at, (s.out_channels + 15) // 16 * 16, weights):
            return "the bias"
    elif s.kind == CONVNET_MAX_POOL:
        if s.in_channels != s.out_channels:
            return "the channels"
        if not _inside(s.scratch_at, padded * 16, workspace):
            return "the scratch"
    elif s.kind == CONVNET_UPSAMPLE:
        if s.in_channels != s.out_channels:
            return "the channels"
        if s.in_height * s.stride_height != s.out_height or s.in_width * s.stride_width != s.out_width:
            return "the output"
    elif s.kind == CONVNET_ELEMENTWISE:
        if s.in_channels != s.out_channels or s.in_height * s.in_width != pixels:
            return "the channels"
    elif s.kind == CONVNET_STORE_ROWS:
        if s.channel + s.out_channels > s.in_channels or s.in_height * s.in_width != pixels:
            return "the channels"
    elif s.kind == CONVNET_ATTENTION:
        if not 1 <= s.heads <= LARGEST or s.in_channels % (16 * s.heads) or s.out_channels % (16 * s.heads):
            return "the heads"
        if s.in_channels // s.heads > CONVNET_MAX_DEPTH or s.in_height * s.in_width != pixels:
            return "the channels"
        if s.other_when != CONVNET_NO_OTHER or not 1 <= s.group <= (CONVNET_MAX_TILE_BLOCKS if wide else 1):
            return "other_when or group"
        if not _inside(s.other_at, _extent(s.in_channels, s.other_block, pixels), workspace):
            return "the keys"
        if not _inside(s.third_at, _extent(s.out_channels, s.third_block, pixels), workspace):
            return "the values"
        padded = (pixels + 15) // 16 * 16
        size = padded * (s.in_channels // s.heads + CONVNET_ATTENTION_ROWS) + pixels * (s.out_channels // s.heads)
        if not _inside(s.scratch_at, size, workspace):
            return "the scratch"
    return None
