"""pyxtrackers: SORT in Cython, to the last bit the authors' program. The fastest that was found."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

NAME = "pyxtrackers"


def updater(max_age: int, min_hits: int, iou_threshold: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """A new tracker's update: (N, 5) x1 y1 x2 y2 score -> (M, 5) x1 y1 x2 y2 id."""
    from pyxtrackers import Sort

    update: Callable[[NDArray[np.float64]], NDArray[np.float64]] = Sort(max_age, min_hits, iou_threshold).update
    return update
