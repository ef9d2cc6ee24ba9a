"""How sharp parts of a frame are, and how well they show an object: of two images of the same object, the better one
has the larger number."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

def sharpness(
    plane: NDArray[np.uint8], boxes_xyxy: NDArray[np.float64], size_wh: tuple[int, int], *, components: int = 1
) -> NDArray[np.float64]:
    """Return (M,) float64: the mean size of the Laplacian (four times a pixel minus its four neighbours) over points
    spread evenly inside each box, 16 x 16 at most; 0 where nothing of a box lies inside the frame.

    plane       (rows, line size) uint8, C-contiguous, read only: luma, or with `components` 3 interleaved colours, of
                which the second is used
    boxes_xyxy  (M, 4) float64 pixels; what lies outside the frame, or on its outermost pixels, does not count
    size_wh     of the frame

    The sums are integers, so that the result is the same on every processor. A box takes under a microsecond.
    Raises ValueError if shapes don't fit.
    """

def better(
    plane: NDArray[np.uint8],
    boxes_xyxy: NDArray[np.float64],
    scores: NDArray[np.float32],
    rows: Sequence[int],
    least: Sequence[float],
    size_wh: tuple[int, int],
    *,
    components: int = 1,
) -> list[tuple[int, float]]:
    """Return (row, worth) of each of these rows whose box shows its object better than `least`, in their order.

    The worth is score x area x S / (S + 16), where S is one more than the sharpness, of what lies inside the frame; a
    quarter of it if that comes within a pixel of the frame's edge. Pixels are read only where the rest could be enough.

    plane       as above
    boxes_xyxy  (M, 4) float64 pixels
    scores      (M,) float32
    rows        indices of boxes to look at
    least       of each of these rows: a worth that is not enough

    Raises ValueError where shapes don't fit.
    """
