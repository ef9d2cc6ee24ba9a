"""Motion: where the frames of a stream differ from what was looked at last.

Luma is summed to a reduced plane of at most 320 pixels along its longer side: a reduced pixel is `factor` columns, a
power of two, of two rows out of as many. Blocks are 8x8 of these. All is counted in whole numbers, so that the answer
is the same on every machine.
"""

import numpy as np
import numpy.typing as npt

class MotionMap:
    """What one stream's frames are compared with: each block as it was when it was last accepted.

    Not safe for several threads.
    """

    def __init__(self, size_wh: tuple[int, int]) -> None:
        """`size_wh`: of the frames, each side in [1, 32768]; else ValueError."""

    @property
    def size_wh(self) -> tuple[int, int]: ...
    @property
    def blocks_hw(self) -> tuple[int, int]:
        """Rows and columns of blocks, those that are cut off at the right and at the bottom included."""

    @property
    def block_px(self) -> int:
        """Pixels of the frame along a side of a block, which begins at a multiple of it."""

    @property
    def changed(self) -> npt.NDArray[np.bool_]:
        """(rows, columns) of blocks: those that the frame looked at last has otherwise. A copy."""

    @property
    def share(self) -> float:
        """The share of blocks that have changed, in [0, 1]."""

    @property
    def shift(self) -> float:
        """By how many levels of luma the light of the whole has shifted: the median over blocks of their mean
        difference, in whole levels, cut towards minus infinity. It is no change of a block."""

    def look(
        self, luma: npt.NDArray[np.uint8], *, threshold: float = 4.0, noises: float = 3.0, pixels: int = 2
    ) -> None:
        """Compare a frame with what was accepted. Before anything was, nothing has changed.

        luma (in): at least (height, width), the bytes of a row contiguous.
        threshold, noises: a reduced pixel has changed where it differs, beside the shift of the whole, by more than
            `threshold` levels, in [0.5, 255], and `noises` times its block's noise, in [0, 100]. Noise is the mean
            difference of the block's pixels while it has not changed, a mean that fades over 16 frames. Higher misses
            faint objects, lower takes noise for change.
        pixels: so many of them, in [1, 64], make a block a changed one.

        ValueError: luma or a number is none of these. The GIL is released.
        """

    def accept(self, blocks: npt.NDArray[np.bool_] | None = None) -> None:
        """Let later frames be compared with the frame looked at last, in the `blocks` that are true, (rows, columns);
        None: in all. ValueError: of another shape."""

    def get_state(self) -> bytes:
        """Return everything that later answers depend on."""

    def set_state(self, state: bytes) -> None:
        """Go on where `get_state` was called, of a map of the same size. Raises ValueError for anything else."""
