"""Parts of 4:2:0 frames: where a crop of a box lies, a copy of it, and its planes as those of a JPEG."""

import numpy as np
from numpy.typing import NDArray

def around(left: float, top: float, right: float, bottom: float, width: int, height: int) -> tuple[int, int, int, int]:
    """Return what is shown of a box, left, top, right, bottom in pixels: what lies of it inside a frame of `width` x
    `height`, and 8 % of its sides around that; in whole blocks of a JPEG (16 pixels), where the frame has room, so that
    many crops are of one size, and from an even pixel, where chroma begins, too.

    Raises ValueError where nothing of the box lies inside the frame.
    """

def cut_out(
    luma: NDArray[np.uint8], blue: NDArray[np.uint8], red: NDArray[np.uint8], box: tuple[int, int, int, int]
) -> bytes:
    """Return a copy of the part of a frame inside a box: the rows of its luma, then those of each chroma, with nothing
    between them.

    luma       (rows, line size) uint8, C-contiguous, read only
    blue, red  (rows, line size) uint8, C-contiguous, read only: a sample for two by two pixels
    box        left, top, right, bottom in pixels; chroma is that of every pixel in it

    Raises ValueError where planes don't reach so far, or nothing is in the box.
    """

def put_looked_up(
    part: bytes,
    luma: NDArray[np.uint8],
    blue: NDArray[np.uint8],
    red: NDArray[np.uint8],
    width: int,
    height: int,
    greys: bytes,
    colours: bytes,
) -> None:
    """Put a part of `width` x `height` that begins at an even pixel, as `cut_out` returns it, into the planes of a
    frame.

    luma, blue, red  (rows, line size) uint8, C-contiguous, written
    greys, colours   256 bytes: what each level of luma, and of chroma, becomes

    Raises ValueError where sizes don't fit.
    """
