"""Blur: makes the content of boxes unrecognisable on the planes of a decoded frame."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

def hide_boxes(
    planes: Sequence[npt.NDArray[np.uint8]],
    frame_wh: tuple[int, int],
    boxes_xyxy: npt.NDArray[np.floating[Any]],
    *,
    cells: int = 6,
    fill: bool = False,
    full_range: bool = False,
) -> None:
    """Pixelate or fill the boxes of a yuv420p frame, in place.

    planes (in-out): the frame's Y, U and V, each 2-D uint8 and writable, one row per line of the image. Additional rows
        and bytes beyond the image are not touched.
    frame_wh: width and height of the image in pixels, each at least 1. U and V have half of it, rounded up.
    boxes_xyxy (in): (N, 4) float64 or float32, the columns left, top, right, bottom in pixels of the frame. A box grows
        to whole 2x2 blocks of chroma, and is clipped to the frame. Boxes without area (inverted, NaN) or outside the
        frame are skipped. Infinite edges are clipped to the frame.
    cells: maximum number of cells along the longer visible side of a box, [1, 64]. Each is a square of at least 8x8
        pixels, except at the far edges, and gets the mean of its luma and of its chroma, rounded. Fewer cells hide
        more.
    fill: True: plain grey instead of cells. The means of cells reveal more over many frames than one expects; grey only
        leaves the outline.
    full_range: whether luma uses 0 to 255 instead of 16 to 235, which determines the middle grey.

    Boxes are processed in order, each on the result of the previous ones. Zero boxes change nothing. The same arguments
    give the same bytes. The GIL is released.

    Raises ValueError if a shape, a size, a value or the number of planes does not fit, or a plane is read-only, and
    TypeError for a wrong dtype or anything but an array. Nothing has been changed in either case.
    """
