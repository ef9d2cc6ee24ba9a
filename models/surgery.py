"""Changes a model's graph for running, and proves the change by running it against the original."""

from pathlib import Path

import onnx

from models.join import join
from models.manifest import ModelManifest
from models.parts import Parts
from models.reshape import free_shape
from models.verify_dynamic_axes import check_freed
from models.verify_join import check_joined


def free_axes(path: Path, model: onnx.ModelProto, manifest: ModelManifest) -> bytes:
    """Return the file of the model with dynamic axes; `path` is its original. Raises ReshapeError, and what a damaged
    graph raises: IndexError, KeyError, MemoryError, ValueError."""
    spec = manifest.input
    freed: bytes = free_shape(model, spec.stride, manifest.strides).SerializeToString()
    largest = max(spec.scale) if isinstance(spec.scale, tuple) else spec.scale
    peak = 255.0 if spec.dtype == "uint8" else 255.0 * largest
    check_freed(path, freed, layout=manifest.layout, strides=manifest.strides, stride=spec.stride, peak=peak)
    return freed


def join_outputs(model: onnx.ModelProto, parts: Parts, hw: tuple[int, int], classes: int) -> bytes:
    """Return the file of the model with its outputs joined (models.join). Raises LayoutError."""
    joined: bytes = join(model, parts, hw, classes).SerializeToString()
    check_joined(model, joined, parts, hw)
    return joined
