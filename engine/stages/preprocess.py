"""Preprocess: decoded frames become the model's input, in one pass of the letterbox kernel."""

from __future__ import annotations

import threading
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from engine.errors import DecodeError
from engine.inference.letterbox import Letterboxes
from engine.records import Frame, FrameBatch, TensorBatch
from engine_ext.letterbox import Letterbox
from models.manifest import InputSpec


class Preprocess:
    """FrameBatch -> TensorBatch. Safe to call from several threads; each thread reuses its own tensor."""

    def __init__(self, spec: InputSpec, dtype: str) -> None:
        self._dtype = np.dtype(dtype)
        self._letterboxes = Letterboxes(spec, dtype)
        mean, scale = (np.broadcast_to(value, 3) for value in (spec.mean, spec.scale))
        self._pad = ((spec.pad_value - mean) * scale).astype(self._dtype).reshape(3, 1, 1)  # between parts
        self._own = threading.local()

    def process(self, batch: FrameBatch) -> TensorBatch[NDArray[Any]]:
        """Raise DecodeError if a frame can't be read."""
        tensor = self._tensor("tensor", len(batch.frames), batch.tensor_hw)
        try:
            letterboxes = [self._fill(frame, slot) for slot, frame in zip(tensor, batch.frames, strict=True)]
        except ValueError as error:
            raise unreadable(error) from error
        return TensorBatch(batch.frames, tensor, letterboxes)

    def _fill(self, frame: Frame, slot: NDArray[Any]) -> Letterbox:
        plan = frame.plan
        if plan is None or not plan.parts:
            return self._letterboxes.fill(image_of(frame), slot)
        (whole,) = self._tensor("whole", 1, plan.whole_hw)
        letterbox = self._letterboxes.fill(image_of(frame), whole)
        slot[:] = self._pad
        for part in plan.parts:
            from_y, from_x = slice(part.y, part.y + part.height), slice(part.x, part.x + part.width)
            to_y, to_x = slice(part.at_y, part.at_y + part.height), slice(part.at_x, part.at_x + part.width)
            slot[:, to_y, to_x] = whole[:, from_y, from_x]
        return letterbox

    def _tensor(self, name: str, count: int, hw: tuple[int, int]) -> NDArray[Any]:
        kept: NDArray[Any] | None = getattr(self._own, name, None)
        if kept is None or kept.shape[2:] != hw or len(kept) < count:
            kept = np.empty((count, 3, *hw), self._dtype)
            setattr(self._own, name, kept)
        return kept[:count]


def image_of(frame: Frame) -> av.VideoFrame:
    """Return the image of a frame that is to be inferred."""
    assert frame.image is not None, "a dropped frame is never inferred"
    return frame.image


def unreadable(error: ValueError) -> DecodeError:
    """Return the error of a video with a frame that can't be letterboxed."""
    return DecodeError(f"gives frames that can't be read: {error}")
