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

from collections.abc import Iterable
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

class Watch:
    """Tells where tracks are not on the side on which they were before: of a line, 1 or -1, or of a polygon, 1 inside
    and 0 outside. Of most tracks in most frames nothing is to be told, and a frame takes some microseconds."""

    def __init__(self, places: Iterable[tuple[NDArray[np.float64], Halves, float, bool]]) -> None:
        """places: of each its points or corners, halves and margin, as above, and whether it is a polygon."""

    def follow(
        self, track_ids: NDArray[np.int64], boxes_xyxy: NDArray[np.float64], step: float, gone_before: float
    ) -> tuple[list[int], list[tuple[int, int, int | None, bool]], list[tuple[float, int]], bool]:
        """Take the tracks of the next frame, ids (M,), each once. Return

        new    the ids that were not followed before, in their order
        moved  by place and row, both numbers of each track that is not on its settled side there, or has none; the
               side on which it is, and whether it is at least the margin away. The side is None where rounding could
               decide either
        gone   the step in which it was last seen, and the id, in this order, of each track that was not seen since
               `gone_before`: it is forgotten
        same   whether the tracks are those of the frame before
        """

    def settle(self, place: int, track_id: int, side: int | None) -> None:
        """Note on which side of a place, by its number, a track that is followed is, None: on none. Raises KeyError for
        another track."""

    def add(self, track_id: int, seen: float) -> None:
        """Follow a track that was last seen in the step `seen`, and is on no side."""

    def forget(self, track_id: int) -> None:
        """Forget a track, if it is followed."""

    def last_seen(self) -> list[tuple[float, int]]:
        """Return the tracks that are followed: the step in which each was last seen, and its id, in any order."""
