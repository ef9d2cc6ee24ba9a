"""detr: boxes and logits of queries, no NMS needed. RT-DETR, D-FINE, DEIM, RF-DETR, with their outputs joined.

(batch, queries, 4 + classes): cx cy w h relative to the input's sides, then a logit per class. As in these models' own
post-processing, a score is the sigmoid of a logit, and the best pairs of a query and a class are selected, as many as
there are queries: a query may give boxes of two classes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.inference.layouts.base import ClassMask, Decoded, Output


class DetrLayout(NamedTuple):
    name: str = "detr"
    needs_nms: bool = False

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        if output.ndim != 2 or output.shape[1] < 5:
            raise ValueError(f"output must be (Q, 4 + C) with C >= 1. Got shape {output.shape}.")
        logits = output[:, 4:]
        if class_mask is not None and len(class_mask) != logits.shape[1]:
            raise ValueError(f"class_mask must have the shape ({logits.shape[1]},). Got shape {class_mask.shape}.")
        queries, class_ids = np.nonzero(logits > _logit_below(conf))
        scores = _sigmoid(logits[queries, class_ids].astype(np.float32))
        passes = (scores >= np.float32(conf)) & np.isfinite(scores)
        queries, class_ids, scores = queries[passes], class_ids[passes], scores[passes]
        if len(scores) > len(output):
            best = np.sort(np.argsort(-scores, kind="stable")[: len(output)])
            queries, class_ids, scores = queries[best], class_ids[best], scores[best]
        if class_mask is not None:
            wanted = class_mask[class_ids].astype(bool)
            queries, class_ids, scores = queries[wanted], class_ids[wanted], scores[wanted]
        height, width = input_hw
        boxes = output[queries, :4].astype(np.float32) * np.array([width, height, width, height], np.float32)
        half = np.float32(0.5) * boxes[:, 2:]
        corners = np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
        whole = np.isfinite(corners).all(axis=1)
        return corners[whole], scores[whole], class_ids[whole].astype(np.int32)


def _logit_below(conf: float) -> float:
    """Return a value slightly below the logit of `conf`, to preselect candidates."""
    if conf <= 0.0:
        return -np.inf
    return float(np.log(conf / max(1e-9, 1.0 - conf))) - 0.01


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # exp of a large number is infinite, and the score 0
        return (np.float32(1) / (np.float32(1) + np.exp(-logits))).astype(np.float32)
