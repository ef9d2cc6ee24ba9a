"""Infer: a batch of frames becomes the heads of a model. This is the only place where CPU and GPU paths meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from engine.inference.backends.base import Backend, FrameBackend, frame_backend
from engine.inference.heads import HeadReader
from engine.inference.model import LoadedModel
from engine.records import FrameBatch, RawOutputs
from engine.stages.preprocess import Preprocess

if TYPE_CHECKING:
    from engine.stages.preprocess_gpu import PreprocessOnGpu

Lap = Callable[[str, int], object]
"""Called after each step with its name and the number of frames."""


def _not_timed(step: str, frames: int) -> None:
    pass


class Runner(Protocol):
    """FrameBatch -> RawOutputs. Safe to call from several threads at once."""

    def run(self, batch: FrameBatch, lap: Lap = ...) -> RawOutputs:
        """Raise DecodeError if a frame can't be read, and BackendError."""
        ...


class TensorRunner:
    """Letterboxes frames on the CPU, into a tensor that any backend takes."""

    def __init__(self, backend: Backend, preprocess: Preprocess, reader: HeadReader) -> None:
        self._backend = backend
        self._preprocess = preprocess
        self._reader = reader

    def run(self, batch: FrameBatch, lap: Lap = _not_timed) -> RawOutputs:
        made = self._preprocess.process(batch)
        lap("preprocess", len(batch.frames))
        output = self._backend.run(made.tensor)
        lap("infer", len(batch.frames))
        heads = [self._reader.head(each, batch.tensor_hw) for each in output]
        return RawOutputs(batch.frames, heads, batch.tensor_hw, made.letterboxes)


class FrameRunner:
    """Uploads the planes of frames as they are; the GPU letterboxes them, and reads heads if it can."""

    def __init__(self, backend: FrameBackend, preprocess: PreprocessOnGpu, reader: HeadReader) -> None:
        self._backend = backend
        self._preprocess = preprocess
        self._reader = reader
        self._filters = backend.head_filters(reader.conf, reader.class_mask)

    def run(self, batch: FrameBatch, lap: Lap = _not_timed) -> RawOutputs:
        made = self._preprocess.process(batch)
        lap("preprocess", len(batch.frames))
        answers = self._backend.run_frames(made.tensor, self._filters)
        lap("infer", len(batch.frames))
        heads = [self._reader.head(each, batch.tensor_hw) for each in answers]
        return RawOutputs(batch.frames, heads, batch.tensor_hw, made.letterboxes)


def runner_of(model: LoadedModel, reader: HeadReader) -> Runner:
    """Return the runner that fits a model's backend."""
    spec, backend = model.manifest.input, model.backend
    if (on_gpu := frame_backend(backend)) is not None:
        from engine.stages.preprocess_gpu import PreprocessOnGpu

        return FrameRunner(on_gpu, PreprocessOnGpu(spec, backend.input_dtype), reader)
    return TensorRunner(backend, Preprocess(spec, backend.input_dtype), reader)
