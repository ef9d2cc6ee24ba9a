"""What an ONNX file says about itself, as plain values: no ONNX library is needed to read them."""

from typing import NamedTuple

Dims = tuple[int | str | None, ...]


class TensorInfo(NamedTuple):
    """Name, dtype as NumPy calls it ("float32") and dimensions: an int where fixed, its name or None if free."""

    name: str
    dtype: str
    dims: Dims


class OnnxMeta(NamedTuple):
    """The graph's real inputs (weights excluded), its outputs, and the exporter's key-value metadata.

    weights_in   files beside the model that hold its weights, as the model names them
    exponential  whether the first output holds sizes that were already taken through exp, as a decoder of YOLOX does
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    metadata: dict[str, str]
    weights_in: tuple[str, ...] = ()
    exponential: bool = False


def dims_text(dims: Dims) -> str:
    """Return dimensions as a message shows them: `(1, 84, ?)`."""
    return f"({', '.join('?' if d is None else str(d) for d in dims)})"
