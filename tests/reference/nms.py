"""NumPy twin of engine_ext/nms.pyx: one loop over the candidates, in float32."""

import numpy as np


def iou_with(boxes_xyxy, box_xyxy):
    """(N,) float32: the intersection over union of each of (N, 4) boxes with one box."""
    with np.errstate(all="ignore"):
        left_top = np.maximum(boxes_xyxy[:, :2], box_xyxy[:2])
        right_bottom = np.minimum(boxes_xyxy[:, 2:], box_xyxy[2:])
        shared = _area(np.concatenate([left_top, right_bottom], axis=1))
        return shared / ((_area(boxes_xyxy) + _area(box_xyxy[None])) - shared)


def nms(
    boxes_xyxy, scores, class_ids, iou_threshold, *, max_detections=300, class_agnostic=False, max_candidates=30000
):
    threshold = np.float32(iou_threshold)
    classes = np.zeros_like(class_ids) if class_agnostic else class_ids
    order = np.flatnonzero(~np.isnan(scores) & np.isfinite(boxes_xyxy).all(axis=1))
    order = order[np.argsort(-scores[order], kind="stable")][:max_candidates]
    kept = []
    for i in order:
        if len(kept) == max_detections:
            break
        rivals = [k for k in kept if classes[k] == classes[i]]
        if not (iou_with(boxes_xyxy[rivals], boxes_xyxy[i]) > threshold).any():
            kept.append(i)
    return np.array(kept, dtype=np.intp)


def _area(boxes_xyxy):
    spans = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    spans = np.where(spans > 0, spans, np.float32(0))
    return spans[:, 0] * spans[:, 1]
