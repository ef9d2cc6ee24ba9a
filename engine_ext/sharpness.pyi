"""How sharp parts of a frame are, and how well they show an object: of two images of the same object, the better one
has the larger number."""

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

def worths(
    plane: NDArray[np.uint8],
    boxes_xyxy: NDArray[np.float64],
    scores: NDArray[np.float32],
    least: NDArray[np.float64],
    size_wh: tuple[int, int],
    *,
    components: int = 1,
) -> NDArray[np.float64]:
    """Return (M,) float64: how well each box shows its object where that is more than `least`, else 0.

    It is score x area x S / (S + 16), where S is one more than the sharpness, of what lies inside the frame; a quarter
    of it if that comes within a pixel of the frame's edge. Pixels are read only where the rest could be enough.

    plane       as above
    boxes_xyxy  (M, 4) float64 pixels
    scores      (M,) float32
    least       (M,) float64, C-contiguous

    Raises ValueError where shapes don't fit.
    """
