"""Inference on ready tensors: the engine's backends with all cores busy, compared with ONNX Runtime's defaults.

The engine runs one inference per core, each on one thread; ONNX Runtime by default runs one on all cores. `ours` is the
engine's default backend, compared with the other installed ones. The parameters include the fastest thread layout
(limit.py), from which the limit is computed.

The largest difference of any output number to ONNX Runtime's is in each row, as a share of the largest number.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import clip, in_words
from benchmarks.context import Context
from benchmarks.limit import Inference, Layout, best_inference, session_of, tensors_of
from benchmarks.machine import asset, cores
from benchmarks.record import Answer, Row, checked
from benchmarks.rounds import alternate
from engine import Engine, EngineConfig
from engine.errors import BackendMissing

Array = NDArray[Any]

CPU_BACKENDS = ("onnxruntime", "native", "openvino")
PAUSE_S = 0.05
COMPARED = 4


class Model(NamedTuple):
    file: str
    inferences: int  # per round
    tolerance: float  # a share of the largest output number
    shapes: tuple[str, ...] = ("rect",)


NANO = Model("yolox_nano.onnx", 60, 1e-3)
MORE = (
    Model("yolox_nano.onnx", 60, 1e-3, ("square",)),
    Model("yolov5n_fp16.onnx", 24, 5e-2),
    Model("yolov8n_int8.onnx", 24, 5e-2),
)
MODELS = {"quick": (NANO,), "full": (NANO, *MORE), "large": (NANO, *MORE)}


def measure(context: Context) -> Iterator[Row]:
    for model in MODELS[context.profile.name]:
        for shape in model.shapes:
            with ExitStack() as stack:
                yield from shape_row(context, model, shape, stack)


def known_backends() -> list[str]:
    """Return those on a CPU that this engine's configuration knows."""
    known = get_args(EngineConfig.model_fields["backend"].annotation)
    return [name for name in CPU_BACKENDS if name in known]


def engines(model: Model, shape: str, stack: ExitStack) -> dict[str, Engine]:
    """Return an engine for each backend that is installed, by the backend's name; the one taken by default is the
    first."""
    found: dict[str, Engine] = {}
    for asked in ["auto", *known_backends()]:
        if asked in found:
            continue
        config = EngineConfig(model=str(asset(f"models/{model.file}")), shape=shape, backend=asked, device="cpu")
        try:
            engine = Engine(config)
        except BackendMissing as error:
            print(f"  left out: {asked}: {error}")
            continue
        stack.callback(engine.close)
        found.setdefault(engine.model.backend.name, engine)
    return found


def shape_row(context: Context, model: Model, shape: str, stack: ExitStack) -> Iterator[Row]:
    auto = "auto" if shape == "rect" else shape  # a model of one size only runs at that; it has no row for `rect`
    found = engines(model, auto, stack)
    ours = next(iter(found))
    if shape == "rect" and not found[ours].model.shape.rect:
        return
    video = clip(context, "people.mp4")
    tensors = tensors_of(found[ours], video)
    plain = session_of(found[ours], None)
    work: dict[str, Callable[[], object]] = {}
    for name, engine in found.items():
        inference = Inference(engine.model.backend.run, Layout(cores(), 1))
        stack.callback(inference.close)
        work[f"engine, {name}"] = lambda inference=inference: inference(tensors, model.inferences)
    by_default = Inference(plain, Layout(1, cores()))
    stack.callback(by_default.close)
    work["ONNX Runtime, its default threads"] = lambda: by_default(tensors, model.inferences)
    answered = same_outputs(found, plain, tensors, model.tolerance)
    best = best_inference(found[ours], tensors)
    best.close()
    samples = alternate(work, rounds=context.profile.rounds, pause_s=PAUSE_S)
    height, width = tensors[0].shape[2:]
    yield context.row(
        "infer",
        f"{found[ours].model.manifest.name} {width}x{height}",
        figures={name: [model.inferences / seconds for seconds in samples[name].wall_s] for name in work},
        unit="fps",
        better="higher",
        ours=f"engine, {ours}",
        input=f"tensors {tensors[0].shape} {tensors[0].dtype}, of {in_words(video)}",
        answer=answered,
        backend=ours,
        layout=f"{cores()} x 1 threads",
        best_layout=f"{best.layout} threads",
        cpu_ms={name: [seconds * 1e3 / model.inferences for seconds in samples[name].cpu_s] for name in work},
    )


def same_outputs(
    found: dict[str, Engine], plain: Callable[[Array], Array], tensors: Sequence[Array], tolerance: float
) -> Answer:
    errors: dict[str, float] = {}
    for name, engine in found.items():
        errors[name] = 0.0
        for tensor in tensors[:COMPARED]:
            expected = plain(tensor).astype(np.float64)
            given = np.asarray(engine.model.backend.run(tensor)).astype(np.float64)
            shape = "the shape differs" if given.shape != expected.shape else ""
            error = np.inf if shape else np.abs(given - expected).max() / max(1e-9, np.abs(expected).max())
            errors[name] = max(errors[name], float(error))
    worst = max(errors.values())
    return checked(
        worst <= tolerance,
        "the outputs of ONNX Runtime",
        f"no number differs by more than {worst:.1g} of the largest",
        **{f"{name}_max_difference": error for name, error in errors.items()},
    )
