"""On which side of a line boxes are, and whether they are in a polygon: by their anchors, in floats. Rows for which
rounding could decide are named, for whoever can tell exactly.

All functions:

boxes_xyxy  (N, 4) float64 pixels, any strides, read only; finite
halves      the weights of x1 and x2 in the anchor, and those of y1 and y2, in halves: ((1, 1), (0, 2)) is the middle of
            the bottom edge
margin      pixels

The third of what they return are the rows, ascending, whose distance is within rounding of 0 or of the margin. A row
takes some ten nanoseconds for each piece of the line or edge. Raises ValueError where shapes don't fit.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Halves: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

def beside_line(
    boxes_xyxy: NDArray[np.float64], points: NDArray[np.float64], halves: Halves, margin: float
) -> tuple[NDArray[np.int8], NDArray[np.bool_], list[int]]:
    """Return the side of each box, (N,): 1 to the right of the line, going from its first to its last point on the
    screen (y grows downwards), -1 to the left; and whether it is at least the margin away, (N,).

    points  (P, 2) float64 pixels, C-contiguous, P of 2 or more, each other than the one before. The first and the last
            piece have no end.
    """

def inside_polygon(
    boxes_xyxy: NDArray[np.float64], corners: NDArray[np.float64], halves: Halves, margin: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], list[int]]:
    """Return whether each box is inside, (N,), by the even-odd rule, and whether it is at least the margin away from
    all edges, inside or outside, (N,).

    corners  (P, 2) float64 pixels, C-contiguous, P of 3 or more
    """
