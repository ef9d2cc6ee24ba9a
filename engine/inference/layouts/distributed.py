"""nanodet, nanodet-plus and picodet: class scores and a distribution over the distance to each side of a box.

(batch, anchors, classes + 4 x 8): class scores in [0, 1], then for the left, top, right and bottom side eight numbers
each, of whose softmax the mean bin from 0 to 7 is the distance from the cell's centre, in strides (Generalized Focal
Loss, arXiv 2006.04388). The three differ in their levels and in where a cell has its centre.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.inference.layouts.base import ClassMask, Decoded, Output
from models.output_shape import BINS, SIDES, cells, strides_of


class DistributedLayout(NamedTuple):
    """`centre` is that of a cell, in strides from its upper left corner."""

    name: str
    centre: float
    needs_nms: bool = True

    def decode(
        self, output: Output, input_hw: tuple[int, int], conf: float, class_mask: ClassMask | None = None
    ) -> Decoded:
        strides = strides_of(self.name)
        anchors = cells(*input_hw, strides)
        if output.ndim != 2 or output.shape[1] <= SIDES or output.shape[0] != anchors:
            raise ValueError(f"output must be ({anchors}, C + {SIDES}) with C >= 1. Got shape {output.shape}.")
        classes = output.shape[1] - SIDES
        if class_mask is not None and len(class_mask) != classes:
            raise ValueError(f"class_mask must have the shape ({classes},). Got shape {class_mask.shape}.")
        # Rows with a number that is not finite are dropped, here and below.
        likely = np.flatnonzero((output[:, :classes] >= np.float32(conf)).any(axis=1))
        rows = output[likely].astype(np.float32)
        class_ids = np.where(np.isnan(rows[:, :classes]), -np.inf, rows[:, :classes]).argmax(axis=1).astype(np.int32)
        scores = np.take_along_axis(rows, class_ids[:, None], axis=1)[:, 0]
        points, scale = _cells(input_hw, strides, likely)
        distances = _mean_bins(rows[:, classes:].reshape(-1, 4, BINS)) * scale[:, None]
        centres = (points + np.float32(self.centre)) * scale[:, None]
        boxes = np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)
        passes = np.isfinite(scores) & np.isfinite(boxes).all(axis=1)
        if class_mask is not None:
            passes &= class_mask[class_ids].astype(bool)
        return boxes[passes], scores[passes], class_ids[passes]


def _cells(
    input_hw: tuple[int, int], strides: tuple[int, ...], wanted: NDArray[np.intp]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return column and row (K, 2) of the wanted anchors' cells, and their strides (K,)."""
    points = np.empty((len(wanted), 2), np.float32)
    scale = np.empty(len(wanted), np.float32)
    first = 0
    for stride in strides:
        count, wide = cells(*input_hw, (stride,)), -(-input_hw[1] // stride)
        here = (wanted >= first) & (wanted < first + count)
        points[here, 1], points[here, 0] = np.divmod(wanted[here] - first, wide)
        scale[here] = stride
        first += count
    return points, scale


def _mean_bins(sides: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the mean bin (K, 4) of the softmax of (K, 4, BINS)."""
    with np.errstate(invalid="ignore"):
        weights = np.exp(sides - sides.max(axis=2, keepdims=True))
        mean: NDArray[np.float32] = weights @ np.arange(BINS, dtype=np.float32) / weights.sum(axis=2)
    return mean
