"""Tell whether the images of one batch are computed independently of each other."""

import onnx

# These take a range over the whole tensor, all images of the batch included.
_WHOLE_TENSOR = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat")
# These would join the images' axis with the next ones, or put it with all others behind an axis of 1.
_JOINS_BATCH = "Flatten"
_REDUCTIONS = ("ReduceMin", "ReduceMax", "ReduceMean", "ReduceSum", "ReduceL1", "ReduceL2")


def mixing_node(model: onnx.ModelProto) -> str | None:
    """Return the first node that lets one image of a batch change the answer for another, None if there is none.

    A dynamically quantized model is the usual case: the range to which each layer is quantized is that of the whole
    batch, so that an image's boxes depend on what it happens to be batched with. So do those of a model that was
    exported for one image and then flattens the candidates of all images into one list, to take the best by number.
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
    """Return whether a batch gives each image the answer it gets alone; if not, the model must run at batch 1."""
    return mixing_node(model) is None
