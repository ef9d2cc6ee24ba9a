"""Planes of 4:2:0 as JPEG has their colours: full-range BT.601."""

import numpy as np
from numpy.typing import NDArray

def jpeg_planes(
    luma: NDArray[np.uint8],
    blue: NDArray[np.uint8],
    red: NDArray[np.uint8],
    weights: NDArray[np.float32],
    black: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """Return new planes of the same sizes: luma, blue and red chroma.

    luma     (height, width) uint8, C-contiguous
    blue, red  (ceil(height / 2), ceil(width / 2)) uint8, C-contiguous
    weights  (3, 3) float32, C-contiguous: what leads from luma less `black`, and chroma less 128, to those of a JPEG;
             the first column counts for luma alone
    black    what black is in luma: 16, or 0 in full range

    Computed in float32 in the order of the twin, rounded to the nearest level, ties to even: the same bytes on every
    processor. Raises ValueError where shapes don't fit.
    """
