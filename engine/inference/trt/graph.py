"""Helpers for changing an ONNX graph, shared by the conversions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx

from engine.errors import PlanError

PREFIX = "trt/"


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def opset_of(model: onnx.ModelProto) -> int:
    return next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)


def initializers(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in model.graph.initializer}


def picture_of(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """Return the only input that is not a weight."""
    weights = initializers(model)
    return next(value for value in model.graph.input if value.name not in weights)


def constants_to_initializers(model: onnx.ModelProto) -> None:
    """Turn constant nodes into initializers, in place, so that only one kind of constant is left."""
    dtypes = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}
    kept = []
    for node in model.graph.node:
        attribute = node.attribute[0] if node.op_type == "Constant" and node.attribute else None
        if attribute is not None and attribute.name == "value":
            tensor = model.graph.initializer.add()
            tensor.CopyFrom(attribute.t)
            tensor.name = node.output[0]
        elif attribute is not None and attribute.name in dtypes:
            array = np.array(onnx.helper.get_attribute_value(attribute), dtypes[attribute.name])
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, node.output[0]))
        else:
            kept.append(node)
    replace_nodes(model, kept)


def replace_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto]) -> None:
    nodes = list(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and initializers that nothing reads any more. In place."""
    needed = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            kept.append(node)
    replace_nodes(model, reversed(kept))
    weights = initializers(model)
    for tensor in [tensor for tensor in weights.values() if tensor.name not in needed]:
        model.graph.initializer.remove(tensor)
    for value in [v for v in model.graph.input if v.name in weights]:
        model.graph.input.remove(value)


def refuse_subgraphs(model: onnx.ModelProto) -> None:
    """Raise PlanError for subgraphs, which the conversions don't support."""
    for node in model.graph.node:
        if any(attribute.type == onnx.AttributeProto.GRAPH for attribute in node.attribute):
            raise PlanError(
                f"node {node.name or node.output[0]} ({node.op_type}) holds a graph of its own, which can't be "
                "converted. Export the model without control flow."
            )
