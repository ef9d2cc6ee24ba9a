"""ONNX graph surgery: make the batch, height and width of a fixed-shape export dynamic.

The graph is traversed once, in order, with two known shapes of every tensor: as exported, and at a probe size that
differs in batch, height and width. If a constant in the graph prevents the second shape, it is made relative: a
Reshape's target, a Resize's sizes, a Slice's end, a grid of the detection head (see `grids`). A constant that can't be
made relative is an error that names the node. The result is verified by running it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from models.errors import ReshapeError
from models.grids import GridBuilder, recognise
from models.reshape_target import Copy, Entry, relative_target
from models.shape_inference import ShapeWalk, label
from models.tensor_info import dims_text

Array = np.ndarray[Any, np.dtype[Any]]

BROADCASTING = ("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where", "PRelu", "Mod")
PREFIX = "freed/"

_INT64_MAX = 2**63 - 1


def free_shape(model: onnx.ModelProto, stride: int = 32, strides: Sequence[int] = (8, 16, 32)) -> onnx.ModelProto:
    """Return a copy of `model` whose input is `(batch, 3, height, width)`, height and width any multiples of `stride`.

    strides   cell sizes of the detection levels, see `ModelManifest`
    Raises ReshapeError, which names the obstructing node, if that is impossible.
    """
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    if all(not d.dim_value for i, d in enumerate(_picture(freed).type.tensor_type.shape.dim) if i != 1):
        return freed
    return _Surgery(freed, stride, tuple(strides)).run()


def _picture(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise ReshapeError("cannot free: the model must have one input (N, 3, H, W).")
    return inputs[0]


class _Surgery:
    def __init__(self, model: onnx.ModelProto, stride: int, strides: tuple[int, ...]) -> None:
        self._model = model
        self._strides = strides
        opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
        if opset < 11:
            raise ReshapeError(f"cannot free: the model has opset {opset}. Export it again with opset 11 or later.")
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
            raise ReshapeError("cannot free: the weights are in a second file. Save the model as one file.")
        if any(node.name.startswith(PREFIX) for node in model.graph.node):
            raise ReshapeError("cannot free: the model was freed before, and its input was fixed again.")
        self._input = _picture(model)
        dims = [dim.dim_value for dim in self._input.type.tensor_type.shape.dim]
        self._size = (dims[2] or 20 * stride, dims[3] or 20 * stride)
        if self._size[0] % stride or self._size[1] % stride:
            raise ReshapeError(
                f"cannot free: the input {dims[2]} x {dims[3]} is not a multiple of the stride {stride}."
            )
        # Different enough from the exported size, and from each other, that no two dimensions coincide.
        self._probe = (self._size[0] + 3 * stride, self._size[1] + 7 * stride)
        batch = dims[0] or 1
        self._walk = ShapeWalk(model, self._input.name, (batch, 3, *self._size), (batch + 2, 3, *self._probe))
        self._nodes: list[onnx.NodeProto] = []
        self._counter = 0
        self._grid_of: dict[str, str] = {}
        self._grids = GridBuilder(self._input.name, self._emit, self._constant)

    def run(self) -> onnx.ModelProto:
        graph = self._model.graph
        for node in list(graph.node):
            edited = onnx.NodeProto()
            edited.CopyFrom(node)
            if not self._walk.is_constant(node):
                self._edit(edited)
            self._walk.step(edited)
            self._nodes.append(edited)
        del graph.node[:]
        graph.node.extend(self._nodes)
        del graph.value_info[:]
        self._name_dims()
        self._drop_unused()
        return self._model

    # Edits don't change what already follows the size.

    def _edit(self, node: onnx.NodeProto) -> None:
        if node.op_type == "Reshape":
            self._edit_reshape(node)
        elif node.op_type == "Resize":
            self._edit_resize(node)
        elif node.op_type == "Slice":
            self._edit_slice(node)
        elif node.op_type == "Split":
            self._check_split(node)
        elif node.op_type in BROADCASTING:
            self._edit_operands(node)

    def _edit_reshape(self, node: onnx.NodeProto) -> None:
        target = self._walk.constant(node.input[1])
        source, source_probe = self._walk.dims(node.input[0])
        if target is None or source == source_probe:
            return
        allow_zero = any(a.name == "allowzero" and a.i for a in node.attribute)
        exported = [source[i] if d == 0 and not allow_zero else int(d) for i, d in enumerate(target.tolist())]
        if -1 in exported:
            known = -_product(exported)
            exported[exported.index(-1)] = _product(source) // max(known, 1)
        entries = relative_target(source, source_probe, exported, self._size, self._probe, self._strides)
        if entries is None:
            raise ReshapeError(
                f"cannot free: node {label(node)} reshapes {dims_text(source)} to {dims_text(tuple(exported))}, "
                "and which of these follow the input's size is not clear."
            )
        for attribute in list(node.attribute):
            if attribute.name == "allowzero":
                node.attribute.remove(attribute)
        node.input[1] = self._target(node.input[0], entries, source)

    def _target(self, source: str, entries: list[Entry], dims: tuple[int, ...]) -> str:
        """Return the name of the int64 target: a constant with 0 (copied) and -1 (the rest) if that is sufficient."""
        short: list[int | None] = []
        for position, entry in enumerate(entries):
            copied = isinstance(entry, Copy) and entry.dims == (position,)
            short.append(0 if copied else entry if isinstance(entry, int) else None)
        if short.count(None) <= 1:
            return self._constant(np.array([-1 if d is None else d for d in short], np.int64))
        shape = self._emit("Shape", [source])
        parts = []
        for entry in entries:
            if isinstance(entry, int):
                parts.append(self._constant(np.array([entry], np.int64)))
            elif isinstance(entry, Copy):
                at = [
                    self._constant(np.array([i], np.int64)) for i in entry.dims if dims[i] != 1 or len(entry.dims) == 1
                ]
                factors = [self._emit("Gather", [shape, index], axis=0) for index in at]
                product = factors[0]
                for factor in factors[1:]:
                    product = self._emit("Mul", [product, factor])
                parts.append(product)
            else:
                parts.append(self._grids.extent(entry.axis, entry.stride))
        return self._emit("Concat", parts, axis=0)

    def _edit_resize(self, node: onnx.NodeProto) -> None:
        if len(node.input) < 4 or not node.input[3]:
            return
        sizes = self._walk.constant(node.input[3])
        source, source_probe = self._walk.dims(node.input[0])
        if sizes is None or source == source_probe:
            return
        if len(sizes) != len(source) or any(
            big % small and small % big for big, small in zip(sizes.tolist(), source, strict=True)
        ):
            raise ReshapeError(
                f"cannot free: node {label(node)} resizes {dims_text(source)} to {sizes.tolist()}, no whole multiple "
                "or fraction."
            )
        node.input[2] = self._constant(np.array(sizes / np.array(source), np.float32))
        del node.input[3:]

    def _edit_slice(self, node: onnx.NodeProto) -> None:
        source, source_probe = self._walk.dims(node.input[0])
        given = [self._walk.constant(name) if name else None for name in node.input[1:]]
        if source == source_probe or given[0] is None or given[1] is None:
            return
        starts, ends = given[0].tolist(), given[1].tolist()
        axes = given[2].tolist() if len(given) > 2 and given[2] is not None else list(range(len(starts)))
        steps = given[3].tolist() if len(given) > 3 and given[3] is not None else [1] * len(starts)
        changed = False
        for k, axis in enumerate(axes):
            length = source[axis]
            if length == source_probe[axis]:
                continue
            if steps[k] < 1 or not 0 <= starts[k] < max(steps[k], 1) or not (ends[k] >= length):
                raise ReshapeError(
                    f"cannot free: node {label(node)} cuts axis {axis} of {dims_text(source)} at fixed places, "
                    f"{starts[k]} to {ends[k]}."
                )
            changed = changed or ends[k] != _INT64_MAX
            ends[k] = _INT64_MAX
        if changed:
            node.input[2] = self._constant(np.array(ends, np.int64))

    def _check_split(self, node: onnx.NodeProto) -> None:
        source, source_probe = self._walk.dims(node.input[0])
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
        sized = any(a.name == "split" for a in node.attribute) or (len(node.input) > 1 and node.input[1])
        if sized and source[axis] != source_probe[axis]:
            raise ReshapeError(
                f"cannot free: node {label(node)} splits axis {axis} of {dims_text(source)} at fixed places."
            )

    def _edit_operands(self, node: onnx.NodeProto) -> None:
        """Replace constant operands along axes that follow the size."""
        shapes = [self._walk.dims(name) for name in node.input]
        for position, name in enumerate(node.input):
            shape = shapes[position][0]
            if shapes[position][0] != shapes[position][1] or not any(d != 1 for d in shape):
                continue
            follows = self._following_axes(shape, [s for i, s in enumerate(shapes) if i != position])
            if not follows:
                continue
            constant = self._walk.constant(name)
            if constant is None:
                raise ReshapeError(f"cannot free: node {label(node)} has an operand {dims_text(shape)} of fixed size.")
            key = f"{name}:{sorted(follows.items())}"
            if key not in self._grid_of:
                axes = sorted(follows)
                elsewhere = [follows[axis] for axis in axes]
                plan = recognise(constant, axes, self._size, elsewhere, self._probe, self._strides)
                if plan is None:
                    raise ReshapeError(
                        f"cannot free: node {label(node)} uses a constant {dims_text(shape)} that follows the input's "
                        "size, and its values are not a known grid."
                    )
                self._grid_of[key] = self._grids.build(plan)
            node.input[position] = self._grid_of[key]

    @staticmethod
    def _following_axes(
        shape: tuple[int, ...], others: list[tuple[tuple[int, ...], tuple[int, ...]]]
    ) -> dict[int, int]:  # fmt: skip
        """Return the axes of `shape` whose partner has another length at the probe size, with that length."""
        found: dict[int, int] = {}
        for here, there in others:
            for back in range(1, min(len(shape), len(here)) + 1):
                if shape[-back] != 1 and here[-back] == shape[-back] and there[-back] != here[-back]:
                    found[len(shape) - back] = there[-back]
        return found

    # New parts of the graph.

    def _fresh(self) -> str:
        self._counter += 1
        return f"{PREFIX}{self._counter}"

    def _constant(self, array: Array) -> str:
        name = self._fresh()
        self._model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        self._walk.add_constant(name, array)
        return name

    def _emit(self, op_type: str, inputs: list[str], **attributes: int) -> str:
        name = self._fresh()
        node = onnx.helper.make_node(op_type, inputs, [name], name=f"{name}/{op_type}", **attributes)
        self._walk.step(node)
        self._nodes.append(node)
        return name

    def _name_dims(self) -> None:
        for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
            self._input.type.tensor_type.shape.dim[axis].dim_param = name
        for output in self._model.graph.output:
            here, there = self._walk.dims(output.name)
            following = [axis for axis in range(1, len(here)) if here[axis] != there[axis]]
            for axis, dim in enumerate(output.type.tensor_type.shape.dim):
                if here[axis] == there[axis]:
                    dim.dim_value = here[axis]
                elif axis == 0:
                    dim.dim_param = "batch"
                else:
                    dim.dim_param = "anchors" if len(following) == 1 else f"{output.name}_{axis}"

    def _drop_unused(self) -> None:
        """Remove unused constants, about which ONNX Runtime would warn."""
        graph = self._model.graph
        used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
        for node in [n for n in graph.node if n.op_type == "Constant" and n.output[0] not in used]:
            graph.node.remove(node)
        for tensor in [t for t in graph.initializer if t.name not in used]:
            graph.initializer.remove(tensor)
        kept = {tensor.name for tensor in graph.initializer} | {self._input.name}
        for value in [v for v in graph.input if v.name not in kept]:
            graph.input.remove(value)


def _product(dims: Sequence[int]) -> int:
    total = 1
    for dim in dims:
        total *= dim
    return total
