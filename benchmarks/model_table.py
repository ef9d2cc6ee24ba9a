"""Every model in every precision: CPU time of inference, ours, ONNX Runtime's and OpenVINO's, and mAP.

    python -m benchmarks.model_table [--models yolov8n ...] [--rounds N] [--images N] [--markdown FILE] [--json FILE]
                                     [--random-weights DIR]

Times are milliseconds of CPU time a frame, user and system, of one inference on one thread on the tensor of a 16:9
video (the rectangle that the engine runs, or the square where the model has only that), in alternating rounds: the
median, and in brackets the lowest and highest ratio of ours to the best peer's. `ours` is what the engine takes for the
precision; the peers get the same tensor, from the float32 form of the model, or from the file of `yolo-engine quantize`
for int8. mAP50-95 is that of the engine on COCO images that no model and no calibration has seen, followed by the loss
against f32; F1 is the agreement of its boxes with those of f32 (same class, IoU 0.8, scores from 0.25), and in the rows
of f32 with those of ONNX Runtime behind the same engine. Models whose weights are quantized dynamically or in halves
are measured in their plain float32 form, which decides the speed; int8 is made from it here, calibrated on other
images.

With `--random-weights` the rows are those of the ONNX files of a folder instead, whose weights are random: their time
is that of trained ones, but no accuracy can be measured. Their rows say so, and have in its place how far the outputs
are from those of ONNX Runtime in float32 on the same tensor: the mean difference as a share of the outputs' range.
Their int8 has all convolutions in 8 bits, since which of them lose too much depends on the weights.

A peer without a precision has no figure for it. OpenVINO is an extra; without it bf16 and int8 are left out.
"""

import argparse
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy_detection import CONF, MAX_DETECTIONS, NMS_IOU, Image, images_of
from benchmarks.accuracy_precision import street_labels
from benchmarks.coco_ap import Boxes, mean_ap
from benchmarks.machine import asset, described, heading
from benchmarks.text import append_line, markdown_table
from engine import Engine, EngineConfig
from engine.choices.precision import Precision, processor
from engine.errors import BackendMissing, ConfigError, ModelError, PlanError
from engine.inference.model import resolved_model
from engine.inference.trt.to_float32 import plain
from engine.records import Detections
from engine.verification.agreement import Agreement
from engine.verification.quantize import AIM, quantize_model
from models.dynamic_axes import freed_model
from models.onnx_meta import load_onnx

Array = NDArray[Any]
Run = Callable[[Array], Any]

MODELS = {
    "street-nano": "street-nano",
    "yolox-nano": "models/yolox_nano.onnx",
    "yolov5n": "models/yolov5n_fp16.onnx",
    "yolov8n": "models/yolov8n_int8.onnx",
    "yolo11n": "models2/yolo11n_int8.onnx",
    "yolo26n": "models2/yolo26n_int8.onnx",
    "deimv2-atto": "models2/deimv2_atto_coco_int8.onnx",
    "nanodet-m": "models2/nanodet_m.onnx",
    "picodet-s": "models2/picodet_s_320_coco.onnx",
}
# Properties that files don't state.
SAID: dict[str, dict[str, Any]] = {
    "deimv2-atto": {"class_names": "coco80", "input_scale": 1 / 255},
    "nanodet-m": {"class_names": "coco80", "layout": "nanodet"},
    "picodet-s": {"class_names": "coco80", "layout": "picodet"},
}
PRECISIONS: tuple[Precision, ...] = ("f32", "bf16", "int8")
VIDEO_WH = (1280, 720)
INFERENCES = 5  # per round
SURE = 0.25  # scores from here on are compared by F1


@dataclass(frozen=True)
class Row:
    """One model in one precision. Times in milliseconds of CPU time; None if there is none. `f1`: see above. `apart`,
    where the weights are random: the mean difference of outputs as a share of their range."""

    model: str
    precision: str
    tensor: tuple[int, int]
    executor: str
    ours: float
    onnxruntime: float | None
    openvino: float | None
    ratio: float
    ratio_low: float
    ratio_high: float
    map50_95: float | None
    lost: float
    f1: float | None
    in_float: int | None = None
    apart: float | None = None


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def float_form(title: str, folder: Path) -> tuple[str, EngineConfig]:
    """Return the model in plain float32, the file itself or one made from it, and how to name it to the engine."""
    name = MODELS[title]
    model = name if "/" not in name else str(asset(name))
    given: dict[str, Any] = {"conf": CONF, "nms_iou": NMS_IOU, "max_detections": MAX_DETECTIONS, "device": "cpu"}
    given |= SAID.get(title, {})
    loaded = load_onnx(resolved_model(EngineConfig(model=model, **SAID.get(title, {}))).path)
    if not any(node.op_type == "DynamicQuantizeLinear" for node in loaded.graph.node) and not any(
        tensor.data_type == 10 for tensor in loaded.graph.initializer
    ):
        return model, EngineConfig(model=model, **given)
    target = folder / Path(name).name
    try:
        target.write_bytes(plain(loaded).SerializeToString())
    except PlanError:
        return model, EngineConfig(model=model, **given)
    return str(target), EngineConfig(model=str(target), **given)


def onnxruntime_run(data: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda tensor: session.run(None, {name: tensor})


def openvino_run(data: bytes, precision: str, shape: tuple[int, ...]) -> Run | None:
    try:
        import openvino
    except ImportError:
        return None
    core = openvino.Core()
    model = core.read_model(data)
    model.reshape(list(shape))
    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    return lambda tensor: request.infer([tensor], share_inputs=True)


def detected(engine: Engine, images: list[Image]) -> list[Detections]:
    return [engine.detect(np.ascontiguousarray(image[:, :, ::-1])) for image in images]


def accuracy(found: list[Detections], labels: list[Boxes]) -> float:
    boxes = [Boxes(each.boxes_xyxy.astype(np.float64), each.class_ids, each.scores) for each in found]
    return mean_ap(boxes, labels).map50_95


def agreement(ours: list[Detections], theirs: list[Detections]) -> float:
    agreed = Agreement()
    for one, other in zip(ours, theirs, strict=True):
        agreed.add(one.above(SURE), other.above(SURE))
    return agreed.f1


def measure_random(path: Path, count: int, precisions: Sequence[Precision], quantized: Path | None) -> Iterator[Row]:
    """Yield the rows of a model with random weights; what is unavailable is reported and left out."""
    config = EngineConfig(model=str(path), device="cpu", workers=1)
    plainly = onnxruntime_run(model_file(config))
    with tempfile.TemporaryDirectory() as text:
        for precision in precisions:
            if (lacking := processor().lacks(precision)) is not None:
                print(f"  left out: {path.stem} {precision}: this processor has no {lacking}")
                continue
            try:
                model = config.model
                if precision == "int8":
                    model, _ = in_int8(path.stem, config, quantized or Path(text), aim=0.0)
                engine = Engine(config.updated(model=model, precision=precision))
            except (BackendMissing, ConfigError, ModelError) as error:
                print(f"  left out: {path.stem} {precision}: {error}")
                continue
            with engine:
                yield replace(row(path.stem, precision, engine, count), apart=apart(engine, plainly))


def apart(engine: Engine, plainly: Run) -> float:
    """Return the mean difference of the engine's outputs from those of `plainly`, as a share of their range."""
    _, tensor = fed(engine)
    (theirs,) = plainly(tensor)
    return float(np.abs(engine.model.backend.run(tensor) - theirs).mean() / np.ptp(theirs))


def rounds(work: dict[str, Run], tensor: Array, count: int) -> dict[str, list[float]]:
    """Return the CPU milliseconds per inference, a list of `count` for each, measured in turn."""
    for run in work.values():
        run(tensor)
    spent: dict[str, list[float]] = {name: [] for name in work}
    for number in range(count):
        for name in list(work) if number % 2 == 0 else list(work)[::-1]:
            start = cpu_s()
            for _ in range(INFERENCES):
                work[name](tensor)
            spent[name].append((cpu_s() - start) / INFERENCES * 1e3)
    return spent


def measure(
    title: str,
    count: int,
    images: list[Image],
    labels: list[Boxes],
    precisions: Sequence[Precision],
    quantized: Path | None,
) -> Iterator[Row]:
    """Yield the rows of a model; what is unavailable is reported and left out."""
    with tempfile.TemporaryDirectory() as text:
        model, config = float_form(title, Path(text))
        truth = street_labels(labels) if title == "street-nano" else labels
        with Engine(config.updated(model=model, backend="onnxruntime", workers=1)) as engine:
            plainly = detected(engine, images)
        f32: Row | None = None
        in_float: int | None = None
        for precision in precisions:
            if (lacking := processor().lacks(precision)) is not None:
                print(f"  left out: {title} {precision}: this processor has no {lacking}")
                continue
            try:
                if precision == "int8":
                    model, in_float = in_int8(title, config, quantized or Path(text))
                engine = Engine(config.updated(model=model, precision=precision, workers=1))
            except (BackendMissing, ConfigError, ModelError) as error:
                print(f"  left out: {title} {precision}: {error}")
                continue
            with engine:
                seen = detected(engine, images)
                score, f1 = accuracy(seen, truth), agreement(seen, plainly)
                found = row(title, precision, engine, count, score, f1, f32, in_float)
            if precision == "f32":
                f32, plainly = found, seen
            yield found


def in_int8(title: str, config: EngineConfig, folder: Path, aim: float = AIM) -> tuple[str, int | None]:
    """Return the quantized file, made where `folder` has none, and how many convolutions were left in float32 then."""
    target = folder / f"{title}.int8.onnx"
    if target.exists():
        return str(target), None

    def told(line: str) -> None:
        print(f"  {line}")

    made = quantize_model(
        EngineConfig(model=config.model, **SAID.get(title, {})), asset("train/labelled"), target, aim=aim, say=told
    )
    return str(target), len(made.in_float)


def model_file(config: EngineConfig) -> bytes:
    """Return the model's ONNX file, with dynamic axes where it can have them."""
    return freed_model(resolved_model(config)).path.read_bytes()


def fed(engine: Engine) -> tuple[bytes, Array]:
    """Return the model's file and a (1, 3, H, W) float32 tensor of noise, as large as for a 16:9 video."""
    data = model_file(engine.config)
    tensor = np.random.default_rng(0).random((1, 3, *engine.model.shape(VIDEO_WH)), np.float32)
    if not isinstance(engine.model.manifest.input.scale, tuple) and engine.model.manifest.input.scale == 1.0:
        tensor *= 255
    return data, tensor


def row(
    title: str,
    precision: Precision,
    engine: Engine,
    count: int,
    score: float | None = None,
    f1: float | None = None,
    f32: Row | None = None,
    in_float: int | None = None,
) -> Row:
    data, tensor = fed(engine)
    work: dict[str, Run] = {"ours": engine.model.backend.run}
    if precision != "bf16":
        work["ONNX Runtime"] = onnxruntime_run(data)
    if (run := openvino_run(data, precision, tensor.shape)) is not None:
        work["OpenVINO"] = run
    spent = rounds(work, tensor, count)
    best = [min(spent[peer][i] for peer in work if peer != "ours") for i in range(count)]
    ratios = [ours / peer for ours, peer in zip(spent["ours"], best, strict=True)]
    return Row(
        title,
        precision,
        tensor.shape[2:],
        engine.model.backend.name,
        median(spent["ours"]),
        *(median(spent[peer]) if peer in spent else None for peer in ("ONNX Runtime", "OpenVINO")),
        median(ratios),
        min(ratios),
        max(ratios),
        score,
        0.0 if f32 is None or f32.map50_95 is None or score is None else f32.map50_95 - score,
        f1,
        in_float,
    )


COLUMNS = ("model", "precision", "tensor", "ours runs in", "ours, ms", "ONNX Runtime", "OpenVINO", "ours / best peer",
           "mAP50-95", "lost to f32", "F1")  # fmt: skip


def accuracies(found: Row) -> tuple[str, str, str]:
    if found.map50_95 is None or found.f1 is None:
        return "random weights", "", f"outputs {found.apart:.1e} apart"
    return f"{found.map50_95:.3f}", "" if found.precision == "f32" else f"{found.lost:+.3f}", f"{found.f1:.3f}"


def cells(found: Row) -> tuple[str, ...]:
    def ms(value: float | None) -> str:
        return "" if value is None else f"{value:.1f}"

    kept = f" ({found.in_float} in float)" if found.in_float else ""
    return (
        found.model,
        found.precision + kept,
        f"{found.tensor[1]}x{found.tensor[0]}",
        found.executor,
        ms(found.ours),
        ms(found.onnxruntime),
        ms(found.openvino),
        f"{found.ratio:.2f} [{found.ratio_low:.2f} .. {found.ratio_high:.2f}]",
        *accuracies(found),
    )


def markdown(rows: list[Row]) -> str:
    return markdown_table(COLUMNS, [cells(each) for each in rows]) + "\n"


def measured(arguments: argparse.Namespace) -> Iterator[Row]:
    if arguments.random_weights:
        for path in sorted(arguments.random_weights.glob("*.onnx")):
            yield from measure_random(path, arguments.rounds, arguments.precisions, arguments.quantized)
        return
    images, labels = images_of(asset("images/coco-val"), arguments.images)
    for title in arguments.models:
        yield from measure(title, arguments.rounds, images, labels, arguments.precisions, arguments.quantized)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=7, help="rounds of timing (default 7)")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument(
        "--quantized", type=Path, help="keep int8 files here as MODEL.int8.onnx, and take those that are there"
    )
    parser.add_argument("--images", type=int, help="only so many images for mAP")
    parser.add_argument("--random-weights", type=Path, metavar="DIR", help="measure the models of this folder instead")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--json", type=Path, help="append the rows to this file, a line each")
    arguments = parser.parse_args()
    machine = described("onnxruntime", "openvino", "onnx", "numpy")
    print(heading(machine))
    print(" | ".join(COLUMNS))
    rows = []
    for found in measured(arguments):
        print(" | ".join(cells(found)), flush=True)
        rows.append(found)
        append_line(arguments.json, {"benchmark": "model_table", "machine": machine, **asdict(found)})
    text = f"{heading(machine)}\n\n{markdown(rows)}"
    if arguments.markdown:
        arguments.markdown.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
