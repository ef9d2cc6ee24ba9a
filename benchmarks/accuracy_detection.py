"""Accuracy of `Engine.detect` compared with a plain detector, as COCO mAP on 128 images of COCO val2017.

Both get the same pixels (decoded by OpenCV), score threshold, NMS overlap and limit of detections. Three rows per
model: the plain detector (OpenCV, ONNX Runtime on the original file, NumPy), the engine on the model's square,
and the engine on rectangles that are padded to the stride only. `ms` is the mean time of one inference alone, for the
engine on one core and in the mix of shapes of these images; for the plain detector it is not taken.

Parity: the engine on the square must be within 0.003 of the plain detector in mAP50 and in mAP50-95. The difference
between rectangle and square has a 95 % interval over resampled images (paired bootstrap), which shows whether 128
images suffice to distinguish the two.

Exit status 1 if a model misses parity.

    python -m benchmarks.accuracy_detection [--models yolox ...] [--limit N] [--json FILE]
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.coco_ap import Boxes, Matches, match_image, read_labels, summarise
from benchmarks.machine import asset, described, heading
from benchmarks.reference_detector import ReferenceDetector
from engine import Engine, EngineConfig
from engine.inference.model import load_model

MODELS = {"yolox": "yolox_nano.onnx", "yolov5": "yolov5n_fp16.onnx", "yolov8": "yolov8n_int8.onnx"}
CONF, NMS_IOU, MAX_DETECTIONS = 0.001, 0.65, 300
TOLERANCE = 0.003
VIDEO_WH = (1280, 720)

Image = NDArray[np.uint8]
Matched = list[dict[int, Matches]]


class TimedBackend:
    """A backend that adds up the time of its inferences by tensor shape."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.seconds: dict[tuple[int, int], list[float]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        start = time.perf_counter()
        output: NDArray[Any] = self._backend.run(tensor)
        self.seconds.setdefault(tensor.shape[2:], []).append(time.perf_counter() - start)
        return output

    def mean_ms(self) -> float:
        return float(np.mean([each for times in self.seconds.values() for each in times])) * 1e3


def images_of(folder: Path, limit: int | None) -> tuple[list[Image], list[Boxes]]:
    """Return BGR images and their labels, sorted by name."""
    images, labels = [], []
    for path in sorted(folder.glob("*.jpg"))[:limit]:
        image = cv2.imread(str(path))
        assert image is not None, f"{path} can't be read"
        images.append(image)
        labels.append(read_labels(folder / "labels" / f"{path.stem}.txt", (image.shape[1], image.shape[0])))
    return images, labels


def matched(detect: Callable[[Image], Boxes], images: list[Image], labels: list[Boxes]) -> Matched:
    return [match_image(detect(image), truth) for image, truth in zip(images, labels, strict=True)]


def with_reference(path: Path, family: str) -> Callable[[Image], Boxes]:
    detector = ReferenceDetector(path, family, conf=CONF, nms_iou=NMS_IOU, max_detections=MAX_DETECTIONS)

    def detect(image_bgr: Image) -> Boxes:
        boxes, scores, class_ids = detector(image_bgr)
        return Boxes(boxes, class_ids, scores)

    return detect


def with_engine(path: Path, shape: str) -> tuple[Callable[[Image], Boxes], TimedBackend, tuple[int, int]]:
    """Return the engine's `detect`, its backend, and the tensor of a 16:9 video."""
    config = EngineConfig(
        model=str(path), conf=CONF, nms_iou=NMS_IOU, max_detections=MAX_DETECTIONS, shape=shape, device="cpu"
    )
    loaded = load_model(config, workers=1)
    timed = TimedBackend(loaded.backend)
    engine = Engine(config, model=replace(loaded, backend=timed))

    def detect(image_bgr: Image) -> Boxes:
        found = engine.detect(np.ascontiguousarray(image_bgr[:, :, ::-1]))
        return Boxes(found.boxes_xyxy, found.class_ids, found.scores)

    return detect, timed, loaded.shape(VIDEO_WH)


def video_ms(backend: TimedBackend, hw: tuple[int, int], repeats: int = 20) -> float:
    """Return the median time of an inference on the tensor of a 16:9 video."""
    tensor = np.full((1, 3, *hw), 0.4, backend.input_dtype)
    for _ in range(repeats):
        backend.run(tensor)
    return float(np.median(backend.seconds[hw][-repeats:])) * 1e3


def interval(a: Matched, b: Matched, resamples: int) -> tuple[float, float]:
    """Return the 95 % interval of mAP50-95(a) - mAP50-95(b) over images drawn with replacement (bootstrap)."""
    rng = np.random.default_rng(0)
    differences = []
    for _ in range(resamples):
        drawn = rng.integers(0, len(a), len(a))
        differences.append(summarise([a[i] for i in drawn]).map50_95 - summarise([b[i] for i in drawn]).map50_95)
    low, high = np.percentile(differences, [2.5, 97.5])
    return float(low), float(high)


def measure(family: str, path: Path, images: list[Image], labels: list[Boxes], resamples: int) -> dict[str, Any]:
    """Measure all figures of one model."""
    kept = {"plain": matched(with_reference(path, family), images, labels)}
    rows: dict[str, dict[str, Any]] = {"plain": {}}
    for shape in ("square", "rect"):
        detect, backend, hw = with_engine(path, shape)
        detect(images[0])
        backend.seconds.clear()
        kept[shape] = matched(detect, images, labels)
        rows[shape] = {
            "backend": backend.name,
            "ms": backend.mean_ms(),
            "video_hw": hw,
            "video_ms": video_ms(backend, hw),
        }
    for name, matches in kept.items():
        result = summarise(matches)
        rows[name] |= {"map50": result.map50, "map50_95": result.map50_95}
    off = max(abs(rows["square"][key] - rows["plain"][key]) for key in ("map50", "map50_95"))
    low, high = interval(kept["rect"], kept["square"], resamples)
    return {
        "model": path.stem,
        "rows": rows,
        "parity": off,
        "parity_holds": off <= TOLERANCE,
        "rect_minus_square": rows["rect"]["map50_95"] - rows["square"]["map50_95"],
        "rect_minus_square_95": [low, high],
    }


def show(result: dict[str, Any]) -> None:
    print(f"\n{result['model']}")
    print(f"  {'':16} {'mAP50':>7} {'mAP50-95':>9} {'ms':>7} {'16:9 tensor':>12} {'ms':>7}")
    for name, row in result["rows"].items():
        title = "plain, square" if name == "plain" else f"engine, {name}"
        timed = ""
        if "ms" in row:
            timed = (
                f" {row['ms']:7.2f} {'x'.join(map(str, row['video_hw'])):>12} {row['video_ms']:7.2f}  {row['backend']}"
            )
        print(f"  {title:16} {row['map50']:7.4f} {row['map50_95']:9.4f}{timed}")
    verdict = "holds" if result["parity_holds"] else f"BROKEN, above {TOLERANCE}"
    low, high = result["rect_minus_square_95"]
    print(f"  parity with plain: off by {result['parity']:.4f}, {verdict}")
    print(f"  rect - square, mAP50-95: {result['rect_minus_square']:+.4f} [{low:+.4f}, {high:+.4f}]")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--limit", type=int, help="only so many images")
    parser.add_argument("--resamples", type=int, default=200, help="draws of the bootstrap (default 200)")
    parser.add_argument("--json", type=Path, help="append the results to this file, a line a model")
    arguments = parser.parse_args()
    machine = described("onnxruntime", "opencv-python-headless", "numpy", "av")
    print(heading(machine))
    images, labels = images_of(asset("images/coco-val"), arguments.limit)
    print(f"{len(images)} images, conf {CONF}, NMS IoU {NMS_IOU}, at most {MAX_DETECTIONS} detections")
    results = []
    for family in arguments.models:
        result = measure(family, asset(f"models/{MODELS[family]}"), images, labels, arguments.resamples)
        show(result)
        results.append(result)
        if arguments.json:
            with arguments.json.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"benchmark": "accuracy_detection", "machine": machine, **result}) + "\n")
    return 0 if all(result["parity_holds"] for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
