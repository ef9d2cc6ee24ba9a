"""The limit of the hardware: cores / (CPU seconds per frame of inference alone + of decoding alone).

Inference alone is ready tensors of the engine's shape through the engine's backend, on the thread layout that gives the
most of them. Decoding alone is PyAV on one thread a core. Both keep all cores busy while they are timed, as in a real
run: cores share caches, memory and clock rate, so that a frame costs more CPU time then than alone.

All else that an engine does is its own to make small: letterbox, reading the output, NMS, tracks, files, waiting. To
hold on a noisy machine, the limit is measured in the same rounds as the engine, and the share is taken round by round.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import cores
from benchmarks.rounds import Samples
from engine import Engine
from engine.inference.model import resolved_model
from engine.records import Frame, FrameBatch
from engine.stages.preprocess import Preprocess

MAX_TENSORS = 16
PROBES = 12

Array = NDArray[Any]


class Layout(NamedTuple):
    """`workers` concurrent inferences, each on `threads` threads."""

    workers: int
    threads: int

    def __str__(self) -> str:
        return f"{self.workers} x {self.threads}"


class Inference:
    """`run` on ready tensors, `layout.workers` at a time, on persistent threads."""

    def __init__(self, run: Callable[[Array], Any], layout: Layout) -> None:
        self.layout = layout
        self._run = run
        self._pool = ThreadPoolExecutor(layout.workers, "inference")

    def __call__(self, tensors: Sequence[Array], count: int) -> None:
        """Infer `count` times, cycling through the tensors."""
        for _ in self._pool.map(self._run, islice(cycle(tensors), count)):
            pass

    def close(self) -> None:
        self._pool.shutdown()


def tensors_of(engine: Engine, video: Path, most: int = MAX_TENSORS) -> list[Array]:
    """Return the first frames of a video as the engine's input: each (1, 3, H, W)."""
    import av

    stage = Preprocess(engine.model.manifest.input, engine.model.backend.input_dtype)
    found = []
    with av.open(str(video)) as source:
        time_base = source.streams.video[0].time_base
        assert time_base is not None
        for number, image in enumerate(islice(source.decode(video=0), most)):
            batch = FrameBatch(
                [Frame(0, number, number, 1, time_base, image)], engine.model.shape((image.width, image.height))
            )
            found.append(stage.process(batch).tensor.copy())
    return found


def layouts(available: int) -> list[Layout]:
    """Return all even divisions of the cores, most workers first."""
    return [Layout(available // threads, threads) for threads in range(1, available + 1) if available % threads == 0]


def candidates(engine: Engine) -> list[Inference]:
    """Return the engine's backend, one thread a worker; and for ONNX Runtime sessions of its other layouts, too."""
    first, *others = layouts(cores())
    found = [Inference(engine.model.backend.run, first)]
    if engine.model.backend.name == "onnxruntime":
        found += [Inference(session_of(engine, each.threads), each) for each in others]
    return found


def session_of(engine: Engine, threads: int | None) -> Callable[[Array], Array]:
    """Return the engine's model in ONNX Runtime itself, on `threads` threads; None: as many as it takes by default."""
    import onnxruntime as ort

    from models.dynamic_axes import freed_model

    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    path = freed_model(resolved_model(engine.config)).path
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(tensor: Array) -> Array:
        return np.asarray(session.run(None, {name: tensor})[0])

    return run


def best_inference(engine: Engine, tensors: Sequence[Array]) -> Inference:
    """Return the layout that infers fastest, found by a short try of each; the others are closed."""
    tried: list[tuple[float, Inference]] = []
    for inference in candidates(engine):
        inference(tensors, 2 * inference.layout.workers)
        times = []
        for _ in range(2):
            start = time.perf_counter()
            inference(tensors, PROBES)
            times.append(time.perf_counter() - start)
        tried.append((min(times), inference))
    tried.sort(key=lambda pair: pair[0])
    for _, inference in tried[1:]:
        inference.close()
    return tried[0][1]


def decode_all(video: Path) -> int:
    """Decode a video on this thread, discarding the frames, and return their number."""
    import av

    with av.open(str(video)) as source:
        stream = source.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in source.decode(stream))


class Limit:
    """The two works to be timed in the same rounds as the engine: `infer` and `decode`; then what follows of them."""

    def __init__(self, engine: Engine, video: Path, frames: int, most_inferences: int = 120) -> None:
        self.frames = frames
        self.cores = cores()
        self.inferences = min(frames, most_inferences)
        self._video = video
        self._tensors = tensors_of(engine, video)
        self._inference = best_inference(engine, self._tensors)
        self.layout = self._inference.layout
        self.tensor_hw: tuple[int, int] = self._tensors[0].shape[2:]

    def infer(self) -> None:
        self._inference(self._tensors, self.inferences)

    def decode(self) -> None:
        """Decode the video on every core concurrently."""
        threads = [threading.Thread(target=decode_all, args=(self._video,)) for _ in range(self.cores)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def close(self) -> None:
        self._inference.close()

    def cpu_s_a_frame(self, infer: Samples, decode: Samples) -> list[tuple[float, float]]:
        """Return the CPU seconds per frame of inference and decoding, a pair per round."""
        decoded = self.frames * self.cores
        return [(a / self.inferences, b / decoded) for a, b in zip(infer.cpu_s, decode.cpu_s, strict=True)]

    def fps(self, infer: Samples, decode: Samples) -> list[float]:
        """Return the limit of each round."""
        return [limit_fps(self.cores, *pair) for pair in self.cpu_s_a_frame(infer, decode)]

    def fps_on_the_clock(self, infer: Samples, decode: Samples) -> list[float]:
        """Return the same by wall time: lower than `fps` where other programs took part of the cores in that round."""
        decoded = self.frames * self.cores
        return [1 / (a / self.inferences + b / decoded) for a, b in zip(infer.wall_s, decode.wall_s, strict=True)]


def limit_fps(available: int, infer_s: float, decode_s: float) -> float:
    """Return the frames per second of `available` cores, given the CPU seconds per frame of each work."""
    return available / (infer_s + decode_s)
