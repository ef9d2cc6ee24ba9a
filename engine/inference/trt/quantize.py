"""From float32 to int8 with explicit QuantizeLinear and DequantizeLinear nodes, as strongly typed TensorRT requires.

Symmetric, without zero points: an activation has one scale, a weight one per output channel. Each convolution reads
both through a pair of such nodes, and TensorRT computes it in int8. Three kinds stay in float32, because they are
little work but cost much accuracy: those that read the image, those that write boxes and scores, and depthwise ones,
whose channels have different ranges that one scale does not fit (YOLOX-nano with them in int8: mAP50-95 0.04 instead of
0.34).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx

from engine.errors import PlanError
from engine.inference.trt.graph import PREFIX, copy_of, drop_unused, initializers, opset_of, picture_of, replace_nodes

_MIN_OPSET = 13  # the first with a scale per channel
_UNSIGNED_ZERO = 128


def refuse_quantized(model: onnx.ModelProto) -> None:
    """Raise PlanError if a model is already quantized."""
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "QLinearConv"):
            raise PlanError(
                f"the model is quantized already (node {node.name or node.output[0]}, {node.op_type}): "
                "build it with --precision fp32 or fp16, which leave that as it is."
            )


def with_channel_scales(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model in an opset with a scale per channel: itself, or converted by ONNX."""
    if opset_of(model) >= _MIN_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, _MIN_OPSET)
    except Exception as error:
        raise PlanError(
            f"the model has opset {opset_of(model)}, and ONNX can't convert it to {_MIN_OPSET}, which int8 needs: "
            f"{error}. Export it with opset {_MIN_OPSET} or later."
        ) from error


def quantizable(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the convolutions to quantize: one group, constant weights, and other convolutions before and after."""
    weights = initializers(model)
    nodes = list(model.graph.node)
    touched = {picture_of(model).name}  # derived from the image without a convolution between
    first = set()
    for position, node in enumerate(nodes):
        if touched & set(node.input):
            if node.op_type == "Conv":
                first.add(position)
            elif node.op_type != "Shape":
                touched |= set(node.output)
    leads_on: set[str] = set()
    last = set()
    for position in range(len(nodes) - 1, -1, -1):
        node = nodes[position]
        if node.op_type == "Conv" and not leads_on & set(node.output):
            last.add(position)
        if node.op_type == "Conv" or leads_on & set(node.output):
            leads_on |= set(node.input)
    return [
        node
        for position, node in enumerate(nodes)
        if node.op_type == "Conv"
        and node.input[1] in weights
        and position not in first | last
        and not any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)
    ]


def quantize(
    model: onnx.ModelProto,
    thresholds: Mapping[str, float],
    *,
    keep: Collection[str] = (),
    unsigned: bool = False,
) -> onnx.ModelProto:
    """Return a copy of a plain model with Q/DQ pairs. `thresholds` has the clipping threshold |x| of each activation.

    keep      outputs of convolutions that stay in float32
    unsigned  activations are uint8 with zero point 128, the same numbers as int8 with 0, because OpenVINO 2026.4
              computes wrong results with signed ones after a Concat. `signed` reverses it for TensorRT
    """
    model = copy_of(model)
    chosen = {node.output[0] for node in quantizable(model)} - set(keep)
    weights = initializers(model)
    add = model.graph.initializer.append
    paired: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Conv" and node.output[0] in chosen:
            source, weight = node.input[0], node.input[1]
            if source not in paired:
                scale, zero, whole = (f"{PREFIX}{source}/{part}" for part in ("scale", "zero", "int8"))
                paired[source] = f"{PREFIX}{source}/dequantized"
                add(onnx.numpy_helper.from_array(np.float32(max(thresholds[source], 1e-12) / 127), scale))
                add(onnx.numpy_helper.from_array(np.uint8(_UNSIGNED_ZERO) if unsigned else np.int8(0), zero))
                nodes.append(onnx.helper.make_node("QuantizeLinear", [source, scale, zero], [whole], name=whole))
                nodes.append(
                    onnx.helper.make_node(
                        "DequantizeLinear", [whole, scale, zero], [paired[source]], name=paired[source]
                    )
                )
            if weight not in paired:
                scale, zero, whole = (f"{PREFIX}{weight}/{part}" for part in ("scale", "zero", "int8"))
                paired[weight] = f"{PREFIX}{weight}/dequantized"
                array = onnx.numpy_helper.to_array(weights[weight]).astype(np.float32)
                largest = np.abs(array.reshape(len(array), -1)).max(axis=1)
                scales = np.where(largest > 0, largest / 127, 1.0).astype(np.float32)
                steps = np.rint(array / scales.reshape(-1, *[1] * (array.ndim - 1)))
                add(onnx.numpy_helper.from_array(np.clip(steps, -127, 127).astype(np.int8), whole))
                add(onnx.numpy_helper.from_array(scales, scale))
                add(onnx.numpy_helper.from_array(np.zeros(len(scales), np.int8), zero))
                nodes.append(
                    onnx.helper.make_node(
                        "DequantizeLinear", [whole, scale, zero], [paired[weight]], name=paired[weight], axis=0
                    )
                )
            node.input[0], node.input[1] = paired[source], paired[weight]
        nodes.append(node)
    replace_nodes(model, nodes)
    del model.graph.value_info[:]
    drop_unused(model)
    return model


def signed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with uint8 activations of zero point 128 converted to int8 with 0, the only ones that TensorRT
    accepts."""
    model = copy_of(model)
    weights = initializers(model)
    for node in model.graph.node:
        if node.op_type != "QuantizeLinear" or len(node.input) < 3 or node.input[2] not in weights:
            continue
        zero = weights[node.input[2]]
        values = onnx.numpy_helper.to_array(zero)
        if values.dtype == np.uint8 and (values == _UNSIGNED_ZERO).all():
            zero.CopyFrom(onnx.numpy_helper.from_array(np.zeros(values.shape, np.int8), zero.name))
    return model
