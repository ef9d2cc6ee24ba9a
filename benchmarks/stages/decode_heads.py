"""Decoding a raw output and NMS for one image: the kernels compared with vectorised NumPy.

With the assets: the outputs of three models on ten images. Without: synthetic outputs of the same shape with 120
anchors above the usual thresholds (images of that set have 30 to 120), ten round each of 12 objects; the boxes of a
YOLOX grid are at their own cells instead. A row says which; the two kinds must not be compared.

The peer filters by objectness (or by the best class) before it computes anything else, as a careful user would write
it; its NMS offsets the boxes of each class and drops all overlaps of a kept box at once. Every image must have the
same classes and scores, and boxes within 0.01 pixel. Where a pair of boxes is within rounding of the threshold, the
kernel may decide as the peer does with a threshold that is a rounding lower or higher.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.context import Context
from benchmarks.machine import ASSETS
from benchmarks.peers import numpy_heads
from benchmarks.peers.numpy_heads import MAX_DETECTIONS, Found
from benchmarks.record import Answer, Row, checked
from benchmarks.rounds import Repeated, alternate_short
from engine.inference.layouts import get_layout
from engine_ext.nms import nms

OURS = "decode + nms"
IOU, ROUNDING = 0.45, 1e-6
IMAGES = 10
# The usual threshold for displaying boxes, one for a tracker, and the one for measuring accuracy.
CONFS = (0.25, 0.1, 0.001)
TOLERANCE_PX = 0.01


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

Array = NDArray[np.generic]


def measure(context: Context) -> Iterator[Row]:
    for head in HEADS:
        real = (ASSETS / f"models/{head.model}.onnx").exists()
        outputs = real_outputs(head) if real else synthetic_outputs(head)
        for conf in CONFS:
            yield measure_case(context, head, outputs, conf, "real" if real else "synthetic")


def measure_case(context: Context, head: Head, outputs: list[Array], conf: float, kind: str) -> Row:
    """Measure rounds that decode all outputs, and return the figures per output."""
    work = {
        OURS: Repeated(all_by_kernel, head, outputs, conf),
        numpy_heads.NAME: Repeated(all_by_peer, head, outputs, conf),
    }
    times = alternate_short(work, rounds=context.profile.rounds, scale=1e3 / len(outputs))
    candidates = [len(get_layout(head.layout).decode(output, head.input_hw, conf)[1]) for output in outputs]
    return context.row(
        "decode_heads",
        f"{head.model} {kind}, conf {conf}",
        figures=times,
        unit="ms an image",
        better="lower",
        ours=OURS,
        input=f"{len(outputs)} {kind} {np.dtype(head.dtype)} outputs {head.shape} of {head.model}, "
        f"{np.mean(candidates):.0f} candidates an image, NMS IoU {IOU}",
        answer=answer_of(head, outputs, conf),
        conf=conf,
    )


def all_by_kernel(head: Head, outputs: list[Array], conf: float) -> list[Found]:
    return [by_kernel(head, output, conf) for output in outputs]


def all_by_peer(head: Head, outputs: list[Array], conf: float) -> list[Found]:
    return [by_peer(head, output, conf) for output in outputs]


def by_kernel(head: Head, output: Array, conf: float) -> Found:
    boxes_xyxy, scores, class_ids = get_layout(head.layout).decode(output, head.input_hw, conf)
    kept = nms(boxes_xyxy, scores, class_ids, IOU, max_detections=MAX_DETECTIONS)
    return boxes_xyxy[kept], scores[kept], class_ids[kept]


def by_peer(head: Head, output: Array, conf: float, iou: float = IOU) -> Found:
    return numpy_heads.found(output, head.layout, head.input_hw, conf, iou)


def answer_of(head: Head, outputs: list[Array], conf: float) -> Answer:
    same, by_rounding, detections, worst = 0, 0, 0, 0.0
    for output in outputs:
        ours = by_kernel(head, output, conf)
        detections += len(ours[1])
        error = largest_error(ours, by_peer(head, output, conf))
        if error is None:
            others = (by_peer(head, output, conf, IOU + step) for step in (-ROUNDING, ROUNDING))
            errors = [found for found in (largest_error(ours, other) for other in others) if found is not None]
            by_rounding += bool(errors)
            error = min(errors, default=None)
        else:
            same += 1
        worst = max(worst, error or 0.0)
    return checked(
        same + by_rounding == len(outputs),
        "NumPy in the same run",
        f"the same in {same} of {len(outputs)} images" + (f", by a rounding in {by_rounding}" if by_rounding else ""),
        images_same=same,
        images_by_rounding=by_rounding,
        detections=detections,
        max_box_error_px=worst,
    )


def largest_error(one: Found, other: Found) -> float | None:
    """Of the boxes, in pixels; None if classes or scores differ, or boxes by more than TOLERANCE_PX."""
    if len(one[1]) != len(other[1]) or (one[2] != other[2]).any() or (one[1] != other[1]).any():
        return None
    error = float(np.abs(one[0] - other[0]).max(initial=0.0))
    return error if error <= TOLERANCE_PX else None


def real_outputs(head: Head) -> list[Array]:
    import cv2
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    path = ASSETS / f"models/{head.model}.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    height, width = head.input_hw
    outputs = []
    for image in sorted((ASSETS / "images/coco-val").glob("*.jpg"))[:IMAGES]:
        image_bgr = cv2.imread(str(image))
        scale = min(height / image_bgr.shape[0], width / image_bgr.shape[1])
        size_wh = (round(image_bgr.shape[1] * scale), round(image_bgr.shape[0] * scale))
        left, top = (0, 0) if head.layout == "yolox" else ((width - size_wh[0]) // 2, (height - size_wh[1]) // 2)
        canvas = np.full((height, width, 3), 114, dtype=np.uint8)
        canvas[top : top + size_wh[1], left : left + size_wh[0]] = cv2.resize(image_bgr, size_wh)
        pixels = canvas if head.layout == "yolox" else canvas[:, :, ::-1] / np.float32(255)
        tensor = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], dtype=head.dtype)
        outputs.append(np.ascontiguousarray(session.run(None, {name: tensor})[0][0]))
    return outputs


def synthetic_outputs(head: Head, images: int = IMAGES) -> list[Array]:
    """Most scores near zero, some ten anchors round each of 12 objects high, all others between 1e-6 and 1e-2."""
    outputs = []
    columns_first = head.layout == "yolov8"
    anchors = head.shape[1] if columns_first else head.shape[0]
    for seed in range(images):
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
