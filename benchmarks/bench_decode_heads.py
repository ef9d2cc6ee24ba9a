"""Time of decode + NMS for one image: the kernels against vectorised NumPy doing the same.

    YOLO_ENGINE_ASSETS=... python benchmarks/bench_decode_heads.py [--rounds 40] [--json FILE]

With the assets: real outputs of the three models on ten images, letterboxed. Without: synthetic outputs of the same
shape with 120 anchors above the usual thresholds (real images of this set: 30 to 120), ten round each of 12 objects;
the boxes of a YOLOX grid lie at their own cells instead. The two kinds of numbers are not to be compared.

Kernel and peer take turns, round by round, so that a slow spell of the machine meets both; a round is one pass over
all images. Reported: the median time an image, the spread (10th to 90th percentile of the rounds), and the ratio of
the medians. The peer filters by objectness (or by the best class) before it computes anything else, as a careful user
would write it; its NMS offsets the boxes of each class and drops all overlaps of a kept box at a time. Answers are
compared in the same run, image by image: the same classes and scores, boxes within 0.01 pixel. Where a pair of boxes
lies within rounding of the threshold the two may decide differently; such images are counted and shown, not hidden.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.layouts import get_layout
from engine_ext.nms import nms

ROOT = Path(__file__).resolve().parent.parent
IOU = 0.45
IMAGES = 10
MAX_DETECTIONS = 300
# Confidence thresholds: the usual one for showing boxes, one for a tracker, and the one accuracy is measured at.
CONFS = (0.25, 0.1, 0.001)

Answer = tuple[np.ndarray, np.ndarray, np.ndarray]


class Head(NamedTuple):
    model: str
    layout: str
    input_hw: tuple[int, int]
    shape: tuple[int, int]
    dtype: type


HEADS = (
    Head("yolox_nano", "yolox", (416, 416), (3549, 85), np.float32),
    Head("yolov5n_fp16", "yolov5", (640, 640), (25200, 85), np.float16),
    Head("yolov8n_int8", "yolov8", (640, 640), (84, 8400), np.float32),
)


def real_outputs(head: Head, assets: Path) -> list[np.ndarray]:
    import cv2
    import onnxruntime

    session = onnxruntime.InferenceSession(assets / f"models/{head.model}.onnx", providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    height, width = head.input_hw
    outputs = []
    for path in sorted((assets / "images/coco-val").glob("*.jpg"))[:IMAGES]:
        image_bgr = cv2.imread(str(path))
        scale = min(height / image_bgr.shape[0], width / image_bgr.shape[1])
        size_wh = (round(image_bgr.shape[1] * scale), round(image_bgr.shape[0] * scale))
        left, top = (0, 0) if head.layout == "yolox" else ((width - size_wh[0]) // 2, (height - size_wh[1]) // 2)
        canvas = np.full((height, width, 3), 114, dtype=np.uint8)
        canvas[top : top + size_wh[1], left : left + size_wh[0]] = cv2.resize(image_bgr, size_wh)
        pixels = canvas if head.layout == "yolox" else canvas[:, :, ::-1] / np.float32(255)
        tensor = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=head.dtype)
        outputs.append(np.ascontiguousarray(session.run(None, {name: tensor})[0][0]))
    return outputs


def synthetic_outputs(head: Head) -> list[np.ndarray]:
    """Most scores near zero, some ten anchors round each of 12 objects high, all others between 1e-6 and 1e-2."""
    outputs = []
    columns_first = head.layout == "yolov8"
    anchors = head.shape[1] if columns_first else head.shape[0]
    for seed in range(IMAGES):
        rng = np.random.default_rng(seed)
        high = rng.choice(anchors, 120, replace=False)
        objects = rng.uniform([50, 50, 20, 20], [360, 360, 150, 150], (12, 4))
        boxes = rng.uniform(5, 400, (anchors, 4))
        boxes[high] = np.repeat(objects, 10, axis=0) + rng.normal(0, 3, (120, 4))
        if head.layout == "yolox":
            boxes = np.concatenate([rng.uniform(0, 1, (anchors, 2)), rng.uniform(0, 2, (anchors, 2))], axis=1)
        classes = 10 ** rng.uniform(-6, -3, (anchors, 80))
        classes[high, np.repeat(rng.integers(0, 80, 12), 10)] = rng.uniform(0.4, 1, 120)
        if columns_first:
            rows = np.concatenate([boxes, classes], axis=1).T
        else:
            objectness = 10 ** rng.uniform(-6, -2, (anchors, 1))
            objectness[high] = rng.uniform(0.3, 1, (120, 1))
            rows = np.concatenate([boxes, objectness, classes], axis=1)
        outputs.append(np.ascontiguousarray(rows, dtype=head.dtype))
    return outputs


def kernel(head: Head, output: np.ndarray, conf: float) -> Answer:
    boxes_xyxy, scores, class_ids = get_layout(head.layout).decode(output, head.input_hw, conf)
    kept = nms(boxes_xyxy, scores, class_ids, IOU, max_detections=MAX_DETECTIONS)
    return boxes_xyxy[kept], scores[kept], class_ids[kept]


def yolox_grid(input_hw: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    grids, steps = [], []
    for stride in (8, 16, 32):
        grid_y, grid_x = np.mgrid[: input_hw[0] // stride, : input_hw[1] // stride]
        grids.append(np.stack([grid_x.ravel(), grid_y.ravel()], axis=1))
        steps.append(np.full((grid_x.size, 1), stride))
    return np.concatenate(grids).astype(np.float32), np.concatenate(steps).astype(np.float32)


GRIDS = {head.input_hw: yolox_grid(head.input_hw) for head in HEADS if head.layout == "yolox"}


def peer(head: Head, output: np.ndarray, conf: float) -> Answer:
    if head.layout == "yolov8":
        best = output[4:].max(axis=0)
        passing = np.flatnonzero(best >= np.float32(conf))
        rows = output[:, passing].T.astype(np.float32)
        boxes, scores, class_ids = rows[:, :4], rows[:, 4:].max(axis=1), rows[:, 4:].argmax(axis=1)
    else:
        passing = np.flatnonzero(output[:, 4] >= np.float32(conf))
        rows = output[passing].astype(np.float32)
        class_ids = rows[:, 5:].argmax(axis=1)
        scores = rows[:, 4] * rows[np.arange(len(rows)), 5 + class_ids]
        passes = scores >= np.float32(conf)
        passing, boxes, scores, class_ids = passing[passes], rows[passes, :4], scores[passes], class_ids[passes]
        if head.layout == "yolox":
            grid, step = GRIDS[head.input_hw]
            centres = (boxes[:, :2] + grid[passing]) * step[passing]
            boxes = np.concatenate([centres, np.exp(boxes[:, 2:]) * step[passing]], axis=1)
    half = boxes[:, 2:] * np.float32(0.5)
    boxes_xyxy = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    kept = peer_nms(boxes_xyxy, scores, class_ids)
    return boxes_xyxy[kept], scores[kept], class_ids[kept].astype(np.int32)


def peer_nms(boxes_xyxy: np.ndarray, scores: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """In float64: with the offsets of the classes, float32 would lose the fractions of a pixel."""
    apart = boxes_xyxy.astype(np.float64) + class_ids[:, None] * 10_000.0
    x1, y1, x2, y2 = apart.T
    areas = (x2 - x1) * (y2 - y1)
    order = np.argsort(-scores, kind="stable")[:30_000]
    kept = []
    while len(order) and len(kept) < MAX_DETECTIONS:
        first, rest = order[0], order[1:]
        kept.append(first)
        shared = np.maximum(0, np.minimum(x2[first], x2[rest]) - np.maximum(x1[first], x1[rest])) * np.maximum(
            0, np.minimum(y2[first], y2[rest]) - np.maximum(y1[first], y1[rest])
        )
        order = rest[shared <= IOU * (areas[first] + areas[rest] - shared)]
    return np.array(kept, dtype=np.intp)


def same(one: Answer, other: Answer) -> bool:
    return (
        len(one[1]) == len(other[1])
        and bool((one[2] == other[2]).all())
        and bool((one[1] == other[1]).all())
        and bool((np.abs(one[0] - other[0]) <= 0.01).all())
    )


def time_ms(function: Callable[[Head, np.ndarray, float], Answer], head: Head, outputs: list, conf: float) -> float:
    start = time.perf_counter()
    for output in outputs:
        function(head, output, conf)
    return (time.perf_counter() - start) / len(outputs) * 1e3


def spread(times_ms: list[float]) -> tuple[float, float, float]:
    """10th percentile, median, 90th percentile."""
    tenths = statistics.quantiles(times_ms, n=10)
    return tenths[0], statistics.median(times_ms), tenths[-1]


def measure(head: Head, outputs: list[np.ndarray], conf: float, rounds: int) -> dict:
    differing = [
        i for i, output in enumerate(outputs) if not same(kernel(head, output, conf), peer(head, output, conf))
    ]
    times: dict[str, list[float]] = {"kernel": [], "peer": []}
    for turn in range(rounds):
        functions = (("kernel", kernel), ("peer", peer))
        for name, function in functions if turn % 2 else functions[::-1]:
            times[name].append(time_ms(function, head, outputs, conf))
    kernel_ms, peer_ms = spread(times["kernel"]), spread(times["peer"])
    candidates = [len(get_layout(head.layout).decode(output, head.input_hw, conf)[1]) for output in outputs]
    return {
        "model": head.model,
        "layout": head.layout,
        "conf": conf,
        "candidates_an_image": statistics.mean(candidates),
        "kernel_ms": kernel_ms,
        "peer_ms": peer_ms,
        "ratio": peer_ms[1] / kernel_ms[1],
        "images": len(outputs),
        "images_with_another_answer": differing,
    }


def machine() -> dict[str, str]:
    processor = platform.processor()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {
        "processor": f"{processor}, {os.cpu_count()} cores",
        "commit": described.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="at least 2")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    options = parser.parse_args()
    if options.rounds < 2:
        parser.error(f"--rounds must be 2 or more. Got {options.rounds}.")
    assets = (ROOT / (os.environ.get("YOLO_ENGINE_ASSETS") or "../shared")).resolve()
    where = machine()
    print("; ".join(where.values()))
    results = []
    for head in HEADS:
        real = (assets / f"models/{head.model}.onnx").exists()
        outputs = real_outputs(head, assets) if real else synthetic_outputs(head)
        for conf in CONFS:
            result = {"input": "real" if real else "synthetic", **measure(head, outputs, conf, options.rounds)}
            results.append(result)
            low, median, high = result["kernel_ms"]
            peer_low, peer_median, peer_high = result["peer_ms"]
            print(
                f"{result['input']} {head.layout:7} conf {conf:<5} {result['candidates_an_image']:7.1f} candidates  "
                f"kernel {median:.3f} ms ({low:.3f}-{high:.3f})  NumPy {peer_median:.3f} ms "
                f"({peer_low:.3f}-{peer_high:.3f})  ratio {result['ratio']:.1f}  "
                f"other answers {len(result['images_with_another_answer'])} of {result['images']}"
            )
    if options.json:
        options.json.write_text(json.dumps({"machine": where, "results": results}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
