"""Preprocess: decoded frames become the model's input, in one pass of the letterbox kernel."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from engine.errors import DecodeError
from engine.inference.letterbox import Letterboxes
from engine.records import Frame, FrameBatch, TensorBatch
from models.manifest import InputSpec


class Preprocess:
    """FrameBatch -> TensorBatch. Safe to call from several threads; each keeps a tensor of its own and reuses it."""

    def __init__(self, spec: InputSpec, dtype: str) -> None:
        self._dtype = np.dtype(dtype)
        self._letterboxes = Letterboxes(spec, dtype)
        self._own = threading.local()

    def process(self, batch: FrameBatch) -> TensorBatch[NDArray[Any]]:
        """Raise DecodeError where a frame can't be read."""
        tensor = self._tensor(len(batch.frames), batch.tensor_hw)
        letterboxes = []
        for slot, frame in zip(tensor, batch.frames, strict=True):
            with readable():
                letterboxes.append(self._letterboxes.fill(image_of(frame), slot))
        return TensorBatch(batch.frames, tensor, letterboxes)

    def _tensor(self, count: int, hw: tuple[int, int]) -> NDArray[Any]:
        kept: NDArray[Any] | None = getattr(self._own, "tensor", None)
        if kept is None or kept.shape[2:] != hw or len(kept) < count:
            kept = self._own.tensor = np.empty((count, 3, *hw), self._dtype)
        return kept[:count]


def image_of(frame: Frame) -> av.VideoFrame:
    """Return the image of a frame that is to be inferred."""
    assert frame.image is not None, "a dropped frame is never inferred"
    return frame.image


@contextmanager
def readable() -> Iterator[None]:
    """Turn the ValueError of a frame that can't be letterboxed into DecodeError."""
    try:
        yield
    except ValueError as error:
        raise DecodeError(f"gives frames that can't be read: {error}") from error
