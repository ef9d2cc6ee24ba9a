"""`yolo-engine quantize`: a model in 8-bit integers, as a self-contained ONNX file.

Activations and weights of convolutions are rounded as in `engine.inference.trt.quantize`, with ranges measured on
images. Some of the images are held out: on them the float and the quantized model are compared box by box. If they
agree too little, the most sensitive convolutions stay in float32: one, two, four and so on.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from numpy.typing import NDArray

from engine.choices.precision import processor
from engine.config import EngineConfig
from engine.engine import Engine
from engine.errors import BackendMissing, ConfigError, ModelError, PlanError
from engine.inference.backends.base import Backend
from engine.inference.backends.onnxruntime import OnnxRuntimeBackend
from engine.inference.backends.openvino import OpenVinoBackend
from engine.inference.letterbox import Letterboxes
from engine.inference.model import LoadedModel, load_model, resolved_model
from engine.inference.trt.calibrate import calibrate, find_pictures, tensors_of
from engine.inference.trt.quantize import quantizable, quantize, refuse_quantized, with_channel_scales
from engine.inference.trt.to_float32 import plain
from engine.records import Detections
from engine.text.counted import counted
from engine.verification.agreement import Agreement
from models.dynamic_axes import freed_model
from models.errors import ModelError as ModelPackageError
from models.files import atomic_write
from models.manifest import ModelManifest
from models.onnx_meta import load_onnx
from models.output_shape import FINISHED

if TYPE_CHECKING:
    import onnx

AIM = 0.9
_PICTURES = 128
_KEPT_BACK = 4  # every fourth image is used for comparison, not for calibration
_RANKED_ON = 4  # number of images used to rank convolutions
_MAX_FLOAT = 0.5  # fraction of convolutions; beyond it, quantizing is pointless

Say = Callable[[str], None]


@dataclass(frozen=True)
class Quantized:
    """The outcome.

    convolutions  number in 8-bit integers
    in_float      outputs of those that stay in float32 although they could be quantized, the most sensitive first
    f1            agreement with the float model on `images` images not used for calibration
    """

    path: Path
    convolutions: int
    in_float: tuple[str, ...]
    f1: float
    images: int


def quantize_model(config: EngineConfig, calib: Path, target: Path, *, aim: float = AIM, say: Say) -> Quantized:
    """Quantize the model of `config`, calibrated on the images of the folder `calib`, and write it to `target`.

    Raises ModelError, ConfigError or PlanError; nothing is written then.
    """
    if target.suffix.lower() != ".onnx":
        raise ConfigError(f"--output must name an ONNX file, such as {target.stem}.onnx. Got {target}.")
    if os.path.realpath(target) == os.path.realpath(config.model):
        raise ConfigError(f"{target} is the model itself, and would be overwritten. Name another file with --output.")
    pictures = find_pictures(calib, _PICTURES).pictures
    held = pictures[_KEPT_BACK - 1 :: _KEPT_BACK] or pictures[:1]
    used = [path for path in pictures if path not in held] or list(pictures)
    config = config.updated(precision="f32", device="cpu", shape="square")
    loaded = load_model(config, 1)
    try:
        model, manifest = _float_model(config)
        say(f"Calibrating with {counted(len(used), 'image')}, comparing on {counted(len(held), 'other')}.")
        thresholds = calibrate(model, tensors_of(used, manifest.input))
        images = list(_images(held))
        # Not the file itself: dynamic quantization in it changes boxes more than 8-bit integers do.
        unquantized = OnnxRuntimeBackend(model.SerializeToString(), "cpu")
        try:
            expected = _detected(config, loaded._replace(backend=unquantized), images)
        finally:
            unquantized.close()
        found = _search(model, thresholds, config, loaded, images, expected, aim, say)
    finally:
        loaded.backend.close()
    made = quantize(model, thresholds, keep=found.in_float, unsigned=True)
    _describe(made, manifest)
    with atomic_write(target) as stream:
        stream.write(made.SerializeToString())
    return replace(found, path=target)


def _float_model(config: EngineConfig) -> tuple[onnx.ModelProto, ModelManifest]:
    """Return the model in plain float32, with dynamic axes and joined outputs as it runs."""
    try:
        resolved = resolved_model(config)
        model = load_onnx(freed_model(resolved).path)
    except ModelPackageError as error:
        raise ModelError(str(error)) from error
    try:
        refuse_quantized(model)
        model = with_channel_scales(plain(model))
    except PlanError as error:
        raise ModelError(f"{config.model} can't be quantized: {error}") from error
    if not quantizable(model):
        raise ModelError(f"{config.model} can't be quantized: it has no suitable convolution.")
    return model, resolved.manifest


def _search(
    model: onnx.ModelProto,
    thresholds: dict[str, float],
    config: EngineConfig,
    loaded: LoadedModel,
    images: Sequence[NDArray[np.uint8]],
    expected: Sequence[Detections],
    aim: float,
    say: Say,
) -> Quantized:
    """Find the smallest number of convolutions that must stay in float32. `path` of the result is not set yet."""
    names = [node.output[0] for node in quantizable(model)]
    ranked: list[str] = []
    count, best = 0, 0.0
    while count <= _MAX_FLOAT * len(names):
        if count and not ranked:
            say(f"Agreement is {best:.3f}, below the aim of {aim:g}: ranking {len(names)} convolutions.")
            ranked = _ranked(model, thresholds, names, config, images[:_RANKED_ON])
        kept = tuple(ranked[:count])
        data = quantize(model, thresholds, keep=kept, unsigned=True).SerializeToString()
        backend = _runs(data, config)
        try:
            agreement = Agreement()
            for one, other in zip(
                expected, _detected(config, loaded._replace(backend=backend), images), strict=True
            ):  # fmt: skip
                agreement.add(one, other)
        finally:
            backend.close()
        f1 = agreement.f1
        best = max(best, f1)
        if f1 >= aim:
            return Quantized(Path(), len(names) - count, kept, f1, len(images))
        count = max(1, 2 * count)
    raise ModelError(
        f"{config.model} loses too much in 8-bit integers: even with half of its convolutions in float32 it agrees by "
        f"only {best:.3f}, below the aim of {aim:g} (F1 at IoU 0.8). --aim {math.floor(best * 100) / 100:g} accepts "
        "that; images that are like your videos may give more."
    )


def _runs(data: bytes, config: EngineConfig) -> Backend:
    """Return the backend that int8 will run in if it is available here, otherwise ONNX Runtime."""
    if processor().lacks("int8") is None:
        try:
            return OpenVinoBackend(data, 1, precision="int8", named=config.model)
        except BackendMissing:
            pass
    return OnnxRuntimeBackend(data, "cpu")


def _ranked(
    model: onnx.ModelProto,
    thresholds: dict[str, float],
    names: Sequence[str],
    config: EngineConfig,
    images: Sequence[NDArray[np.uint8]],
) -> list[str]:
    """Rank convolutions by how much each, quantized alone, changes the model's output, the largest change first."""
    manifest = resolved_model(config).manifest
    tensors = [_tensor(image, manifest.input) for image in images]
    away = _rows_away if manifest.layout in FINISHED else _away
    plain_answers = _answers(model.SerializeToString(), tensors)
    scale = [np.maximum(np.abs(each).max(axis=_along(each), keepdims=True), 1e-6) for each in plain_answers]
    moved: dict[str, float] = {}
    for name in names:
        others = [each for each in names if each != name]
        answers = _answers(quantize(model, thresholds, keep=others, unsigned=True).SerializeToString(), tensors)
        moved[name] = sum(
            away(one / size, other / size) for one, other, size in zip(plain_answers, answers, scale, strict=True)
        )
    return sorted(names, key=lambda name: -moved[name])


def _away(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the mean squared difference of two outputs."""
    return float(np.mean((one - other) ** 2))


def _rows_away(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the same for finished detections, (1, D, 6) each: of each row of `one`, weighted by its score, to the
    nearest of its class in `other`. Their order is that of the scores, and says nothing."""
    apart = ((one[0, :, None, :5] - other[0, None, :, :5]) ** 2).mean(axis=2)
    apart += one[0, :, None, 5] != other[0, None, :, 5]
    return float((apart.min(axis=1) * one[0, :, 4]).sum())


def _along(answer: NDArray[Any]) -> int:
    """Return the axis of an output along which one field (x, score, ...) varies: the longer of the last two."""
    return answer.ndim - 1 if answer.shape[-1] > answer.shape[-2] else answer.ndim - 2


def _answers(data: bytes, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    backend = OnnxRuntimeBackend(data, "cpu")
    try:
        return [np.asarray(backend.run(tensor), np.float32) for tensor in tensors]
    finally:
        backend.close()


def _images(paths: Sequence[Path]) -> Iterator[NDArray[np.uint8]]:
    """Yield images, (H, W, 3) uint8 RGB each. Raises ConfigError."""
    for path in paths:
        try:
            with av.open(os.fspath(path)) as container:
                yield next(container.decode(video=0)).to_ndarray(format="rgb24")
        except (av.FFmpegError, StopIteration, IndexError) as error:
            raise ConfigError(f"--calib: {path} is not a readable image.") from error


def _tensor(image: NDArray[np.uint8], spec: Any) -> NDArray[Any]:
    tensor = np.empty((1, 3, spec.height, spec.width), np.float32)
    Letterboxes(spec, "float32").fill(av.VideoFrame.from_ndarray(image, "rgb24"), tensor[0])
    return tensor


def _detected(config: EngineConfig, loaded: LoadedModel, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
    engine = Engine(config, model=loaded)
    return [engine.detect(image) for image in images]


def _describe(model: onnx.ModelProto, manifest: ModelManifest) -> None:
    """Store in the model, in place, the metadata from its source, a TOML file beside it or options
    (models.metadata)."""
    spec = manifest.input
    said: dict[str, object] = {
        "layout": manifest.layout,
        "strides": list(manifest.strides),
        "classes": list(manifest.classes),
        "licence": manifest.licence,
        "description": manifest.description,
        "input.height": spec.height,
        "input.width": spec.width,
        "input.channel_order": spec.channel_order,
        "input.scale": list(spec.scale) if isinstance(spec.scale, tuple) else spec.scale,
        "input.mean": list(spec.mean),
        "input.pad_value": spec.pad_value,
        "input.pad": spec.pad,
        "input.stride": spec.stride,
        "input.rounding": spec.rounding,
    }
    del model.metadata_props[:]
    for key, value in said.items():
        model.metadata_props.add(key=f"yolo_engine.{key}", value=json.dumps(value, ensure_ascii=False))
