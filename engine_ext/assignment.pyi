"""Optimal assignment of detections to tracks, used by the trackers.

For SORT, with up to 64 detections and 64 tracks, the whole matrix is solved by the dense algorithm of Jonker &
Volgenant (1987, Computing 38, 325-340); otherwise shortest augmenting paths run over the overlapping pairs only, or
over a rectangle if a tracker needs all pairs. All are exact. The kernel is at C level (assignment.pxd); Python only
sees the entries below.
"""

import numpy as np
from numpy.typing import NDArray

def testing_linear_assignment(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """For the tests: the dense solver. Pairs (row, column) with the least total cost, min(N, M) of them, by row.

    cost: (N, M) float64, finite, read. No pairs if N or M is 0.
    """

def testing_sparse_assignment(gain: NDArray[np.float64]) -> list[tuple[int, int]]:
    """For the tests: the sparse solver. Pairs (row, column) of positive gain with the largest total gain, by row.

    gain: (N, M) float64, finite, read. No pairs if N or M is 0.
    """

def testing_rectangle_assignment(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """For the tests: the rectangular solver. Pairs (row, column) with the least total cost, one per row, by row.

    cost: (N, M) float64, finite, read, N <= M. Raises ValueError if N is larger.
    """

def testing_overlaps(
    dets: NDArray[np.float64], tracks: NDArray[np.float64], pad: float
) -> list[tuple[int, int, float]]:
    """For the tests: every pair (detection, track, IoU) of positive IoU, once, by detection, in the order of the grid.

    dets: (N, 4), tracks: (M, 4) float64, C-contiguous, read, x1 y1 x2 y2. No pairs if N or M is 0. pad: added to each
    width and height, including those of the intersection.
    """

def testing_associate(dets: NDArray[np.float64], tracks: NDArray[np.float64], threshold: float) -> NDArray[np.int32]:
    """For the tests: SORT's association for one class. (N,) int32: the track of each detection, -1 if it was never
    assigned, or -2 if it was assigned to a track with too little overlap.

    dets: (N, 4), tracks: (M, 4) float64, C-contiguous, read, x1 y1 x2 y2. threshold: minimum IoU of a match.
    """
