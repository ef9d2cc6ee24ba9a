"""Optimal assignment of detections to tracks, used by the trackers.

For SORT, up to 64 detections and 64 tracks, the whole matrix is solved by the dense algorithm of Jonker & Volgenant
(1987, Computing 38, 325-340); otherwise shortest augmenting paths run over the pairs that overlap only, or, where a
tracker needs all pairs, over a rectangle. All are exact. The kernel is C level (assignment.pxd); Python sees it through
the entries below only.
"""

import numpy as np
from numpy.typing import NDArray

def testing_linear_assignment(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """For the tests: the dense solver. Pairs (row, column) of least total cost, min(N, M) of them, in rows.

    cost: (N, M) float64, finite, read. No pairs if N or M is 0.
    """

def testing_sparse_assignment(gain: NDArray[np.float64]) -> list[tuple[int, int]]:
    """For the tests: the sparse solver. Pairs (row, column) of positive gain and largest total gain, in rows.

    gain: (N, M) float64, finite, read. No pairs if N or M is 0.
    """

def testing_rectangle_assignment(cost: NDArray[np.float64]) -> list[tuple[int, int]]:
    """For the tests: the solver of a rectangle. Pairs (row, column) of least total cost, one for each row, in rows.

    cost: (N, M) float64, finite, read, N <= M. Raises ValueError if N is larger.
    """

def testing_overlaps(
    dets: NDArray[np.float64], tracks: NDArray[np.float64], pad: float
) -> list[tuple[int, int, float]]:
    """For the tests: every pair (detection, track, IoU) of positive IoU, once, in detections, as the grid finds them.

    dets: (N, 4), tracks: (M, 4) float64, C-contiguous, read, x1 y1 x2 y2. No pairs if N or M is 0.
    pad: how much larger each width and height is taken, also that of the intersection.
    """

def testing_associate(dets: NDArray[np.float64], tracks: NDArray[np.float64], threshold: float) -> NDArray[np.int32]:
    """For the tests: what SORT does with one class. (N,) int32: the track of each detection, or -1 if it was never
    assigned, or -2 if it was assigned to a track that it overlaps too little.

    dets: (N, 4), tracks: (M, 4) float64, C-contiguous, read, x1 y1 x2 y2.
    threshold: least IoU of a match.
    """
