"""Infer: tensors become raw outputs, through a backend. Reading them is the next stage's work."""

from __future__ import annotations

from engine.backends.base import Backend
from engine.records import RawOutputs, TensorBatch
from engine.specs import Spec
from engine.stage import Stage


class Infer(Stage):
    """TensorBatch -> RawOutputs. Safe to call from several threads at once."""

    name = "infer"

    def __init__(self, backend: Backend, layout: str) -> None:
        self.accepts = Spec("TensorBatch", dtype=backend.input_dtype, channels=3, tensor_hw=backend.fixed_hw)
        self.produces = Spec("RawOutputs", layout=layout)
        self._backend = backend

    def process(self, batch: TensorBatch) -> RawOutputs:
        height, width = batch.tensor.shape[2:]
        return RawOutputs(batch.frames, self._backend.run(batch.tensor), (height, width), batch.letterboxes)
