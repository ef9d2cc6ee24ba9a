"""NumPy twins of engine_ext/decode_heads.pyx: plain, on whole arrays, in float32."""

import numpy as np


def all_finite(output):
    return bool(np.isfinite(output).all())


def decode_yolox(output, input_hw, conf, *, strides=(8, 16, 32), class_mask=None):
    rows = output.astype(np.float32)
    height, width = input_hw
    grids, steps = [], []
    for stride in strides:
        grid_y, grid_x = np.mgrid[: height // stride, : width // stride]
        grids.append(np.stack([grid_x.ravel(), grid_y.ravel()], axis=1))
        steps.append(np.full(grid_x.size, stride))
    grid = np.concatenate(grids).astype(np.float32)
    step = np.concatenate(steps).astype(np.float32)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        centres = (rows[:, :2] + grid) * step
        sizes = np.exp(rows[:, 2:4]) * step
    return _select(np.concatenate([centres, sizes], axis=1), rows[:, 4], rows[:, 5:], conf, class_mask)


def decode_yolov5(output, conf, *, class_mask=None):
    rows = output.astype(np.float32)
    return _select(rows[:, :4], rows[:, 4], rows[:, 5:], conf, class_mask)


def decode_yolov8(output, conf, *, class_mask=None):
    rows = output.astype(np.float32).T
    return _select(rows[:, :4], None, rows[:, 4:], conf, class_mask)


def decode_end2end(output, conf, *, class_mask=None):
    rows = output.astype(np.float32)
    boxes_xyxy, scores = rows[:, :4], rows[:, 4]
    passes = (scores >= np.float32(conf)) & np.isfinite(rows).all(axis=1) & (rows[:, 5] >= 0)
    class_ids = np.where(passes, rows[:, 5], 0).astype(np.int32)
    if class_mask is not None:
        passes &= class_mask.astype(bool)[class_ids]
    return boxes_xyxy[passes], scores[passes], class_ids[passes]


def decode_detr(output, input_hw, conf, *, class_mask=None):
    """As the post-processing of RT-DETR: a sigmoid, the best pairs of query and class, then the threshold."""
    rows = output.astype(np.float32)
    with np.errstate(over="ignore"):
        scores = (np.float32(1) / (np.float32(1) + np.exp(-rows[:, 4:]))).astype(np.float32)
    flat = np.where(np.isfinite(scores), scores, -1).ravel()
    best = np.sort(np.argsort(-flat, kind="stable")[: len(rows)])
    best = best[flat[best] >= np.float32(conf)]
    queries, class_ids = best // scores.shape[1], (best % scores.shape[1]).astype(np.int32)
    boxes = rows[queries, :4] * np.array([input_hw[1], input_hw[0]] * 2, np.float32)
    half = np.float32(0.5) * boxes[:, 2:]
    corners = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    passes = np.isfinite(corners).all(axis=1)
    if class_mask is not None:
        passes &= class_mask.astype(bool)[class_ids]
    return corners[passes], flat[best][passes], class_ids[passes]


def decode_distributed(output, input_hw, conf, *, strides, centre, class_mask=None):
    """As the post-processing of NanoDet and PicoDet: the mean of each side's distribution, from the cell's centre."""
    rows = output.astype(np.float32)
    classes, points, scale = rows.shape[1] - 32, [], []
    for stride in strides:
        y, x = np.mgrid[: -(-input_hw[0] // stride), : -(-input_hw[1] // stride)]
        points.append((np.stack([x.ravel(), y.ravel()], axis=1) + centre) * stride)
        scale.append(np.full(x.size, stride))
    points, scale = np.concatenate(points), np.concatenate(scale)[:, None]
    bins = np.exp(rows[:, classes:].reshape(-1, 4, 8).astype(np.float64))
    sides = (bins * np.arange(8)).sum(axis=2) / bins.sum(axis=2) * scale
    boxes = np.concatenate([sides[:, :2] * -1, sides[:, 2:]], axis=1) + np.tile(points, 2)
    cxcywh = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
    return _select(cxcywh.astype(np.float32), None, rows[:, :classes], conf, class_mask)


def _select(boxes_cxcywh, objectness, class_scores, conf, class_mask):
    conf = np.float32(conf)
    class_scores = np.where(np.isnan(class_scores), np.float32(-np.inf), class_scores)
    class_ids = class_scores.argmax(axis=1).astype(np.int32)  # the first, so the lowest, among equals
    scores = np.take_along_axis(class_scores, class_ids[:, None], axis=1)[:, 0]
    with np.errstate(over="ignore", invalid="ignore"):
        if objectness is not None:
            scores = objectness * scores
        passes = (scores >= conf) & np.isfinite(scores)
        if objectness is not None:
            passes &= objectness >= conf
        half_sizes = np.float32(0.5) * boxes_cxcywh[:, 2:]
        boxes_xyxy = np.concatenate([boxes_cxcywh[:, :2] - half_sizes, boxes_cxcywh[:, :2] + half_sizes], axis=1)
    passes &= np.isfinite(boxes_xyxy).all(axis=1)
    if class_mask is not None:
        passes &= class_mask.astype(bool)[class_ids]
    return boxes_xyxy[passes], scores[passes], class_ids[passes]
