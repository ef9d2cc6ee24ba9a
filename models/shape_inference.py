"""Follow the shapes of a graph, node by node, at two sizes of its input at once.

Shapes come from ONNX's own inference for single nodes; small integer tensors (what Shape, Gather and Concat make of
shapes) are evaluated as well, since targets of Reshape, Expand and Slice may be computed from them.
"""

from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from models.errors import ReshapeError

Array = np.ndarray[Any, np.dtype[Any]]

_SMALL = 64


def label(node: onnx.NodeProto) -> str:
    """Return a node as a message names it: `/model.22/Add (Add)`."""
    return f"{node.name or node.output[0]} ({node.op_type})"


class ShapeWalk:
    """Shapes as exported ("here") and at the probe size ("there"). Nodes are to be stepped through in order."""

    def __init__(self, model: onnx.ModelProto, picture: str, here: tuple[int, ...], there: tuple[int, ...]) -> None:
        self._opsets = list(model.opset_import)
        self._versions = {o.domain: o.version for o in model.opset_import}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self._constant_nodes: dict[str, onnx.NodeProto] = {}
        self._constants: dict[str, Array] = {}
        self._types: list[dict[str, onnx.TypeProto]] = [{}, {}]
        self._values: list[dict[str, Array]] = [{}, {}]  # of small tensors computed from shapes
        for tensor in model.graph.initializer:
            kind = onnx.helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
            self._types[0][tensor.name] = self._types[1][tensor.name] = kind
        element = next(v.type.tensor_type.elem_type for v in model.graph.input if v.name == picture)
        for world, dims in enumerate((here, there)):
            self._types[world][picture] = onnx.helper.make_tensor_type_proto(element, list(dims))

    def add_constant(self, name: str, array: Array) -> None:
        """Register a constant that was added to the graph."""
        kind = onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        self._types[0][name] = self._types[1][name] = kind
        self._constants[name] = array

    def is_constant(self, node: onnx.NodeProto) -> bool:
        """Return whether a node's result depends on weights and constants only."""
        return all(self._is_constant(name) for name in node.input if name)

    def _is_constant(self, name: str) -> bool:
        return name in self._weights or name in self._constants or name in self._constant_nodes

    def constant(self, name: str) -> Array | None:
        """Return the value of a tensor that depends on weights and constants only, else None."""
        if name in self._constants:
            return self._constants[name]
        if name in self._weights:
            value: Array = onnx.numpy_helper.to_array(self._weights[name])
        elif name in self._constant_nodes:
            node = self._constant_nodes[name]
            feeds = {i: self.constant(i) for i in node.input if i}
            value = self._evaluate(node, feeds)[list(node.output).index(name)]
        else:
            return None
        self._constants[name] = value
        return value

    def dims(self, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shape of a tensor, here and there. An input left out ("") is a scalar."""
        if not name:
            return (), ()
        here, there = (self._types[world][name].tensor_type.shape.dim for world in (0, 1))
        return tuple(d.dim_value for d in here), tuple(d.dim_value for d in there)

    def step(self, node: onnx.NodeProto) -> None:
        """Take in the next node of the graph: infer its outputs, or raise ReshapeError."""
        if self.is_constant(node):
            for name in node.output:
                self._constant_nodes[name] = node
        for world in (0, 1):
            for name, kind in self._infer(node, world).items():
                self._types[world][name] = kind
            self._compute(node, world)

    def _infer(self, node: onnx.NodeProto, world: int) -> dict[str, onnx.TypeProto]:
        try:
            schema = onnx.defs.get_schema(node.op_type, self._versions.get(node.domain, 1), node.domain)
        except onnx.defs.SchemaError:
            raise ReshapeError(f"cannot free: node {label(node)} is of an operator not known to ONNX itself.") from None
        names = {name for name in node.input if name}
        kinds = {name: self._types[world][name] for name in names}
        data = {name: tensor for name in names if (tensor := self._small(name, world)) is not None}
        try:
            found: dict[str, onnx.TypeProto] = onnx.shape_inference.infer_node_outputs(
                schema, node, kinds, data, opset_imports=self._opsets, ir_version=8
            )
        except Exception as error:  # ONNX raises what its C++ and Python parts happen to raise
            raise ReshapeError(f"cannot free: node {label(node)} does not fit another input size: {error}.") from error
        for name in node.output:
            if name and (name not in found or not _is_complete(found[name])):
                raise ReshapeError(f"cannot free: the shape of {name!r}, made by node {label(node)}, is unknown.")
        return found

    def _small(self, name: str, world: int) -> onnx.TensorProto | None:
        """Return the value of a small tensor as shape inference wants it, where it is known."""
        if name in self._values[world]:
            return onnx.numpy_helper.from_array(self._values[world][name], name)
        size = 1
        for dim in self.dims(name)[world]:
            size *= dim
        value = self.constant(name) if size <= _SMALL and self._is_constant(name) else None
        return None if value is None else onnx.numpy_helper.from_array(value, name)

    def _compute(self, node: onnx.NodeProto, world: int) -> None:
        """Evaluate what is computed from shapes."""
        values = self._values[world]
        if node.op_type == "Shape":
            dims = self.dims(node.input[0])[world]
            ends = {a.name: a.i for a in node.attribute}
            values[node.output[0]] = np.array(dims[ends.get("start", 0) : ends.get("end", len(dims))], np.int64)
            return
        if not any(name in values for name in node.input):
            return
        feeds = {name: values[name] if name in values else self.constant(name) for name in node.input if name}
        if all(feed is not None and feed.size <= _SMALL for feed in feeds.values()):
            results = self._evaluate(node, feeds)
            values.update({name: r for name, r in zip(node.output, results, strict=True) if r.size <= _SMALL})

    def _evaluate(self, node: onnx.NodeProto, feeds: dict[str, Array | None]) -> list[Array]:
        try:
            results = ReferenceEvaluator(node, opsets=self._versions).run(None, feeds)
        except Exception as error:
            raise ReshapeError(f"cannot free: node {label(node)} could not be evaluated: {error}.") from error
        return [np.asarray(result) for result in results]


def _is_complete(kind: onnx.TypeProto) -> bool:
    tensor = kind.tensor_type
    return tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim)
