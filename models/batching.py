"""Determine whether the images of one batch are computed independently of each other."""

import onnx

# These use the range of the whole tensor, including all images of the batch.
_WHOLE_TENSOR = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat")
# These would merge the batch axis with the next ones, or move it and all others behind an axis of 1.
_JOINS_BATCH = "Flatten"
_REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2")


def mixing_node(model: onnx.ModelProto) -> str | None:
    """Return the first node that lets one image of a batch change the result for another, None if there is none.

    The usual case is a dynamically quantized model: each layer is quantized to the range of the whole batch, so an
    image's boxes depend on the rest of the batch. The same applies to a model exported for one image that flattens the
    candidates of all images into one list to select the best.
    """
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    for node in model.graph.node:
        if node.op_type in _WHOLE_TENSOR:
            return f"{node.name or node.output[0]} ({node.op_type})"
        if node.op_type == _JOINS_BATCH and next((a.i for a in node.attribute if a.name == "axis"), 1) != 1:
            return f"{node.name or node.output[0]} ({node.op_type})"
        if node.op_type in _REDUCTIONS:
            axes = next((list(a.ints) for a in node.attribute if a.name == "axes"), None)
            if axes is None and len(node.input) > 1 and node.input[1] in constants:
                axes = onnx.numpy_helper.to_array(constants[node.input[1]]).tolist()
            if not axes or 0 in axes:
                return f"{node.name or node.output[0]} ({node.op_type})"
    return None


def batch_safe(model: onnx.ModelProto) -> bool:
    """Return whether each image of a batch gets the same result as alone; if not, the model must run at batch 1."""
    return mixing_node(model) is None
