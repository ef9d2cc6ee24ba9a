"""Blur: what is in boxes made unrecognisable on the planes of a decoded frame."""

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

    planes (in-out): the frame's Y, U and V, each 2-D uint8 and writable, a row a line of the image. There may be more
        rows, and more bytes in a row, than the image has: they are not touched.
    frame_wh: width and height of the image in pixels, each at least 1. U and V hold half of it, rounded up.
    boxes_xyxy (in): (N, 4) float64 or float32, the columns left, top, right, bottom in pixels of the frame. A box grows
        to whole blocks of chroma, 2x2 pixels, and is clipped to the frame. One that has no area (inverted, NaN) or lies
        outside the frame is left out. Infinite edges reach to the frame's.
    cells: at most so many cells along the longer side of what is seen of a box, [1, 64]. Each is a square of at least
        8x8 pixels, but at the far edges, and gets the mean of its luma and of its chroma, rounded. Fewer cells hide
        more.
    fill: True: a plain grey in place of cells. Cells leave what their means tell, over many frames more than one
        thinks; the grey leaves the outline alone.
    full_range: whether luma uses 0 to 255 instead of 16 to 235: which grey is the middle.

    Boxes are taken in their order, each as the ones before have left the frame. Zero boxes: nothing is touched. The
    same arguments give the same bytes. The GIL is released.

    ValueError: a shape, a size, a value or the number of planes does not fit; a plane is read-only. TypeError: a wrong
    dtype, or something else than an array. Nothing has been changed in either case.
    """
