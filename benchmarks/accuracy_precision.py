"""The cost of a precision of `build-trt`, as COCO mAP on images of COCO val2017: fp32, fp16 and int8.

Measured is the converted ONNX that TensorRT is given (halves, or explicit Q/DQ nodes), run by ONNX Runtime on the CPU
behind the engine's own preprocessing and postprocessing. So the figures are those of the conversion. The effects
of a GPU (its rounding, another order of sums) are not included, nor is bf16, for which ONNX Runtime has no kernels on a
CPU. int8 is calibrated on images of COCO train2017, none of which is measured on.

The difference to fp32 in mAP50-95 has a 95 % interval over resampled images (paired bootstrap). Exit status 1 if fp16
is more than 0.005 below fp32, or int8 more than 0.02.

    python -m benchmarks.accuracy_precision [--models yolox ...] [--limit N] [--calibrate N] [--json FILE]
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy_detection import (
    CONF,
    MAX_DETECTIONS,
    NMS_IOU,
    Image,
    Matched,
    images_of,
    interval,
    matched,
)
from benchmarks.coco_ap import Boxes, summarise
from benchmarks.machine import asset, described, heading
from engine import Engine, EngineConfig
from engine.inference.backends.onnxruntime import OnnxRuntimeBackend
from engine.inference.model import load_model
from engine.inference.trt.prepare import find_pictures, prepare
from models.dynamic_axes import freed_model
from models.resolution import resolve

MODELS = {
    "street": "street-nano",
    "yolox": "yolox_nano.onnx",
    "yolov5": "yolov5n_fp16.onnx",
    "yolov8": "yolov8n_int8.onnx",
}
PRECISIONS = ("fp32", "fp16", "int8")
MAX_LOST = {"fp32": 0.0, "fp16": 0.005, "int8": 0.02}
STREET = (0, 1, 2, 3, 5, 7)  # street-nano's classes among COCO's 80


def detector(config: EngineConfig, onnx_file: Path) -> Callable[[Image], Boxes]:
    """Return the engine's `detect` with the converted file instead of the model's own."""
    engine = Engine(config, model=replace(load_model(config, workers=1), backend=OnnxRuntimeBackend(onnx_file)))

    def detect(image_bgr: Image) -> Boxes:
        found = engine.detect(np.ascontiguousarray(image_bgr[:, :, ::-1]))
        return Boxes(found.boxes_xyxy, found.class_ids, found.scores)

    return detect


def street_labels(labels: list[Boxes]) -> list[Boxes]:
    """Return COCO's labels with street-nano's class ids; other objects are left out."""
    kept = []
    for truth in labels:
        known = np.isin(truth.class_ids, STREET)
        kept.append(
            Boxes(truth.boxes_xyxy[known], np.searchsorted(STREET, truth.class_ids[known]), truth.scores[known])
        )
    return kept


def measure(name: str, images: list[Image], labels: list[Boxes], calibrate: int, resamples: int) -> dict[str, Any]:
    """Measure the mAP of one model in each precision."""
    model = name if name == "street-nano" else str(asset(f"models/{name}"))
    if name == "street-nano":
        labels = street_labels(labels)
    resolved = resolve(model)
    freed = freed_model(resolved)
    pictures = find_pictures(asset("train/labelled"), calibrate)
    config = EngineConfig(
        model=model, conf=CONF, nms_iou=NMS_IOU, max_detections=MAX_DETECTIONS, shape="square", backend="onnxruntime"
    )
    kept: dict[str, Matched] = {"file": matched(detector(config, freed.path), images, labels)}
    for precision in PRECISIONS:
        made = prepare(freed.path, resolved.manifest.input, precision, pictures if precision == "int8" else None)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "converted.onnx"
            path.write_bytes(made.model.SerializeToString())
            kept[precision] = matched(detector(config, path), images, labels)
    rows: dict[str, dict[str, Any]] = {}
    for precision, matches in kept.items():
        result = summarise(matches)
        rows[precision] = {"map50": result.map50, "map50_95": result.map50_95}
        if precision in ("fp16", "int8"):
            rows[precision]["minus_fp32"] = result.map50_95 - rows["fp32"]["map50_95"]
            rows[precision]["minus_fp32_95"] = interval(matches, kept["fp32"], resamples)
    holds = all(rows["fp32"]["map50_95"] - rows[p]["map50_95"] <= MAX_LOST[p] for p in PRECISIONS)
    return {"model": Path(name).stem, "calibrated_on": len(pictures.pictures), "rows": rows, "holds": holds}


def show(result: dict[str, Any]) -> None:
    print(f"\n{result['model']}")
    print(f"  {'':18} {'mAP50':>7} {'mAP50-95':>9}   difference to fp32")
    for precision, row in result["rows"].items():
        title = "the file as it is" if precision == "file" else precision
        against = ""
        if "minus_fp32" in row:
            low, high = row["minus_fp32_95"]
            against = f"   {row['minus_fp32']:+.4f} [{low:+.4f}, {high:+.4f}]"
        print(f"  {title:18} {row['map50']:7.4f} {row['map50_95']:9.4f}{against}")
    if not result["holds"]:
        print(f"  BROKEN: more lost than {MAX_LOST}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--limit", type=int, help="only so many images")
    parser.add_argument("--calibrate", type=int, default=128, help="pictures for int8 (default 128)")
    parser.add_argument("--resamples", type=int, default=200, help="draws of the bootstrap (default 200)")
    parser.add_argument("--json", type=Path, help="append the results to this file, a line a model")
    arguments = parser.parse_args()
    machine = described("onnx", "onnxruntime", "numpy", "av")
    print(heading(machine))
    images, labels = images_of(asset("images/coco-val"), arguments.limit)
    print(f"{len(images)} images, conf {CONF}, NMS IoU {NMS_IOU}, int8 calibrated on {arguments.calibrate} others")
    results = []
    for family in arguments.models:
        result = measure(MODELS[family], images, labels, arguments.calibrate, arguments.resamples)
        show(result)
        results.append(result)
        if arguments.json:
            with arguments.json.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"benchmark": "accuracy_precision", "machine": machine, **result}) + "\n")
    return 0 if all(result["holds"] for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
