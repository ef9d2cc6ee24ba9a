"""Infer: a batch of frames becomes the heads of a model. This is the only place where CPU and GPU paths meet."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from engine.inference.backends.base import Backend, FrameBackend, frame_backend
from engine.inference.heads import HeadReader
from engine.inference.model import LoadedModel
from engine.records import Frame, FrameBatch, Head, RawOutputs
from engine.stages.preprocess import Preprocess

if TYPE_CHECKING:
    from engine.stages.preprocess_gpu import PreprocessOnGpu
    from engine_ext.letterbox import Letterbox

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


class ChangingRunner:
    """A runner that another one may replace during a run, between two frames of each stream and for good.

    Frames of a stream reach `run` in any order, so that the change takes effect behind the last one that any thread has
    brought by then. Each frame is told who inferred it.
    """

    def __init__(self, runner: Runner, provider: str) -> None:
        self._first = (runner, provider)
        self._second: tuple[Runner, str] | None = None
        self._seen: dict[int, int] = {}  # the highest number of a stream's frames so far, until the change
        self._lock = threading.Lock()

    def change(self, runner: Runner, provider: str) -> None:
        """Have all further frames inferred by another runner, which takes batches of the same shapes."""
        with self._lock:
            self._second = (runner, provider)

    def forget(self) -> None:
        """Forget the streams: the next run's begin with the runner of now."""
        with self._lock:
            self._seen.clear()

    def run(self, batch: FrameBatch, lap: Lap = _not_timed) -> RawOutputs:
        with self._lock:
            second = self._second
            if second is None:
                for frame in batch.frames:
                    self._seen[frame.stream] = max(frame.index, self._seen.get(frame.stream, -1))
            late = [second is not None and frame.index > self._seen.get(frame.stream, -1) for frame in batch.frames]
        made: list[tuple[Frame, Head, Letterbox]] = []
        for chosen, is_late in ((self._first, False), (second, True)):
            part = [frame for frame, each in zip(batch.frames, late, strict=True) if each is is_late]
            if part:
                assert chosen is not None
                runner, provider = chosen
                raw = runner.run(FrameBatch(part, batch.tensor_hw), lap)
                for frame in part:
                    frame.inferred_by = provider
                made += zip(raw.frames, raw.heads, raw.letterboxes, strict=True)
        place = {id(frame): number for number, frame in enumerate(batch.frames)}
        made.sort(key=lambda each: place[id(each[0])])
        frames, heads, letterboxes = (list(each) for each in zip(*made, strict=True))
        return RawOutputs(frames, heads, batch.tensor_hw, letterboxes)


def runner_of(model: LoadedModel, reader: HeadReader) -> Runner:
    """Return the runner that fits a model's backend."""
    spec, backend = model.manifest.input, model.backend
    if (on_gpu := frame_backend(backend)) is not None:
        from engine.stages.preprocess_gpu import PreprocessOnGpu

        return FrameRunner(on_gpu, PreprocessOnGpu(spec, backend.input_dtype), reader)
    return TensorRunner(backend, Preprocess(spec, backend.input_dtype), reader)
