"""Preprocess: the planes of decoded frames become the model's input tensor, in one pass of the letterbox kernel."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import DecodeError
from engine.inference.gpu.frames import FramePlanes, PlaneBatch, frame_planes
from engine.inference.gpu.protocol import LetterboxSpec
from engine.records import FrameBatch, TensorBatch
from engine_ext.letterbox import Letterbox
from models.manifest import InputSpec

# ITU-T H.273 matrix coefficients -> the kernel's names.
_MATRICES = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}
_FULL_RANGE = 2
_LETTERBOXES_KEPT = 64


def planes_of(image: Any) -> list[NDArray[np.uint8]]:
    """The planes of a frame as (rows, line_size) uint8 views, without a copy. Writable where the frame is."""
    return [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in image.planes]


def colour_of(image: Any) -> tuple[str, bool]:
    """(matrix, full_range) of a frame. An unnamed matrix is BT.709 from 720 rows on, as players take it."""
    matrix = _MATRICES.get(int(image.colorspace)) or ("bt709" if image.height >= 720 else "bt601")
    return matrix, int(image.color_range) == _FULL_RANGE or image.format.name.startswith("yuvj")


class TensorShape:
    """Chooses the tensor's (H, W) for a frame size.

    `square` is the model's own input size. `rect` scales the frame into that size as before, but pads only to the
    stride: the same pixels with less padding, so that a 16:9 video costs about 0.6 of a square.
    """

    def __init__(self, model_hw: tuple[int, int], stride: int, *, rect: bool) -> None:
        self.model_hw = model_hw
        self.stride = stride
        self.rect = rect

    def __call__(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        if not self.rect:
            return self.model_hw
        height, width = self.model_hw
        ratio = min(width / size_wh[0], height / size_wh[1])
        return self._padded(size_wh[1] * ratio, height), self._padded(size_wh[0] * ratio, width)

    def _padded(self, side: float, most: int) -> int:
        return min(most, max(1, math.ceil(round(side, 3) / self.stride)) * self.stride)


class Preprocess:
    """FrameBatch -> TensorBatch. Safe to call from several threads; each keeps a tensor of its own and reuses it."""

    def __init__(self, spec: InputSpec, dtype: str) -> None:
        self._spec = spec
        self._dtype = np.dtype(dtype)
        self._letterboxes: dict[tuple[Any, ...], Letterbox] = {}
        self._own = threading.local()

    def process(self, batch: FrameBatch) -> TensorBatch:
        tensor = self._tensor(len(batch.frames), batch.tensor_hw)
        letterboxes = []
        for slot, frame in zip(tensor, batch.frames, strict=True):
            image = frame.image
            assert image is not None, "a dropped frame is never inferred"
            try:
                letterbox = self._letterbox(image, batch.tensor_hw)
                letterbox.apply(planes_of(image), slot)
            except ValueError as error:
                raise DecodeError(f"gives frames that can't be read: {error}") from error
            letterboxes.append(letterbox)
        return TensorBatch(batch.frames, tensor, letterboxes)

    def _tensor(self, count: int, hw: tuple[int, int]) -> NDArray[Any]:
        kept: NDArray[Any] | None = getattr(self._own, "tensor", None)
        if kept is None or kept.shape[2:] != hw or len(kept) < count:
            kept = self._own.tensor = np.empty((count, 3, *hw), self._dtype)
        return kept[:count]

    def _letterbox(self, image: Any, tensor_hw: tuple[int, int]) -> Letterbox:
        matrix, full_range = colour_of(image)
        key = (image.width, image.height, image.format.name, matrix, full_range, tensor_hw)
        letterbox = self._letterboxes.get(key)
        if letterbox is None:
            if len(self._letterboxes) >= _LETTERBOXES_KEPT:
                self._letterboxes.clear()
            letterbox = self._letterboxes[key] = Letterbox(
                (image.width, image.height),
                tensor_hw,
                image.format.name,
                matrix=matrix,
                full_range=full_range,
                channel_order=self._spec.channel_order,
                scale=self._spec.scale,
                mean=self._spec.mean,
                pad_value=self._spec.pad_value,
                pad=self._spec.pad,
                rounding=self._spec.rounding,
            )
        return letterbox


class PreprocessOnGpu(Preprocess):
    """FrameBatch -> TensorBatch whose tensor is made on the GPU: the planes of the frames, checked, as they are."""

    def process(self, batch: FrameBatch) -> TensorBatch:
        letterboxes, planes = [], []
        for frame in batch.frames:
            image = frame.image
            assert image is not None, "a dropped frame is never inferred"
            try:
                letterbox = self._letterbox(image, batch.tensor_hw)
                planes.append(self._planes(image, batch.tensor_hw))
            except ValueError as error:
                raise DecodeError(f"gives frames that can't be read: {error}") from error
            letterboxes.append(letterbox)
        return TensorBatch(batch.frames, PlaneBatch(planes, batch.tensor_hw), letterboxes)

    def _planes(self, image: Any, tensor_hw: tuple[int, int]) -> FramePlanes:
        matrix, full_range = colour_of(image)
        scale = self._spec.scale
        spec = LetterboxSpec(
            (image.width, image.height),
            tensor_hw,
            image.format.name,
            str(self._dtype),
            matrix=matrix,
            full_range=full_range,
            channel_order=self._spec.channel_order,
            scale=scale if isinstance(scale, int | float) else tuple(scale),
            mean=tuple(self._spec.mean),
            pad_value=self._spec.pad_value,
            pad=self._spec.pad,
            rounding=self._spec.rounding,
        )
        return frame_planes(spec, planes_of(image))
