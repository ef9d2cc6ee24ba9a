"""An ONNX file as plain Python: nodes with their attributes, and the weights as arrays. Read once per model."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import onnx
from numpy.typing import NDArray

from engine.inference.native.attributes import Attribute, array_of, read_attributes
from engine.inference.native.ops import Unsupported, refusing
from models.onnx_meta import parse_onnx

FLATTENS = "flattens"
"""An attribute that a Softmax has here before opset 13: all axes from `axis` on are one. The default is then 1."""

_OLDEST = 11  # in earlier opsets, Resize, Clip and others had other meanings
_MAX_NODES = 4096  # the largest detectors have about 1000


class Node(NamedTuple):
    """A node. Its attributes are read by their known kinds (attributes.py)."""

    op_type: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Attribute]

    def whole(self, name: str, default: int | None = None) -> int:
        """Return an INT, or the default. Raises KeyError without either."""
        value = self.attributes[name] if default is None else self.attributes.get(name, default)
        assert isinstance(value, int)
        return value

    def wholes(self, name: str, default: list[int] | None = None) -> list[int]:
        """Return an INTS, or the default. Raises KeyError without either."""
        value = self.attributes[name] if default is None else self.attributes.get(name, default)
        assert isinstance(value, list)
        return value

    def real(self, name: str, default: float) -> float:
        """Return a FLOAT."""
        value = self.attributes.get(name, default)
        assert isinstance(value, float)
        return value

    def text(self, name: str, default: str) -> str:
        """Return a STRING."""
        value = self.attributes.get(name, default)
        assert isinstance(value, str)
        return value

    def __str__(self) -> str:
        return f"{self.name} ({self.op_type})"


class Graph(NamedTuple):
    """`dims` is the input's (N, C, H, W), None for a dynamic axis."""

    nodes: tuple[Node, ...]
    constants: dict[str, NDArray[Any]]
    input: str
    output: str
    dims: tuple[int | None, ...]


def read_graph(path: Path) -> Graph:
    """Read the graph of a file. Raises Unsupported for anything but a float32 network on images, and
    models.errors.OnnxFileError if it is not ONNX."""
    return graph_of(parse_onnx(path))  # a second file with weights is refused below and never opened


def graph_of(model: Any) -> Graph:
    """Return the graph of an onnx.ModelProto. Raises Unsupported."""
    try:
        with refusing():
            return _graph(model)
    except onnx.checker.ValidationError as error:
        raise Unsupported(f"its graph is not sound ({error})") from error


def _graph(model: Any) -> Graph:
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < _OLDEST:
        raise Unsupported(f"it has opset {opset}; {_OLDEST} is the oldest that is read")
    if len(model.graph.node) > _MAX_NODES:
        raise Unsupported(f"it has {len(model.graph.node)} nodes; {_MAX_NODES} are the most that are read")
    constants = {tensor.name: array_of(tensor) for tensor in model.graph.initializer}
    nodes = tuple(_node(node, opset) for node in model.graph.node)
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        raise Unsupported("it does not have one float32 input")
    dims = tuple(dim.dim_value or None for dim in inputs[0].type.tensor_type.shape.dim)
    if len(dims) != 4 or dims[1] is None or dims[0] not in (None, 1):
        raise Unsupported(f"its input {dims} is not an image (N, C, H, W) with the batch dynamic or 1")
    return Graph(nodes, constants, inputs[0].name, model.graph.output[0].name, dims)


def _node(node: Any, opset: int) -> Node:
    if node.domain not in ("", "ai.onnx"):
        raise Unsupported(f"it uses {node.op_type} of {node.domain}")
    outputs = tuple(node.output)
    name = node.name or (outputs[0] if outputs else "?")
    attributes = read_attributes(node)
    if node.op_type == "Softmax" and opset < 13:
        attributes = {"axis": 1} | attributes | {FLATTENS: 1}
    return Node(node.op_type, name, tuple(node.input), outputs, attributes)
