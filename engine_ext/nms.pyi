"""Greedy non-maximum suppression: of boxes that overlap, keep the one with the highest score."""

import numpy as np
from numpy.typing import NDArray

def nms(
    boxes_xyxy: NDArray[np.float32],
    scores: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    iou_threshold: float,
    *,
    max_detections: int = 300,
    class_agnostic: bool = False,
    max_candidates: int = 30000,
) -> NDArray[np.intp]:
    """Return the indices of the boxes to keep, ``(K,) intp``, in descending order of score; K <= max_detections.

    Args:
        boxes_xyxy: ``(N, 4) float32``, ``x1 y1 x2 y2`` in any one unit, read. A box with ``x2 <= x1`` or ``y2 <= y1``
            has zero area: it neither suppresses nor is suppressed. A box with a NaN or infinite side is never kept.
        scores: ``(N,) float32``, read. A NaN score is never kept.
        class_ids: ``(N,) int32``, read, any values.
        iou_threshold: in [0, 1], rounded to float32. A box goes if its intersection over union (computed in float32)
            with a kept box of its class is > iou_threshold: two boxes that meet it exactly both stay. Raising it keeps
            objects that stand close together, and lets through more double boxes of one object.
        max_detections: the maximum number of boxes to keep, above 0: the best over all classes together. Raising it
            loses nothing but time in a frame that full.
        class_agnostic: True compares boxes of different classes too. It removes one object's boxes under two names
            (car, truck), and loses an object in front of another (a person on a motorcycle).
        max_candidates: only this many boxes, those with the best scores, are considered. Above 0. It bounds
            the time of a frame at a very low confidence threshold; below some thousands it can lose objects.

    Equal scores: the lower index comes first, and so wins. Zero boxes give zero indices.

    Raises TypeError if an argument is not an array or has another dtype; ValueError if a shape or a value is not as
    described, or an array is not C-contiguous. The interpreter lock is released during the work.
    """
