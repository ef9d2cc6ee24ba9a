"""The constant velocity Kalman filters of the trackers.

State [u v s r u' v' s']: centre, area and aspect (width / height) of a box in pixels, and the change per frame of the
first three. The kernel is inline C in kalman.pxd; Python only sees the entry below.
"""

import numpy as np
from numpy.typing import NDArray

def testing_filter(
    measurements: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """For the tests: starts a filter on the first measurement, then predicts and updates once per later one.

    measurements: (T, 4) float64, C-contiguous, read, u v s r. T >= 1. A row that begins with NaN is predicted only.

    Returns the states (T, 7), the covariances (T, 7, 7) and the boxes (T, 4) x1 y1 x2 y2, all float64, after each row.

    Raises ValueError for another shape or dtype.
    """
