"""What an ONNX file says about itself: inputs, outputs and metadata. No inference session is opened."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import OnnxFileError

if TYPE_CHECKING:
    import onnx

Dims = tuple[int | str | None, ...]


@dataclass(frozen=True)
class TensorInfo:
    """Name, dtype in NumPy's word ("float32") and dimensions: an int where fixed, its name or None where free."""

    name: str
    dtype: str
    dims: Dims


@dataclass(frozen=True)
class OnnxMeta:
    """The graph's real inputs (weights excluded), its outputs, and the exporter's key-value metadata."""

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: dict[str, str]


def dims_text(dims: Dims) -> str:
    """Dimensions as a message shows them: `(1, 84, ?)`."""
    return f"({', '.join('?' if d is None else str(d) for d in dims)})"


def load_onnx(path: Path) -> "onnx.ModelProto":
    """Parse an ONNX file; whatever is wrong with it is one OnnxFileError."""
    import onnx

    if path.is_dir():
        raise OnnxFileError(f"{path}: is a directory. Name the ONNX file itself.")
    if not path.exists():
        raise OnnxFileError(f"{path}: there is no such file.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OnnxFileError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if not data:
        raise OnnxFileError(f"{path}: is empty (0 bytes), not an ONNX model.")
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's DecodeError, or what the parser in use raises
        raise OnnxFileError(f"{path}: is no ONNX model, or a truncated one. Fetch or export it again.") from error
    if not model.graph.node or not model.graph.output:
        raise OnnxFileError(f"{path}: is no ONNX model: it holds no graph. Fetch or export it again.")
    return model


def read_meta(path: Path) -> OnnxMeta:
    """Read what the file declares, or raise an OnnxFileError that says what it is instead."""
    return meta_of(load_onnx(path))


def meta_of(model: "onnx.ModelProto") -> OnnxMeta:
    """`read_meta` of a model already parsed."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return OnnxMeta(
        inputs=tuple(_info(value) for value in model.graph.input if value.name not in weights),
        outputs=tuple(_info(value) for value in model.graph.output),
        metadata={entry.key: entry.value for entry in model.metadata_props},
    )


def _info(value: "onnx.ValueInfoProto") -> TensorInfo:
    import onnx

    tensor = value.type.tensor_type
    try:
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (KeyError, ValueError):
        dtype = "unknown"
    dims: list[int | str | None] = []
    for dim in tensor.shape.dim:
        dims.append(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or None)
    return TensorInfo(value.name, dtype, tuple(dims))
