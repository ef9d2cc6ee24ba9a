"""Decoding a model's raw output and NMS in vectorised NumPy, as a careful user would write it."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

NAME = "NumPy"
MAX_DETECTIONS = 300
MAX_CANDIDATES = 30_000

# boxes_xyxy (N, 4), scores (N,), class_ids (N,), best score first
Found = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]


def found(output: NDArray[np.generic], layout: str, input_hw: tuple[int, int], conf: float, iou: float) -> Found:
    """Return one image's raw output; `layout` is yolox, yolov5 or yolov8."""
    if layout == "yolov8":
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
        if layout == "yolox":
            grid, step = yolox_grid(input_hw)
            centres = (boxes[:, :2] + grid[passing]) * step[passing]
            boxes = np.concatenate([centres, np.exp(boxes[:, 2:]) * step[passing]], axis=1)
    half = boxes[:, 2:] * np.float32(0.5)
    boxes_xyxy = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    kept = nms(boxes_xyxy, scores, class_ids, iou)
    return boxes_xyxy[kept], scores[kept], class_ids[kept].astype(np.int32)


@cache
def yolox_grid(input_hw: tuple[int, int]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return each anchor's cell (A, 2) and stride (A, 1)."""
    grids, steps = [], []
    for stride in (8, 16, 32):
        grid_y, grid_x = np.mgrid[: input_hw[0] // stride, : input_hw[1] // stride]
        grids.append(np.stack([grid_x.ravel(), grid_y.ravel()], axis=1))
        steps.append(np.full((grid_x.size, 1), stride))
    return np.concatenate(grids).astype(np.float32), np.concatenate(steps).astype(np.float32)


def nms(
    boxes_xyxy: NDArray[np.float32], scores: NDArray[np.float32], class_ids: NDArray[np.intp], iou: float
) -> NDArray[np.intp]:
    """Return indices of the boxes to keep. In float64: with the offsets of the classes, float32 would lose
    fractions."""
    apart = boxes_xyxy.astype(np.float64) + class_ids[:, None] * 10_000.0
    x1, y1, x2, y2 = apart.T
    areas = (x2 - x1) * (y2 - y1)
    order = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    kept = []
    while len(order) and len(kept) < MAX_DETECTIONS:
        first, rest = order[0], order[1:]
        kept.append(first)
        shared = np.maximum(0, np.minimum(x2[first], x2[rest]) - np.maximum(x1[first], x1[rest])) * np.maximum(
            0, np.minimum(y2[first], y2[rest]) - np.maximum(y1[first], y1[rest])
        )
        order = rest[shared <= iou * (areas[first] + areas[rest] - shared)]
    return np.array(kept, dtype=np.intp)
