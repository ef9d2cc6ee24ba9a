"""Calibration for int8: the range of each activation read by a convolution, measured on images.

A scale is chosen from the histogram of |x| to minimise the expected squared error: rounding, (T / 127)^2 / 12 for each
value below the threshold T, plus clipping, (x - T)^2 for each above. See Wu et al. 2020, "Integer Quantization for Deep
Learning Inference", on why the maximum is a poor choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import onnx
from numpy.typing import NDArray

from engine.errors import ConfigError, PlanError, describe_os_error
from engine.inference.letterbox import Letterboxes
from engine.inference.trt.graph import copy_of, picture_of
from engine.inference.trt.quantize import quantizable
from models.manifest import InputSpec

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MAX_PICTURES = 256

_BINS = 2048
_CANDIDATES = 128
_SAMPLED = 1 << 16  # values per image in an activation's histogram


@dataclass(frozen=True)
class Calibration:
    """The images used, and a hash over their bytes."""

    pictures: tuple[Path, ...]
    sha256: str


def find_pictures(folder: Path, most: int = MAX_PICTURES) -> Calibration:
    """Return the images of a folder, evenly sampled if there are more than `most`. Raises ConfigError if there are
    none."""
    if not folder.is_dir():
        raise ConfigError(f"--calib must be a folder of images. {folder} is not one.")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ConfigError(f"--calib {folder} contains no image ({', '.join(SUFFIXES)}). A few hundred are enough.")
    taken = [found[i * len(found) // most] for i in range(most)] if len(found) > most else found
    digest = hashlib.sha256()
    for path in taken:
        try:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        except OSError as error:
            raise ConfigError(f"--calib: {path} can't be read: {describe_os_error(error)}.") from error
    return Calibration(tuple(taken), digest.hexdigest())


def tensors_of(pictures: Iterable[Path], spec: InputSpec) -> Iterable[NDArray[Any]]:
    """Yield each image as the model's input: (1, 3, H, W) float32, letterboxed to the model's own size."""
    letterboxes = Letterboxes(spec, "float32")
    for path in pictures:
        try:
            with av.open(str(path)) as container:
                decoded = next(container.decode(video=0))
        except (av.FFmpegError, StopIteration, IndexError) as error:
            raise ConfigError(f"--calib: {path} is not an image that can be read.") from error
        image = av.VideoFrame.from_ndarray(decoded.to_ndarray(format="rgb24"), "rgb24")
        tensor = np.empty((1, 3, spec.height, spec.width), np.float32)
        try:
            letterboxes.fill(image, tensor[0])
        except ValueError as error:
            raise ConfigError(f"--calib: {path} gives frames that can't be read: {error}.") from error
        yield tensor


class Histogram:
    """|x| in `_BINS` bins from 0 to `limit`. The limit is a power of two and grows by folding bins in pairs."""

    def __init__(self) -> None:
        self.limit = 0.0
        self.counts = np.zeros(_BINS, np.int64)

    def add(self, values: NDArray[Any]) -> None:
        flat = np.abs(values.reshape(-1))
        top = float(flat.max(initial=0.0))
        if not np.isfinite(top):
            raise PlanError("calibration met a value that is not finite: the model overflows on these images.")
        if top == 0.0:
            self.counts[0] += 1
            return
        if self.limit == 0.0:
            self.limit = float(2.0 ** np.ceil(np.log2(top)))
        while top > self.limit:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1), np.zeros(_BINS // 2, np.int64)])
            self.limit *= 2
        step = max(1, len(flat) // _SAMPLED) | 1  # odd, so that it does not march in step with rows and channels
        bins = np.minimum((flat[::step] * (_BINS / self.limit)).astype(np.int64), _BINS - 1)
        self.counts += np.bincount(bins, minlength=_BINS)

    def threshold(self) -> float:
        """Return the threshold with the least expected squared error; 1.0 if all values were zero."""
        if self.limit == 0.0:
            return 1.0
        centres = (np.arange(_BINS) + 0.5) * (self.limit / _BINS)
        top = (int(np.flatnonzero(self.counts)[-1]) + 1) * (self.limit / _BINS)
        tried = np.linspace(top / _CANDIDATES, top, _CANDIDATES)
        over = np.maximum(centres[None] - tried[:, None], 0.0)
        rounding = np.where(over > 0, 0.0, (tried[:, None] / 127) ** 2 / 12)
        return float(tried[np.argmin(((over**2 + rounding) * self.counts).sum(axis=1))])


def calibrate(
    model: onnx.ModelProto, tensors: Iterable[NDArray[Any]], tick: Callable[[int], None] | None = None
) -> dict[str, float]:
    """Return the threshold of each tensor read by a convolution that will be quantized, by running a plain model on the
    CPU."""
    import onnxruntime  # a plan may be built where it is not, or can't be loaded

    names = sorted({node.input[0] for node in quantizable(model)})
    watched = copy_of(model)
    picture = picture_of(model).name
    given_out = {value.name for value in model.graph.output} | {picture}
    for name in names:
        if name not in given_out:
            watched.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    histograms = {name: Histogram() for name in names}
    asked = [name for name in names if name != picture]
    for number, tensor in enumerate(tensors, 1):
        for name, values in zip(asked, session.run(asked, {picture: tensor}), strict=True):
            histograms[name].add(values)
        if picture in histograms:
            histograms[picture].add(tensor)
        if tick is not None:
            tick(number)
    return {name: histogram.threshold() for name, histogram in histograms.items()}
