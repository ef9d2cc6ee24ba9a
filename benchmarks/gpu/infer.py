"""Inference on ready tensors at each batch size: the engine's backends, two at a time, and ONNX Runtime alone.

The output for each image of a batch must be that of the image alone in ONNX Runtime on the CPU, within TOLERANCES: the
largest difference, and that of 99.9 % of the numbers, relative to the field's largest number.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import in_words
from benchmarks.gpu.setting import Setting
from benchmarks.limit import Inference, Layout, tensors_of
from benchmarks.machine import cores
from benchmarks.peers.onnxruntime_gpu import session_on
from benchmarks.record import Row, checked
from benchmarks.rounds import alternate
from engine.inference.model import resolved_model

# A GPU computes in fp16, or with TF32 in fp32; a CPU does not.
TOLERANCES = {True: (0.2, 0.04), False: (1e-3, 1e-4)}
AT_A_TIME = 2
IMAGES = 16
MIN_IMAGES, MIN_BATCHES = 256, 8
PAUSE_S = 0.1

Array = NDArray[Any]
Run = Callable[[Array], Any]


def measure(setting: Setting) -> Iterator[Row]:
    """Yield an engine per batch size, for which it reserves its memory."""
    from models.dynamic_axes import freed_model

    path = freed_model(resolved_model(setting.config("auto"))).path
    alone, reference = session_on(path, setting.providers), session_on(path, ["CPUExecutionProvider"])
    for batch in setting.batches:
        with setting.engines(batch=batch) as engines:
            tensors = {name: tensors_of(engine, setting.video, IMAGES) for name, engine in engines.items()}
            expected = [reference(tensor) for tensor in next(iter(tensors.values()))]
            runs: dict[str, Run] = {name: engine.model.backend.run for name, engine in engines.items()}
            yield row_of(setting, runs, alone, tensors, expected, batch)


def row_of(
    setting: Setting,
    runs: dict[str, Run],
    alone: Run,
    tensors: dict[str, list[Array]],
    expected: list[Array],
    batch: int,
) -> Row:
    peer = f"ONNX Runtime alone, {'CUDA' if setting.on_gpu else 'CPU'}"
    count = max(MIN_BATCHES, -(-MIN_IMAGES // batch)) if setting.on_gpu else 2
    names = list(runs)
    errors = {name: errors_of(runs[name](stacked(tensors[name], batch)), expected) for name in names}
    with ExitStack() as stack:
        work: dict[str, Callable[[], object]] = {}
        at_a_time = AT_A_TIME if setting.on_gpu else cores()
        for name in names:
            inference = Inference(runs[name], Layout(at_a_time, 1))
            stack.callback(inference.close)
            batches = [stacked(tensors[name], batch)]
            work[f"engine, {name}"] = lambda inference=inference, batches=batches: inference(batches, count)
        ready = stacked(tensors[names[0]], batch)
        work[peer] = lambda: [alone(ready) for _ in range(count)]
        samples = alternate(work, rounds=setting.context.profile.rounds, pause_s=PAUSE_S)
    worst, most = (max(each[i] for each in errors.values()) for i in (0, 1))
    allowed = TOLERANCES[setting.on_gpu]
    height, width = ready.shape[2:]
    return setting.context.row(
        "infer",
        f"batch {batch}, {width}x{height}",
        figures={name: [count * batch / seconds for seconds in samples[name].wall_s] for name in work},
        unit="images a second",
        better="higher",
        ours=f"engine, {names[0]}",
        input=f"tensors {ready.shape} of {in_words(setting.video)}",
        answer=checked(
            worst <= allowed[0] and most <= allowed[1],
            "ONNX Runtime on the CPU, image by image",
            f"within {allowed[0]:g}, 99.9 % within {allowed[1]:g} of the field's largest number",
            **{f"{name}_worst": each[0] for name, each in errors.items()},
            **{f"{name}_most": each[1] for name, each in errors.items()},
        ),
        **setting.told(batch=batch, at_a_time=at_a_time, dtypes={name: str(tensors[name][0].dtype) for name in names}),
    )


def stacked(tensors: list[Array], batch: int) -> Array:
    """Return a batch of the images, repeated as needed."""
    return np.concatenate([tensors[i % len(tensors)] for i in range(batch)])


def errors_of(given: Any, expected: list[Array]) -> tuple[float, float]:
    """Return the largest difference of any number to its image's own answer, and that of 99.9 % of them, as a share of
    the largest number of its field, or of 1."""
    outputs = [np.asarray(each, np.float64) for each in given]
    wanted = [np.asarray(expected[i % len(expected)][0], np.float64) for i in range(len(outputs))]
    if any(ours.shape != theirs.shape for ours, theirs in zip(outputs, wanted, strict=True)):
        return float("inf"), float("inf")
    ours, theirs = np.stack(outputs), np.stack(wanted)
    fields = 2 if ours.shape[2] < ours.shape[1] else 1  # (B, anchors, fields), or yolov8's (B, fields, anchors)
    others = tuple(axis for axis in range(3) if axis != fields)
    largest = np.maximum(1.0, np.abs(theirs).max(axis=others, keepdims=True))
    differences = np.abs(ours - theirs) / largest
    return float(differences.max()), float(np.quantile(differences, 0.999))
