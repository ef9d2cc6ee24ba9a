"""The known attributes of each operator. Any other is refused, because it would change what a node computes."""

from __future__ import annotations

from typing import Any, TypeAlias

import onnx
from numpy.typing import NDArray

from engine.inference.native.ops import Unsupported

Attribute: TypeAlias = int | float | str | list[int] | NDArray[Any]
"""The value of an attribute of kind INT, FLOAT, STRING, INTS or TENSOR."""

_WINDOW = {"auto_pad": "STRING", "dilations": "INTS", "kernel_shape": "INTS", "pads": "INTS", "strides": "INTS"}

_KNOWN: dict[str, dict[str, str]] = {
    "Add": {},
    "AveragePool": _WINDOW | {"ceil_mode": "INT", "count_include_pad": "INT"},
    "BatchNormalization": {"epsilon": "FLOAT", "momentum": "FLOAT", "training_mode": "INT"},
    "Cast": {"saturate": "INT", "to": "INT"},
    "Ceil": {},
    "Clip": {},
    "Concat": {"axis": "INT"},
    "ConstantOfShape": {"value": "TENSOR"},
    "Constant": {"value": "TENSOR", "value_float": "FLOAT", "value_int": "INT", "value_ints": "INTS"},
    "Conv": _WINDOW | {"group": "INT"},
    "Div": {},
    "Expand": {},
    "Flatten": {"axis": "INT"},
    "Floor": {},
    "Gather": {"axis": "INT"},
    "GatherElements": {"axis": "INT"},
    "HardSigmoid": {"alpha": "FLOAT", "beta": "FLOAT"},
    "HardSwish": {},
    "Identity": {},
    "LeakyRelu": {"alpha": "FLOAT"},
    "MatMul": {},
    "MaxPool": _WINDOW | {"ceil_mode": "INT", "storage_order": "INT"},
    "Mod": {"fmod": "INT"},
    "Mul": {},
    "Neg": {},
    "Pow": {},
    "Range": {},
    "ReduceMax": {"axes": "INTS", "keepdims": "INT"},
    "Relu": {},
    "Reshape": {"allowzero": "INT"},
    "Resize": {
        "antialias": "INT",
        "coordinate_transformation_mode": "STRING",
        "cubic_coeff_a": "FLOAT",
        "exclude_outside": "INT",
        "extrapolation_value": "FLOAT",
        "keep_aspect_ratio_policy": "STRING",
        "mode": "STRING",
        "nearest_mode": "STRING",
    },
    "Shape": {"end": "INT", "start": "INT"},
    "Sigmoid": {},
    "Slice": {},
    "Softmax": {"axis": "INT"},
    "Split": {"axis": "INT", "num_outputs": "INT", "split": "INTS"},
    "Sqrt": {},
    "Squeeze": {"axes": "INTS"},
    "Sub": {},
    "Tile": {},
    "TopK": {"axis": "INT", "largest": "INT", "sorted": "INT"},
    "Transpose": {"perm": "INTS"},
    "Unsqueeze": {"axes": "INTS"},
}

# Attributes that are supported with one value only. The values of others are checked where they are read.
_ONLY: dict[str, Attribute] = {"antialias": 0, "exclude_outside": 0, "keep_aspect_ratio_policy": "stretch"}


def read_attributes(node: Any) -> dict[str, Attribute]:
    """Return the attributes of an onnx.NodeProto as plain values; none for an unknown operator, which `trace` refuses.

    Raises Unsupported for an attribute that is unknown, of another kind, or in a second file.
    """
    known, found = _KNOWN.get(node.op_type), dict[str, Attribute]()
    if known is None:
        return found
    for attribute in node.attribute:
        name, kind = attribute.name, attribute.AttributeType.Name(attribute.type)
        value = array_of(attribute.t) if kind == "TENSOR" else onnx.helper.get_attribute_value(attribute)
        value = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if known.get(name) != kind or (name in _ONLY and value != _ONLY[name]):
            shown = f" = {value}" if name in _ONLY else ""
            raise Unsupported(f"{node.name} ({node.op_type}) has an attribute {name}{shown} ({kind}) that is not known")
        found[name] = value
    return found


def array_of(tensor: Any) -> NDArray[Any]:
    """Return the values of an onnx.TensorProto. Raises Unsupported if they are in a second file, which is never
    opened."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise Unsupported("its weights are in a second file")
    if any(dim < 0 for dim in tensor.dims):  # NumPy would choose one that fits
        raise Unsupported(f"{tensor.name} has dimensions {list(tensor.dims)}")
    array: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
    return array
