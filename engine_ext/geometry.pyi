"""Box arithmetic: overlap of boxes, and the conversion from model pixels to source pixels."""

import numpy as np
from numpy.typing import NDArray

def iou_matrix(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the intersection over union (Jaccard index) of every box of `a` with every box of `b`.

    a: (N, 4) float64, read, x1 y1 x2 y2 in any one unit.
    b: (M, 4) float64, read, in the unit of `a`. Arrays that are not C-contiguous are copied first.

    Returns (N, M) float64 in [0, 1]. Boxes that only touch, boxes without area, inverted boxes (x2 < x1 or y2 < y1)
    and boxes with a coordinate that is not a number have IoU 0 with all others. Zero rows give zero rows.

    Raises ValueError for another shape or dtype.
    """

def scale_boxes(
    boxes_xyxy: NDArray[np.float32],
    ratio: float | tuple[float, float],
    pad_x: float,
    pad_y: float,
    src_w: int,
    src_h: int,
) -> int:
    """Convert boxes from pixels of the letterboxed model input to pixels of the source frame, in place.

    boxes_xyxy: (N, 4) float32, C-contiguous, in-out: x1 y1 x2 y2 in model pixels, then in source pixels:
        (x - pad) / ratio, computed in double precision and clipped to [0, src_w] and [0, src_h].
        NaN coordinates stay NaN. Zero rows change nothing.
    ratio: model pixels per source pixel, finite and above 0: one number, or one for x and one for y.
    pad_x, pad_y: model pixels left of and above the image.
    src_w, src_h: size of the source frame in pixels, at least 0.

    Returns how many of the boxes have no area then: x2 <= x1, y2 <= y1, or a coordinate that is not a number.

    Raises ValueError for another shape, dtype or memory order, or an argument out of range; the boxes are
    untouched then.
    """
