"""Motion: where the frames of a stream differ from what was looked at last.

Luma is summed to a reduced plane of at most 320 pixels along its longer side: a reduced pixel is the sum of `factor`
columns, a power of two, in two of as many rows. Blocks are 8x8 reduced pixels. All sums are integers, so that the
results are the same on every machine.
"""

import numpy as np
import numpy.typing as npt

class MotionMap:
    """The reference with which one stream's frames are compared: each block as it was when it was last accepted.

    Not thread-safe.
    """

    def __init__(self, size_wh: tuple[int, int]) -> None:
        """`size_wh`: of the frames. Raises ValueError unless each side is in [1, 32768]."""

    @property
    def size_wh(self) -> tuple[int, int]: ...
    @property
    def blocks_hw(self) -> tuple[int, int]:
        """Rows and columns of blocks, including those that are cut off at the right and at the bottom."""

    @property
    def block_px(self) -> int:
        """Pixels of the frame along a side of a block, which begins at a multiple of it."""

    @property
    def changed(self) -> npt.NDArray[np.bool_]:
        """(rows, columns) of blocks: whether they differ in the last frame. A copy."""

    @property
    def share(self) -> float:
        """The share of blocks that have changed, in [0, 1]."""

    @property
    def shift(self) -> float:
        """The shift in brightness of the whole frame, in levels of luma: the median over blocks of their mean
        difference, rounded down. It does not count as a change of a block."""

    def look(
        self, luma: npt.NDArray[np.uint8], *, threshold: float = 4.0, noises: float = 3.0, pixels: int = 2
    ) -> None:
        """Compare a frame with what was accepted. Until then, nothing has changed.

        luma (in): at least (height, width), the bytes of a row contiguous.
        threshold, noises: a reduced pixel has changed if it differs, apart from the shift of the whole frame, by more
            than `threshold` levels, in [0.5, 255], and `noises` times its block's noise, in [0, 100]. Noise is the mean
            difference of the block's pixels while it has not changed, a mean that fades over 16 frames. Higher values
            miss faint objects, lower ones take noise for change.
        pixels: the number of changed reduced pixels, in [1, 64], that make a block a changed one.

        Raises ValueError if luma or a number is not as described. The GIL is released.
        """

    def accept(self, blocks: npt.NDArray[np.bool_] | None = None) -> None:
        """Make the last frame the reference for later ones, in the `blocks` that are True, (rows, columns); None: in
        all. Raises ValueError for another shape."""

    def get_state(self) -> bytes:
        """Return everything that later results depend on."""

    def set_state(self, state: bytes) -> None:
        """Continue from the state of a map of the same size. Raises ValueError for anything else."""
