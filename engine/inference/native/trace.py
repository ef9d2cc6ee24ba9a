"""Traces an ONNX graph at one input size, node by node, and records what is to be computed.

Only constants are computed here. Sampling and scaling of the image, and moving results into rows, are kept as
descriptions (`PictureView`, `Cells`), because the convolutions at both ends do that while they read and write.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.inference.native.constants import asked_dims, evaluate, reshaped, slice_ranges, split_sizes
from engine.inference.native.graph import Graph, Node
from engine.inference.native.layout import BLOCK
from engine.inference.native.ops import (
    NOTHING,
    Activation,
    Attention,
    Cells,
    Concat,
    Conv,
    Elementwise,
    Floats,
    Heads,
    MaxPool,
    Network,
    Patch,
    PictureView,
    Pixels,
    Sample,
    Scores,
    Tensor,
    Unsupported,
    Upsample,
    Value,
)
from engine_ext.convnet import MAX_DEPTH

_MAX_PIXELS = 1 << 24
_MAX_SIDE = 1 << 20
_MAX_CHANNELS = 1 << 14
_MAX_STEP = 8  # between samples of the image: a kernel grows by it twice
_MAX_SAMPLES = 256  # of the image side by side, and
_MAX_PATCHES = 256  # of the result: a detector has a dozen
_MAX_SPREAD = 1 << 24  # floats of a kernel spread to where its samples lie
_MAX_WEIGHTS = 1 << 28  # floats of all convolutions: 1 GiB
MAX_CONSTANTS = 1 << 27  # elements of all that is evaluated


def trace(graph: Graph, height: int, width: int) -> Network:
    """Return what the graph computes from a (1, C, height, width) image. Raises Unsupported, or other errors for an
    invalid graph: see `ops.refusing`."""
    return _Trace(graph, height, width).run()


def dims_of(graph: Graph, height: int, width: int, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the dimensions of the graph's values with these names. Raises as `trace` does."""
    tracing = _Trace(graph, height, width)
    tracing.follow()
    return {name: tracing.dims(name) for name in names}


class _Trace:
    def __init__(self, graph: Graph, height: int, width: int) -> None:
        channels = graph.dims[1] or 0
        if not (_fits(height, width) and 1 <= channels <= 16):
            raise Unsupported(f"its input would be {channels} x {height} x {width}")
        self._graph = graph
        self._network = Network((channels, height, width))
        self._values: dict[str, Value] = dict(graph.constants)
        self._maker: dict[Tensor, Any] = {}
        self._parted: dict[tuple[Tensor, int, int, int], Tensor] = {}
        self._evaluated = self._weights = 0
        # The values of constants for a batch of two, if they differ.
        self._with_two: dict[str, NDArray[Any]] = {}
        self._values[graph.input] = PictureView(
            (height, width),
            tuple(Sample(c, 0, 0) for c in range(channels)),
            (1, 1),
            np.ones(channels, np.float32),
            np.zeros(channels, np.float32),
        )

    def follow(self) -> None:
        """Trace each node, in order."""
        for node in self._graph.nodes:
            for name in node.inputs:
                if name and name not in self._values:
                    raise Unsupported(f"{node} reads {name!r}, which nothing before it makes")
            inputs = [self._values[name] if name else None for name in node.inputs]
            value = self._value(node, inputs)
            outputs = value if isinstance(value, list) else [value]
            for name, made in zip(node.outputs, outputs, strict=False):
                self._values[name] = made

    def dims(self, name: str) -> tuple[int, ...]:
        value = self._values[name]
        return value.shape if isinstance(value, np.ndarray) else value.dims

    def run(self) -> Network:
        self.follow()
        result = self._values.get(self._graph.output)
        if not isinstance(result, Cells) or result.turned:
            raise Unsupported("its output is not (N, cells, columns) made of convolutions")
        self._network.result = result
        return self._network

    def _value(self, node: Node, inputs: list[Any]) -> Any:
        with_two = [self._with_two.get(name, value) for name, value in zip(node.inputs, inputs, strict=True)]
        changed = [(one, two) for one, two in zip(inputs, with_two, strict=True) if one is not two]
        if node.op_type == "Shape" and not isinstance(inputs[0], np.ndarray):
            value, other = (asked_dims(node, (batch * inputs[0].dims[0], *inputs[0].dims[1:])) for batch in (1, 2))
        elif all(value is None or isinstance(value, np.ndarray) for value in inputs):
            value = evaluate(node, inputs)
            other = evaluate(node, with_two) if changed else value
            self._evaluated += value.size
            if self._evaluated > MAX_CONSTANTS:
                raise Unsupported(f"it computes {self._evaluated} constants")
        else:
            handler = _HANDLERS.get(node.op_type)
            if handler is None:
                raise Unsupported(f"{node} is not supported")
            for one, two in changed:  # the batch size may only occur as the first entry of a shape
                if node.op_type not in ("Reshape", "Resize") or not np.array_equal(one[1:], two[1:]):
                    raise Unsupported(f"{node} computes with the batch size")
            return handler(self, node, inputs)
        if other is not value and not np.array_equal(other, value):
            self._with_two[node.outputs[0]] = other
        return value

    def _tensor(self, op_channels: int, height: int, width: int) -> Tensor:
        if not (1 <= op_channels <= _MAX_CHANNELS and _fits(height, width)):
            raise Unsupported(f"a tensor would be {op_channels} x {height} x {width}")
        return Tensor(op_channels, height, width)

    def _add(self, op: Any) -> Tensor:
        if isinstance(op, Conv):
            self._weights += -(-len(op.weight) // BLOCK) * BLOCK * op.weight[0].size
            if self._weights > _MAX_WEIGHTS:
                raise Unsupported(f"it has {self._weights} weights")
        self._network.ops.append(op)
        self._maker[op.out] = op
        out: Tensor = op.out
        return out

    # ---- convolutions and what folds into them ----

    def conv(self, node: Node, inputs: list[Any]) -> Tensor:
        source, weight = inputs[0], _float32(node, inputs[1])
        if weight.ndim != 4:
            raise Unsupported(f"{node} has weights of {weight.ndim} dimensions")
        channels = weight.shape[0]
        given = inputs[2] if len(inputs) > 2 else None
        bias = np.zeros(channels, np.float32) if given is None else _float32(node, given)
        declared = tuple(node.wholes("kernel_shape", list(weight.shape[2:])))
        if bias.shape != (channels,) or declared != weight.shape[2:]:
            raise Unsupported(f"{node} has weights that do not fit together")
        if not isinstance(source, Tensor | PictureView):
            raise Unsupported(f"{node} convolves what is not an image")
        kernel = (weight.shape[2], weight.shape[3])
        strides, pads, (height, width) = _window(node, source.dims, kernel)
        groups, entering = node.whole("group", 1), source.dims[1]
        if groups < 1 or entering != weight.shape[1] * groups or channels % groups:
            raise Unsupported(f"{node} has weights for {weight.shape[1] * groups} channels, and reads {entering}")
        out = self._tensor(channels, height, width)
        if isinstance(source, PictureView):
            return self._add(_folded(node, source, out, _dense(node, weight, groups), bias, strides, pads))
        depthwise = groups > 1 or entering == channels == 1
        if depthwise and not groups == entering == channels:
            raise Unsupported(f"{node} has {groups} groups for {entering} -> {channels} channels")
        return self._add(Conv(source, out, weight, bias, strides, pads, depthwise))

    def batch_norm(self, node: Node, inputs: list[Any]) -> Tensor:
        if not isinstance(inputs[0], Tensor) or node.whole("training_mode", 0):
            raise Unsupported(f"{node} is not supported")
        scale, shift, mean, variance = (_float32(node, value).astype(np.float64) for value in inputs[1:5])
        factor = scale / np.sqrt(variance + node.real("epsilon", 1e-5))
        return self._scaled(node, inputs[0], factor, shift - mean * factor)

    def _scaled(self, node: Node, source: Tensor, factor: Any, summand: Any) -> Tensor:
        """Return a depthwise 1x1 convolution, which `fuse` folds into the convolution before it."""
        n = source.channels
        factor, summand = (np.broadcast_to(np.asarray(v, np.float32), (n,)).copy() for v in (factor, summand))
        out = self._tensor(n, source.height, source.width)
        return self._add(Conv(source, out, factor.reshape(n, 1, 1, 1), summand, (1, 1), (0, 0), depthwise=True))

    # ---- two operands ----

    def arithmetic(self, node: Node, inputs: list[Any]) -> Value:
        first, second = inputs
        if isinstance(first, Tensor) and isinstance(second, Tensor):
            return self._joined(node, first, second)
        constant, source = (first, second) if isinstance(first, np.ndarray) else (second, first)
        if isinstance(source, Heads | Scores):
            return _multiplied(node, source, constant, first is constant)
        if not isinstance(constant, np.ndarray) or not isinstance(source, Tensor | PictureView):
            raise Unsupported(f"{node} is not supported on these operands")
        number = _per_channel(node, constant, source.dims[1])
        factor, summand = np.float32(1), np.float32(0)
        if node.op_type == "Mul":
            factor = number
        elif node.op_type == "Add":
            summand = number
        elif node.op_type == "Sub":
            factor, summand = (np.float32(-1), number) if first is constant else (factor, -number)
        elif first is constant:
            raise Unsupported(f"{node} divides by what is not a constant")
        else:
            factor = np.float32(1) / number
        if isinstance(source, PictureView):
            return PictureView(
                source.size,
                source.samples,
                source.steps,
                (source.factor * factor).astype(np.float32),
                (source.summand * factor + summand).astype(np.float32),
            )
        return self._scaled(node, source, factor, summand)

    def _joined(self, node: Node, first: Tensor, second: Tensor) -> Tensor:
        if first.dims != second.dims or node.op_type not in ("Add", "Mul"):
            raise Unsupported(f"{node} is not supported on {first.dims} and {second.dims}")
        out = self._tensor(*first.dims[1:])
        if node.op_type == "Add":
            return self._add(Elementwise(first, out, NOTHING, second, "add_before"))
        for gate, gated in ((first, second), (second, first)):
            maker = self._maker[gate]
            if isinstance(maker, Elementwise) and maker.source is gated and maker.when == "no":
                kind = maker.activation.name
                if kind == "sigmoid":
                    return self._add(Elementwise(gated, out, Activation("silu")))
                if kind == "hard_sigmoid":
                    return self._add(Elementwise(gated, out, Activation("hard_swish", *maker.activation[1:])))
        return self._add(Elementwise(first, out, NOTHING, second, "multiply_after"))

    # ---- one operand ----

    def activation(self, node: Node, inputs: list[Any]) -> Value:
        source, kind = inputs[0], _activation(node, inputs)
        if isinstance(source, Tensor):
            return self._add(Elementwise(source, self._tensor(*source.dims[1:]), kind))
        if not isinstance(source, Cells) or any(patch.activation != NOTHING for patch in source.patches):
            raise Unsupported(f"{node} is not supported here")
        patches = tuple(Patch(p.tensor, p.first, p.channels, p.row, p.column, kind) for p in source.patches)
        return Cells(source.rows, source.columns, patches, source.turned)

    def max_pool(self, node: Node, inputs: list[Any]) -> Tensor:
        source = _the_tensor(node, inputs)
        if len(node.outputs) != 1 or node.whole("storage_order", 0):
            raise Unsupported(f"{node} has attributes that are not supported")
        kernel = node.wholes("kernel_shape")
        strides, pads, size = _window(node, source.dims, tuple(kernel))
        window = (kernel[0], kernel[1])
        return self._add(MaxPool(source, self._tensor(source.channels, *size), window, strides, pads))

    def average_pool(self, node: Node, inputs: list[Any]) -> Tensor:
        """Average in a window: a depthwise convolution with equal weights."""
        source, kernel = _the_tensor(node, inputs), node.wholes("kernel_shape")
        strides, pads, (height, width) = _window(node, source.dims, tuple(kernel))
        if any(node.wholes("pads", [])) and not node.whole("count_include_pad", 0):
            raise Unsupported(f"{node} has attributes that are not supported")
        channels = source.channels
        weight = np.full((channels, 1, *kernel), 1 / math.prod(kernel), np.float32)
        out = self._tensor(channels, height, width)
        bias = np.zeros(channels, np.float32)
        return self._add(Conv(source, out, weight, bias, strides, pads, depthwise=True))

    def resize(self, node: Node, inputs: list[Any]) -> Tensor:
        """Resize by nearest neighbour to a multiple of the size, for which all rounding rules give the same pixels."""
        source = _the_tensor(node, inputs)
        sizes = inputs[3] if len(inputs) > 3 else None
        if sizes is not None:
            dims = tuple(int(n) for n in sizes)
        else:  # pixels are located by the scale itself, so 2.01 is not 2
            scales = np.asarray(inputs[2], np.float64)
            if not np.array_equal(scales, np.round(scales)) or np.max(scales) > _MAX_SIDE:
                raise Unsupported(f"{node} does not repeat each pixel a whole number of times")
            dims = tuple(n * int(scale) for n, scale in zip(source.dims, scales, strict=True))
        if len(dims) != 4 or dims[:2] != source.dims[:2]:
            raise Unsupported(f"{node} is not supported")
        if node.text("mode", "nearest") != "nearest":
            raise Unsupported(f"{node} interpolates; only nearest is supported")
        factors = (dims[2] // source.height, dims[3] // source.width)
        if min(factors) < 1:
            raise Unsupported(f"{node} does not repeat each pixel a whole number of times")
        out = self._tensor(*dims[1:])
        for size, factor, new in zip(source.dims[2:], factors, dims[2:], strict=True):
            if size * factor != new or not _repeats(node, new, factor):
                raise Unsupported(f"{node} does not repeat each pixel a whole number of times")
        return self._add(Upsample(source, out, factors))

    # ---- the image's samples, channels side by side, and rows of the result ----

    def slice(self, node: Node, inputs: list[Any]) -> Value:
        source = inputs[0]
        for axis, start, end, step in slice_ranges(node, inputs, source.dims):
            whole = (start, end, step) == (0, source.dims[axis], 1)
            if whole:
                continue
            if isinstance(source, PictureView):
                source = _sampled(node, source, axis, start, end, step)
            elif isinstance(source, Cells) and step == 1 and axis == (1 if source.turned else 2):
                source = _columns(source, start, end)
            elif isinstance(source, Tensor) and step == axis == 1 and start < end:
                source = self._part(node, source, np.arange(start, end))
            else:
                raise Unsupported(f"{node} is not supported here")
        return source  # type: ignore[no-any-return]

    def split(self, node: Node, inputs: list[Any]) -> list[Value]:
        source = inputs[0]
        if isinstance(source, Heads) and not source.turned and node.whole("axis", 0) % 4 == 2:
            sizes = split_sizes(node, inputs, source.count)
            starts = source.first + np.cumsum([0, *sizes])
            return [replace(source, first=int(at), count=count) for at, count in zip(starts, sizes, strict=False)]
        if not isinstance(source, Tensor) or node.whole("axis", 0) % 4 != 1:
            raise Unsupported(f"{node} is not supported here")
        parts, first = list[Value](), 0
        for count in split_sizes(node, inputs, source.channels):
            parts.append(self._part(node, source, np.arange(first, first + count)))
            first += count
        return parts

    def _part(self, node: Node, tensor: Tensor, channels: NDArray[np.int64]) -> Tensor:
        """Return some channels of a tensor, computed by separate convolutions: a channel's sum does not depend on the
        others."""
        maker = self._maker[tensor]
        out = self._tensor(len(channels), tensor.height, tensor.width)
        if isinstance(maker, Elementwise) and maker.other is None:
            return self._add(Elementwise(self._part(node, maker.source, channels), out, maker.activation))
        if not isinstance(maker, Conv):
            raise Unsupported(f"{node} parts what no convolution makes")
        source = maker.source
        if maker.depthwise and source is not None:
            source = self._part(node, source, channels)
        return self._add(
            replace(maker, source=source, out=out, weight=maker.weight[channels], bias=maker.bias[channels])
        )

    def concat(self, node: Node, inputs: list[Any]) -> Value:
        axis = node.whole("axis") % len(inputs[0].dims)
        if axis == 1 and all(isinstance(value, PictureView) for value in inputs):
            return _stacked(node, inputs)
        if axis == 1 and all(isinstance(value, Tensor) for value in inputs):
            if len({value.dims[2:] for value in inputs}) != 1:
                raise Unsupported(f"{node} joins tensors of several sizes")
            channels = sum(value.channels for value in inputs)
            return self._add(Concat(list(inputs), self._tensor(channels, *inputs[0].dims[2:])))
        if axis and all(isinstance(value, Cells) and value.turned == inputs[0].turned for value in inputs):
            return _side_by_side(node, inputs, down=axis == (2 if inputs[0].turned else 1))
        raise Unsupported(f"{node} is not supported on these operands")

    def reshape(self, node: Node, inputs: list[Any]) -> Value:
        """Reshape (1, C, H, W) to (1, C, H * W), before rows of the result or heads of attention; and what is in the
        order of pixels to anything."""
        source = inputs[0]
        dims = reshaped(node, source.dims, inputs[1])
        if dims == source.dims:
            return source  # type: ignore[no-any-return]
        if isinstance(source, Heads):
            return self._from_heads(node, source, dims)
        if isinstance(source, Pixels):
            return Pixels(source.tensor, dims)
        if isinstance(source, Cells) and (tensor := _only_tensor(source)):
            return Pixels(tensor, dims)
        heads = dims[1] if len(dims) == 4 else 0
        if isinstance(source, Tensor) and heads and dims == Heads(source, heads, 0, source.channels // heads).dims:
            return Heads(source, heads, 0, dims[2])
        if not isinstance(source, Tensor) or dims != (1, source.channels, source.height * source.width):
            raise Unsupported(f"{node} turns {source.dims} into {dims}")
        parts = self._parts(source, 0)
        _check_patches(node, len(parts))
        patches = tuple(Patch(tensor, 0, tensor.channels, 0, column) for column, tensor in parts)
        return Cells(source.height * source.width, source.channels, patches, turned=True)

    def _parts(self, tensor: Tensor, column: int) -> list[tuple[int, Tensor]]:
        """Return the parts of a concatenated tensor and their first channels, so that each writes its own columns."""
        maker = self._maker[tensor]
        if not isinstance(maker, Concat):
            return [(column, tensor)]
        found = []
        for source in maker.sources:
            found += self._parts(source, column)
            column += source.channels
        return found

    def _from_heads(self, node: Node, source: Heads, dims: tuple[int, ...]) -> Tensor:
        """Reshape (1, heads, count, pixels) to (1, heads * count, H, W)."""
        tensor = source.tensor
        whole = (1, source.heads * source.count, tensor.height, tensor.width)
        if source.turned or source.factor != 1 or source.areas != 1 or dims != whole:
            raise Unsupported(f"{node} turns {source.dims} into {dims}")
        return self._of_heads(node, source)

    def _of_heads(self, node: Node, source: Heads) -> Tensor:
        """Return the channels of a part of each head as a separate tensor."""
        whole = source.heads * source.count == source.tensor.channels
        key = (source.tensor, source.heads, source.first, source.count)
        if key not in self._parted:
            self._parted[key] = source.tensor if whole else self._part(node, source.tensor, source.channels)
        return self._parted[key]

    # ---- attention ----

    def matmul(self, node: Node, inputs: list[Any]) -> Value:
        """Multiply queries with keys, or values with softmaxed scores, in either order."""
        first, second = inputs
        if isinstance(first, Heads) and isinstance(second, Heads):
            if not first.turned or second.turned or first.dims != (*second.dims[:2], *second.dims[:1:-1]):
                raise Unsupported(f"{node} multiplies {first.dims} and {second.dims}")
            return Scores(first, second, float(np.float32(first.factor * second.factor)))
        scores, values = (second, first) if isinstance(second, Scores) else (first, second)
        if not isinstance(scores, Scores) or not isinstance(values, Heads) or values.factor != 1:
            raise Unsupported(f"{node} is not supported on these operands")
        before = scores is first  # (queries, keys) with (keys, count), or (count, keys) with (keys, queries)
        if (scores.turned, values.turned) != (not before, before) or not scores.softmaxed:
            raise Unsupported(f"{node} is not supported on these operands")
        queries, keys, heads = scores.queries, scores.keys, values.heads
        if (values.areas, heads, values.pixels) != (keys.areas, keys.heads, keys.pixels):
            raise Unsupported(f"{node} multiplies {first.dims} and {second.dims}")
        if queries.count % BLOCK or values.count % BLOCK:
            raise Unsupported(
                f"{node} has heads of {queries.count} and {values.count} channels, no multiples of {BLOCK}"
            )
        if queries.count > MAX_DEPTH:
            raise Unsupported(f"{node} has heads of {queries.count} channels")
        read = (self._of_heads(node, queries), self._of_heads(node, keys), self._of_heads(node, values))
        out = self._tensor(heads * values.count, queries.tensor.height, queries.tensor.width)
        self._add(Attention(*read, out, heads, scores.factor, values.areas))
        return Heads(out, heads, 0, values.count, turned=before, areas=values.areas)

    def softmax(self, node: Node, inputs: list[Any]) -> Scores:
        source = inputs[0]
        if not isinstance(source, Scores) or source.softmaxed or source.turned or node.whole("axis", -1) not in (-1, 3):
            raise Unsupported(f"{node} is not supported here")
        return replace(source, softmaxed=True)

    def transpose(self, node: Node, inputs: list[Any]) -> Value:
        source, order = inputs[0], node.wholes("perm", [])
        if isinstance(source, Heads | Scores) and order == [0, 1, 3, 2]:
            return replace(source, turned=not source.turned)
        if isinstance(source, Heads) and order == [0, 3, 1, 2] and not source.turned and source.factor == 1:
            return Pixels(self._of_heads(node, source), (source.areas, source.pixels, source.heads, source.count))
        if isinstance(source, Pixels):
            return _by_channels(node, source, order)
        if not isinstance(source, Cells) or order != [0, 2, 1]:
            raise Unsupported(f"{node} is not supported here")
        return Cells(source.rows, source.columns, source.patches, not source.turned)

    def same(self, node: Node, inputs: list[Any]) -> Value:
        if node.op_type == "Dropout" and len(inputs) > 2:
            raise Unsupported(f"{node} is not supported")
        return inputs[0]  # type: ignore[no-any-return]


_HANDLERS: dict[str, Callable[[_Trace, Node, list[Any]], Any]] = {
    "Conv": _Trace.conv,
    "BatchNormalization": _Trace.batch_norm,
    "Add": _Trace.arithmetic,
    "Sub": _Trace.arithmetic,
    "Mul": _Trace.arithmetic,
    "Div": _Trace.arithmetic,
    "Sigmoid": _Trace.activation,
    "Relu": _Trace.activation,
    "LeakyRelu": _Trace.activation,
    "Clip": _Trace.activation,
    "HardSigmoid": _Trace.activation,
    "HardSwish": _Trace.activation,
    "MaxPool": _Trace.max_pool,
    "AveragePool": _Trace.average_pool,
    "Resize": _Trace.resize,
    "Slice": _Trace.slice,
    "Split": _Trace.split,
    "Concat": _Trace.concat,
    "Reshape": _Trace.reshape,
    "Transpose": _Trace.transpose,
    "MatMul": _Trace.matmul,
    "Softmax": _Trace.softmax,
    "Identity": _Trace.same,
}


def _fits(height: int, width: int) -> bool:
    return 1 <= height <= _MAX_SIDE and 1 <= width <= _MAX_SIDE and height * width <= _MAX_PIXELS


def _check_patches(node: Node, count: int) -> None:
    if count > _MAX_PATCHES:
        raise Unsupported(f"{node} makes a result of {count} parts")


def _float32(node: Node, value: Any) -> Floats:
    if not isinstance(value, np.ndarray) or value.dtype != np.float32:
        raise Unsupported(f"{node} has weights that are not float32 constants")
    return value


def _the_tensor(node: Node, inputs: list[Any]) -> Tensor:
    if not isinstance(inputs[0], Tensor):
        raise Unsupported(f"{node} is not supported here")
    return inputs[0]


def _window(
    node: Node, dims: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return strides, top and left padding, and the output size of a sliding window."""
    strides = node.wholes("strides", [1, 1])
    pads = node.wholes("pads", [0, 0, 0, 0])
    automatic = node.text("auto_pad", "NOTSET")
    if automatic not in ("NOTSET", "VALID") or (automatic == "VALID" and any(pads)):
        raise Unsupported(f"{node} has auto_pad {automatic}")
    if node.whole("ceil_mode", 0):
        raise Unsupported(f"{node} has attributes that are not supported")
    if any(n != 1 for n in node.wholes("dilations", [])):
        raise Unsupported(f"{node} is dilated")
    if len(kernel) != 2 or len(strides) != 2 or len(pads) != 4 or min(*kernel, *strides) < 1 or max(strides) > 64:
        raise Unsupported(f"{node} has a window of {kernel}, strides of {strides} and pads of {pads}")
    if max(kernel) > 64 or any(not 0 <= pad < kernel[i % 2] for i, pad in enumerate(pads)):
        raise Unsupported(f"{node} has a window of {kernel} with pads of {pads}")
    sizes = []
    for axis in (0, 1):
        room = dims[2 + axis] + pads[axis] + pads[2 + axis] - kernel[axis]
        if room < 0:
            raise Unsupported(f"{node} has a window larger than what it slides over")
        sizes.append(room // strides[axis] + 1)
    return (strides[0], strides[1]), (pads[0], pads[1]), (sizes[0], sizes[1])


def _dense(node: Node, weight: Floats, groups: int) -> Floats:
    """Return weights (O, I / groups, ...) as (O, I, ...), with zeros outside a group's channels; for the few channels
    of an image."""
    if groups == 1:
        return weight
    _check_spread(node, weight.size * groups)
    out, per_group = weight.shape[0] // groups, weight.shape[1]
    dense = np.zeros((weight.shape[0], per_group * groups, *weight.shape[2:]), np.float32)
    for group in range(groups):
        rows = slice(group * out, (group + 1) * out)
        dense[rows, group * per_group : (group + 1) * per_group] = weight[rows]
    return dense


def _check_spread(node: Node, size: int) -> None:
    if size > _MAX_SPREAD:
        raise Unsupported(f"{node} would have {size} weights, most of them 0")


def _folded(
    node: Node,
    view: PictureView,
    out: Tensor,
    weight: Floats,
    bias: Floats,
    strides: tuple[int, int],
    pads: tuple[int, int],
) -> Conv:
    """Convert a convolution of a view to one of the image: the kernel is spread to the positions of its samples.

    Row y of the view's channel is row y * step + row of the image's, so kernel row k becomes k * step + row, and the
    stride and the padding become `step` times as large. Exact while the steps divide the image: then a row beyond
    the view is a row beyond the image.
    """
    (height, width), (down, across) = view.size, view.steps
    if height % down or width % across or max(down, across) > _MAX_STEP:
        raise Unsupported(f"{node} reads samples that do not divide the picture")
    channels = 1 + max(sample.channel for sample in view.samples)
    factor, summand = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    shape = (len(weight), channels, weight.shape[2] * down, weight.shape[3] * across)
    _check_spread(node, math.prod(shape))
    spread = np.zeros(shape, np.float32)
    numbers: dict[int, tuple[float, float]] = {}
    for i, (channel, row, column) in enumerate(view.samples):
        spread[:, channel, row::down, column::across] += weight[:, i]
        here = (float(view.factor[i]), float(view.summand[i]))
        if numbers.setdefault(channel, here) != here:
            raise Unsupported(f"{node} reads one channel of the picture at several scales")
        factor[channel], summand[channel] = here
    plain = np.all(factor == 1) and not np.any(summand)
    return Conv(
        None,
        out,
        spread,
        bias,
        (strides[0] * down, strides[1] * across),
        (pads[0] * down, pads[1] * across),
        picture=(channels, height, width),
        affine=None if plain else (factor, summand),
    )


def _per_channel(node: Node, constant: Any, channels: int) -> Any:
    """Return a constant that is one number, or one per channel, as (channels,) float32."""
    if constant.dtype.kind != "f" or constant.ndim > 4:
        raise Unsupported(f"{node} has an operand of {constant.dtype}")
    shape = (1,) * (4 - constant.ndim) + constant.shape
    if shape[0] != 1 or shape[2] != 1 or shape[3] != 1 or shape[1] not in (1, channels):
        raise Unsupported(f"{node} has an operand {constant.shape}, neither one number nor one a channel")
    return np.broadcast_to(constant.reshape(-1), (channels,)).astype(np.float32)


def _multiplied(node: Node, source: Heads | Scores, constant: Any, constant_first: bool) -> Heads | Scores:
    """Return scores, or queries or keys before they become scores, multiplied (or divided) by a positive number: it
    keeps the order of the scores."""
    softmaxed = isinstance(source, Scores) and source.softmaxed
    if not isinstance(constant, np.ndarray) or constant.size != 1 or constant.ndim > 4 or softmaxed:
        raise Unsupported(f"{node} is not supported on these operands")
    number = float(_float32(node, constant).reshape(()))
    if node.op_type not in ("Mul", "Div") or (node.op_type == "Div" and constant_first) or not 0 < number < math.inf:
        raise Unsupported(f"{node} is not supported on scores")
    factor = source.factor * number if node.op_type == "Mul" else source.factor / number
    return replace(source, factor=float(np.float32(factor)))


def _activation(node: Node, inputs: list[Any]) -> Activation:
    if node.op_type == "LeakyRelu":
        return Activation("leaky_relu", node.real("alpha", 0.01))
    if node.op_type == "HardSigmoid":
        return Activation("hard_sigmoid", node.real("alpha", 0.2), node.real("beta", 0.5))
    if node.op_type == "HardSwish":
        return Activation("hard_swish", 1 / 6, 0.5)
    if node.op_type == "Clip":
        low, high = (
            _float32(node, inputs[i]).reshape(()) if len(inputs) > i and inputs[i] is not None else otherwise
            for i, otherwise in ((1, -np.inf), (2, np.inf))
        )
        return Activation("clip", float(low), float(high))
    return Activation(node.op_type.lower())


def _repeats(node: Node, size: int, factor: int) -> bool:
    """Return whether output pixel x is input pixel x // factor under the node's rules. `size` is the output's."""
    x = np.arange(size, dtype=np.float64)
    how = node.text("coordinate_transformation_mode", "half_pixel")
    if how == "asymmetric":
        at = x / factor
    elif how == "half_pixel" or (how == "pytorch_half_pixel" and size > 1):
        at = (x + 0.5) / factor - 0.5
    else:
        return False
    rounding = node.text("nearest_mode", "round_prefer_floor")
    rules: dict[str, Callable[[Any], Any]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda v: np.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: np.floor(v + 0.5),
    }
    if rounding not in rules:
        return False
    found = np.clip(rules[rounding](at), 0, size // factor - 1)
    return bool(np.array_equal(found, x // factor))


def _sampled(node: Node, view: PictureView, axis: int, start: int, end: int, step: int) -> PictureView:
    """Return every step-th row or column from `start` to the last; or some of the channels."""
    factor, summand, samples, steps = view.factor, view.summand, view.samples, list(view.steps)
    size = view.dims[axis]
    if step > _MAX_STEP:
        raise Unsupported(f"{node} takes every {step}th pixel")
    if axis == 1:
        kept = slice(start, end, step)
        factor, summand, samples = factor[kept], summand[kept], samples[kept]
        if not samples:
            raise Unsupported(f"{node} keeps no channel")
    elif axis in (2, 3) and end == size and start < step and size % step == 0:
        offset = start * steps[axis - 2]
        samples = tuple(
            Sample(c, row + offset, column) if axis == 2 else Sample(c, row, column + offset)
            for c, row, column in samples
        )
        steps[axis - 2] *= step
    else:
        raise Unsupported(f"{node} cuts a part out of the picture")
    return PictureView(view.size, samples, (steps[0], steps[1]), factor, summand)


def _stacked(node: Node, views: list[PictureView]) -> PictureView:
    first = views[0]
    if any(view.steps != first.steps or view.dims[2:] != first.dims[2:] for view in views):
        raise Unsupported(f"{node} joins views of several sizes")
    if (count := sum(len(view.samples) for view in views)) > _MAX_SAMPLES:
        raise Unsupported(f"{node} joins {count} samples of the picture")
    samples = tuple(sample for view in views for sample in view.samples)
    return PictureView(
        first.size,
        samples,
        first.steps,
        np.concatenate([view.factor for view in views]),
        np.concatenate([view.summand for view in views]),
    )


def _only_tensor(cells: Cells) -> Tensor | None:
    """Return the tensor of which the cells are the pixels, with all its channels; None if there is none."""
    first = cells.patches[0]
    whole = first.tensor.channels == cells.columns and first.rows == cells.rows and first.activation == NOTHING
    return first.tensor if whole and not cells.turned else None


def _by_channels(node: Node, pixels: Pixels, order: list[int]) -> Tensor | Heads:
    """Return (1, H, W, C) as the tensor (1, C, H, W), or (areas, pixels, heads, count) as heads."""
    tensor, dims = pixels.tensor, pixels.dims
    if order == [0, 3, 1, 2] and dims == (1, tensor.height, tensor.width, tensor.channels):
        return tensor
    if order == [0, 2, 3, 1] and len(dims) == 4 and dims[2] * dims[3] == tensor.channels:
        return Heads(tensor, dims[2], 0, dims[3], areas=dims[0])
    raise Unsupported(f"{node} is not supported here")


def _columns(cells: Cells, start: int, end: int) -> Cells:
    patches = []
    for patch in cells.patches:
        low, high = max(start, patch.column), min(end, patch.column + patch.channels)
        if low < high:
            first = patch.first + low - patch.column
            patches.append(Patch(patch.tensor, first, high - low, patch.row, low - start, patch.activation))
    return Cells(cells.rows, end - start, tuple(patches), cells.turned)


def _side_by_side(node: Node, parts: list[Cells], *, down: bool) -> Cells:
    if len({part.columns if down else part.rows for part in parts}) != 1:
        raise Unsupported(f"{node} joins results of several sizes")
    _check_patches(node, sum(len(part.patches) for part in parts))
    patches, row, column = [], 0, 0
    for part in parts:
        patches += [
            Patch(p.tensor, p.first, p.channels, p.row + row, p.column + column, p.activation) for p in part.patches
        ]
        row, column = (row + part.rows, column) if down else (row, column + part.columns)
    rows, columns = (row, parts[0].columns) if down else (parts[0].rows, column)
    return Cells(rows, columns, tuple(patches), parts[0].turned)
