"""Read an ONNX file: its graph, or its inputs, outputs and metadata, without an inference session. Importing this loads
the ONNX library; `tensor_info` only has the types.
"""

import os
from pathlib import Path

import onnx

from models.errors import ModelError, OnnxFileError
from models.external import external_locations, load_external
from models.files import read_regular
from models.foreign import what_it_is
from models.tensor_info import OnnxMeta, TensorInfo

_MAX_BYTES = (1 << 31) - 1  # the largest ONNX file; further weights are external
_HEAD_BYTES = 4096


def load_onnx(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file with its external weights. Raises OnnxFileError for anything wrong with it."""
    model = parse_onnx(path)
    load_external(model, path)
    return model


def parse_onnx(path: Path) -> onnx.ModelProto:
    """Do what `load_onnx` does, without external weights."""
    if os.path.isdir(path):
        raise OnnxFileError(f"{path}: is a directory. Name the ONNX file itself.")
    if not os.path.lexists(path):
        raise OnnxFileError(f"{path}: there is no such file.")
    try:
        data = read_regular(path, _MAX_BYTES)
    except ModelError as error:
        raise OnnxFileError(str(error)) from error
    if not data:
        raise OnnxFileError(f"{path}: is empty (0 bytes), not an ONNX model.")
    if (known := what_it_is(path, data[:_HEAD_BYTES])) is not None:
        raise OnnxFileError(f"{path}: {known}")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError, or what the parser in use raises
        raise OnnxFileError(f"{path}: is not an ONNX model, or is truncated. Fetch or export it again.") from error
    if not model.graph.node or not model.graph.output:
        raise OnnxFileError(f"{path}: is not an ONNX model: it contains no graph. Fetch or export it again.")
    if (where := _undecodable(model)) is not None:
        raise OnnxFileError(f"{path}: is damaged: {where} is not UTF-8. Fetch or export it again.")
    return model


def _undecodable(model: onnx.ModelProto) -> str | None:
    """Return the first text of a graph that protobuf could not decode and returns as bytes; None if there is none."""
    for number, node in enumerate(model.graph.node):
        texts = (node.op_type, node.domain, node.name, *node.input, *node.output)
        if any(isinstance(text, bytes) for text in texts):
            return f"a name at node {number}"
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer)
    if any(isinstance(value.name, bytes) for value in values):
        return "the name of a tensor"
    if any(isinstance(text, bytes) for entry in model.metadata_props for text in (entry.key, entry.value)):
        return "an entry of its metadata"
    return None


def read_meta(path: Path) -> OnnxMeta:
    """Read what the file declares. Raises OnnxFileError that says what it is instead."""
    return meta_of(parse_onnx(path))


def meta_of(model: onnx.ModelProto) -> OnnxMeta:
    """Do what `read_meta` does, for a parsed model."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return OnnxMeta(
        inputs=tuple(_info(value) for value in model.graph.input if value.name not in weights),
        outputs=tuple(_info(value) for value in model.graph.output),
        metadata={entry.key: entry.value for entry in model.metadata_props},
        weights_in=external_locations(model),
        exponential=_ends_in_exp(model),
    )


# Operators that may follow a decoder's Exp on the way to the output.
_PASSING = frozenset("Add Cast Concat Div Identity Mul Reshape ScatterND Slice Squeeze Sub Transpose Unsqueeze".split())
_MAX_STEPS = 200


def _ends_in_exp(model: onnx.ModelProto) -> bool:
    """Return whether there is an Exp between the last real computation and the first output."""
    makers = {name: node for node in model.graph.node for name in node.output}
    waiting, seen = [model.graph.output[0].name], set[str]()
    while waiting and len(seen) < _MAX_STEPS:
        name = waiting.pop()
        node = makers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type == "Exp":
            return True
        if node.op_type in _PASSING:
            waiting.extend(node.input)
    return False


def _info(value: onnx.ValueInfoProto) -> TensorInfo:
    tensor = value.type.tensor_type
    try:
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, ValueError):
        dtype = "unknown"
    dims: list[int | str | None] = []
    for dim in tensor.shape.dim:
        dims.append(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or None)
    return TensorInfo(value.name, dtype, tuple(dims))
