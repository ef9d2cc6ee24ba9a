"""Infer: tensors become raw outputs, through a backend. Reading them is the next stage's work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from engine.inference.backends.base import Backend, FrameBackend
from engine.records import RawOutputs, TensorBatch

if TYPE_CHECKING:
    from engine.inference.gpu.frames import PlaneBatch
    from engine.inference.layouts.base import Decoded


class Infer:
    """TensorBatch -> RawOutputs. Safe to call from several threads at once."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def process(self, batch: TensorBatch) -> RawOutputs:
        height, width = batch.tensor.shape[2:]
        output = self._run(batch.tensor)
        return RawOutputs(batch.frames, output, (height, width), batch.letterboxes)

    def _run(self, tensor: NDArray[Any] | PlaneBatch) -> NDArray[Any] | Sequence[NDArray[Any] | Decoded]:
        if isinstance(tensor, np.ndarray):
            return self._backend.run(tensor)
        return cast("FrameBackend", self._backend).run_frames(tensor)
