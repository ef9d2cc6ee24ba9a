"""Converts a model to plain float32, from which every precision starts.

Half-precision exports are widened, which is exact. Dynamic quantization, for which TensorRT has no operators, is
undone: weights become the values that they represent, w = (q - zero) * scale, and activations are no longer rounded, so
the images of a batch no longer affect each other.
"""

from __future__ import annotations

import numpy as np
import onnx

from engine.errors import PlanError
from engine.inference.trt.graph import (
    constants_to_initializers,
    copy_of,
    drop_unused,
    initializers,
    refuse_subgraphs,
    replace_nodes,
)

_READERS = ("ConvInteger", "MatMulInteger", "Transpose")  # of quantized activations


def plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in float32 without dynamic quantization. Raises PlanError for an unknown form of it."""
    model = copy_of(model)
    refuse_subgraphs(model)
    constants_to_initializers(model)
    _undo_dynamic_quantization(model)
    _widen(model)
    del model.graph.value_info[:]
    drop_unused(model)
    return model


def _widen(model: onnx.ModelProto) -> None:
    half, full = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    for tensor in model.graph.initializer:
        if tensor.data_type == half:
            array = onnx.numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    for value in [*model.graph.input, *model.graph.output]:
        if value.type.tensor_type.elem_type == half:
            value.type.tensor_type.elem_type = full
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == half:
                attribute.i = full
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == half:
                array = onnx.numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(onnx.numpy_helper.from_array(array))


def _undo_dynamic_quantization(model: onnx.ModelProto) -> None:
    """Replace DynamicQuantizeLinear, ConvInteger or MatMulInteger, Cast, and Mul by (scale of x * scale of w) with Conv
    or MatMul.

    This is the output of ONNX Runtime's `quantize_dynamic`, with transposes in between if a model shares quantized
    values.
    """
    nodes = list(model.graph.node)
    source = {node.output[0]: node for node in nodes if node.op_type == "DynamicQuantizeLinear"}
    if not source:
        return
    weights = initializers(model)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    scale_of = {node.output[1] for node in source.values()}
    replaced: dict[int, onnx.NodeProto] = {}
    gone: set[int] = set()
    float_of = {name: quantizer.input[0] for name, quantizer in source.items()}
    for node in nodes:
        if node.op_type == "Transpose" and node.input[0] in float_of:
            if any(reader.op_type not in _READERS for reader in readers.get(node.output[0], [])):
                raise _unknown(node)
            moved = onnx.NodeProto()
            moved.CopyFrom(node)
            moved.input[0] = float_of[node.input[0]]
            replaced[id(node)] = moved
            float_of[node.output[0]] = node.output[0]
            continue
        if node.op_type not in ("ConvInteger", "MatMulInteger"):
            continue
        entry = float_of.get(node.input[0])
        cast = _only_reader(readers, node.output[0], "Cast")
        scaled = _only_reader(readers, cast.output[0], "Mul") if cast is not None else None
        scales = _scale_factor(nodes, scaled, cast, scale_of)
        if entry is None or scaled is None or scales is None or node.input[1] not in weights:
            raise _unknown(node)
        name = f"{node.output[0]}/weight"
        factor = next((weights[n] for n in scales.input if n in weights), None)
        if factor is None:
            raise _unknown(node)
        model.graph.initializer.append(_weight(node, weights, factor, name))
        plain_node = onnx.helper.make_node(
            node.op_type.removesuffix("Integer"), [entry, name], list(scaled.output), name=node.name
        )
        plain_node.attribute.extend(node.attribute)
        replaced[id(node)] = plain_node
        gone |= {id(cast), id(scaled), id(scales)}
    gone |= {id(node) for node in source.values()}
    left = [replaced.get(id(node), node) for node in nodes if id(node) not in gone]
    made = {name for node in left for name in node.output}
    for quantizer in source.values():
        for node in left:
            if any(name in quantizer.output and name not in made for name in node.input):
                raise _unknown(node)
    replace_nodes(model, left)


def _only_reader(readers: dict[str, list[onnx.NodeProto]], name: str, op_type: str) -> onnx.NodeProto | None:
    found = readers.get(name, [])
    return found[0] if len(found) == 1 and found[0].op_type == op_type else None


def _scale_factor(
    nodes: list[onnx.NodeProto], scaled: onnx.NodeProto | None, cast: onnx.NodeProto | None, scale_of: set[str]
) -> onnx.NodeProto | None:
    """Return the Mul that combines the two scales and that `scaled` multiplies by."""
    if scaled is None or cast is None:
        return None
    other = [name for name in scaled.input if name != cast.output[0]]
    found = [node for node in nodes if node.op_type == "Mul" and other and node.output[0] == other[0]]
    return found[0] if found and scale_of & set(found[0].input) else None


def _weight(
    node: onnx.NodeProto, weights: dict[str, onnx.TensorProto], factor: onnx.TensorProto, name: str
) -> onnx.TensorProto:
    """Return the float32 weight (O, I, kh, kw) or (K, N); scale and zero point are single numbers, or one per output
    channel."""
    whole = onnx.numpy_helper.to_array(weights[node.input[1]]).astype(np.float32)
    zero = np.zeros((), np.float32)
    if len(node.input) > 3 and node.input[3]:
        if node.input[3] not in weights:
            raise _unknown(node)
        zero = onnx.numpy_helper.to_array(weights[node.input[3]]).astype(np.float32)
    scale = onnx.numpy_helper.to_array(factor).astype(np.float32)
    if node.op_type == "ConvInteger":  # a channel of the output is the weight's first axis
        zero, scale = (part.reshape(-1, *[1] * (whole.ndim - 1)) if part.size > 1 else part for part in (zero, scale))
    return onnx.numpy_helper.from_array(np.ascontiguousarray((whole - zero) * scale, np.float32), name)


def _unknown(node: onnx.NodeProto) -> PlanError:
    return PlanError(
        f"node {node.name or node.output[0]} ({node.op_type}) is quantized in a way that TensorRT can't read and that "
        "can't be undone here. Export the model in float32 and use --precision int8."
    )
