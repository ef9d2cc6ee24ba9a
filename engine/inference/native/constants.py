"""Nodes that only compute with constants, mostly sizes; evaluated while tracing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.inference.native.graph import Node
from engine.inference.native.ops import Unsupported

Array = NDArray[Any]

_LARGEST = 1 << 24  # elements: a constant is a number, a size or a weight
_DTYPES = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}


def slice_ranges(node: Node, inputs: Sequence[Any], dims: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """Return (axis, start, end, step) of a Slice, start and end within the dimension; steps are positive."""
    starts, ends = (np.asarray(value).tolist() for value in inputs[1:3])
    axes = np.asarray(inputs[3]).tolist() if len(inputs) > 3 and inputs[3] is not None else list(range(len(starts)))
    steps = np.asarray(inputs[4]).tolist() if len(inputs) > 4 and inputs[4] is not None else [1] * len(starts)
    ranges = []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise Unsupported(f"{node} slices backwards")
        size = dims[axis]
        first, last, _ = slice(start, end).indices(size)
        ranges.append((axis % len(dims), first, max(first, last), step))
    return ranges


def asked_dims(node: Node, dims: Sequence[int]) -> Array:
    """Return the dimensions that a Shape node selects."""
    end = node.whole("end") if "end" in node.attributes else None
    return np.array(dims[node.whole("start", 0) : end], np.int64)


def axes_of(node: Node, inputs: Sequence[Any]) -> list[int] | None:
    """Return the axes of Squeeze and Unsqueeze: an input since opset 13, an attribute before."""
    if len(inputs) > 1 and inputs[1] is not None:
        axes: list[int] = np.asarray(inputs[1]).reshape(-1).tolist()
        return axes
    return node.wholes("axes") if "axes" in node.attributes else None


def reshaped(node: Node, dims: Sequence[int], target: Array) -> tuple[int, ...]:
    """Return the dimensions of a Reshape's result: 0 keeps one (unless `allowzero`), -1 takes the rest."""
    wanted = target.reshape(-1).tolist()
    if not node.whole("allowzero", 0):
        wanted = [dims[i] if n == 0 else n for i, n in enumerate(wanted)]
    known = int(np.prod([n for n in wanted if n != -1], dtype=np.int64))
    total = int(np.prod(dims, dtype=np.int64))
    if -1 in wanted:
        if known <= 0 or total % known or wanted.count(-1) > 1:
            raise Unsupported(f"{node} does not fit")
        wanted[wanted.index(-1)] = total // known
    elif known != total:
        raise Unsupported(f"{node} does not fit")
    return tuple(wanted)


def split_sizes(node: Node, inputs: Sequence[Any], size: int) -> list[int]:
    """Return the sizes of a Split's parts of `size`: an input since opset 13, an attribute before; otherwise they are
    equal, except for the last."""
    if len(inputs) > 1 and inputs[1] is not None:
        sizes: list[int] = np.asarray(inputs[1]).reshape(-1).tolist()
    elif "split" in node.attributes:
        sizes = node.wholes("split")
    else:
        part = -(-size // len(node.outputs))
        sizes = [part] * (len(node.outputs) - 1)
        sizes.append(size - sum(sizes))
    if sum(sizes) != size or len(sizes) != len(node.outputs) or min(sizes) < 1:
        raise Unsupported(f"{node} does not fit")
    return sizes


def cut_of(node: Node, inputs: Sequence[Any]) -> tuple[slice, ...]:
    """Return what a Slice takes of its first input."""
    cut = [slice(None)] * inputs[0].ndim
    for axis, start, end, step in slice_ranges(node, inputs, inputs[0].shape):
        cut[axis] = slice(start, end, step)
    return tuple(cut)


def evaluate(node: Node, inputs: Sequence[Any]) -> Array:
    """Evaluate a node whose inputs are all arrays. Raises Unsupported."""
    how = _EVALUATE.get(node.op_type)
    if how is None:
        raise Unsupported(f"{node} is not among the operators on constants")
    _check_size(node, _most(node, inputs))
    with np.errstate(all="ignore"):
        value = np.asarray(how(node, inputs))
    _check_size(node, value.size)
    return value


def evaluator(node: Node) -> Callable[[Node, Sequence[Any]], Any] | None:
    """Return how a node is evaluated whose output is as large as it was before, without a check; None if its size
    depends on more than the sizes of its inputs, or if it is unknown."""
    return None if node.op_type in _OF_VALUES else _EVALUATE.get(node.op_type)


def _most(node: Node, inputs: Sequence[Any]) -> int:
    """Return the number of output elements of a node that may produce more than it reads."""
    if node.op_type == "Range":
        start, limit, delta = (float(np.asarray(value).reshape(())) for value in inputs)
        return math.ceil((limit - start) / delta)
    if node.op_type == "Expand":
        return math.prod(_expanded(node, inputs))
    if node.op_type == "ConstantOfShape":
        return math.prod(int(n) for n in inputs[0])
    if node.op_type in ("Add", "Sub", "Mul", "Div", "Pow"):
        return math.prod(np.broadcast_shapes(*(value.shape for value in inputs)))
    if node.op_type == "Concat":
        return sum(value.size for value in inputs)
    if node.op_type == "Gather":
        chosen: int = inputs[0].size // max(1, inputs[0].shape[node.whole("axis", 0)])
        return chosen * int(inputs[1].size)
    return 0


def _check_size(node: Node, size: int) -> None:
    if size > _LARGEST:
        raise Unsupported(f"{node} makes a constant of {size} elements")


def _constant(node: Node, inputs: Sequence[Any]) -> Any:
    for name, dtype in (("value_int", np.int64), ("value_ints", np.int64), ("value_float", np.float32)):
        if name in node.attributes:
            return np.asarray(node.attributes[name], dtype)
    return node.attributes["value"]


def _cast(node: Node, inputs: Sequence[Any]) -> Any:
    kind = node.whole("to")
    if kind not in _DTYPES:
        raise Unsupported(f"{node} casts to type {kind}")
    return inputs[0].astype(_DTYPES[kind])


def _divide(node: Node, inputs: Sequence[Any]) -> Any:
    first, second = inputs
    if first.dtype.kind in "iu":
        if not np.all(second):
            raise Unsupported(f"{node} divides by zero")
        return (np.sign(first) * np.sign(second) * (np.abs(first) // np.abs(second))).astype(first.dtype)
    return first / second


def _sliced(node: Node, inputs: Sequence[Any]) -> Any:
    return inputs[0][cut_of(node, inputs)]


def _squeezed(node: Node, inputs: Sequence[Any]) -> Any:
    axes = axes_of(node, inputs)
    return np.squeeze(inputs[0], None if axes is None else tuple(axes))


def _range(node: Node, inputs: Sequence[Any]) -> Any:
    start, limit, delta = (np.asarray(value).reshape(()) for value in inputs)
    return np.arange(start.item(), limit.item(), delta.item()).astype(start.dtype)


def _expanded(node: Node, inputs: Sequence[Any]) -> tuple[int, ...]:
    return np.broadcast_shapes(inputs[0].shape, tuple(int(n) for n in inputs[1]))


def _filled(node: Node, inputs: Sequence[Any]) -> Any:
    value = np.asarray(node.attributes.get("value", np.zeros(1, np.float32))).reshape(-1)
    return np.full(tuple(int(n) for n in inputs[0]), value[0], value.dtype)


def _permutation(node: Node) -> list[int] | None:
    return node.wholes("perm") if "perm" in node.attributes else None


_OF_VALUES = ("ConstantOfShape", "Expand", "Range", "Reshape", "Slice")
_EVALUATE: dict[str, Callable[[Node, Sequence[Any]], Any]] = {
    "Constant": _constant,
    "Identity": lambda node, inputs: inputs[0],
    "Shape": lambda node, inputs: asked_dims(node, inputs[0].shape),
    "Cast": _cast,
    "Add": lambda node, inputs: inputs[0] + inputs[1],
    "Sub": lambda node, inputs: inputs[0] - inputs[1],
    "Mul": lambda node, inputs: inputs[0] * inputs[1],
    "Div": _divide,
    "Neg": lambda node, inputs: -inputs[0],
    "Pow": lambda node, inputs: np.power(inputs[0], inputs[1]).astype(inputs[0].dtype, copy=False),
    "Range": _range,
    "Expand": lambda node, inputs: np.broadcast_to(inputs[0], _expanded(node, inputs)).copy(),
    "ConstantOfShape": _filled,
    "Floor": lambda node, inputs: np.floor(inputs[0]),
    "Ceil": lambda node, inputs: np.ceil(inputs[0]),
    "Sqrt": lambda node, inputs: np.sqrt(inputs[0]),
    "Concat": lambda node, inputs: np.concatenate(inputs, node.whole("axis")),
    "Gather": lambda node, inputs: np.take(inputs[0], inputs[1], node.whole("axis", 0)),
    "Slice": _sliced,
    "Reshape": lambda node, inputs: inputs[0].reshape(reshaped(node, inputs[0].shape, inputs[1])),
    "Transpose": lambda node, inputs: np.transpose(inputs[0], _permutation(node)),
    "Squeeze": _squeezed,
    "Unsqueeze": lambda node, inputs: np.expand_dims(inputs[0], tuple(axes_of(node, inputs) or ())),
}
