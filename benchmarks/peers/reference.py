"""SORT with filterpy and SciPy, written from the paper; the reference for the results of all others."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.reference_sort import ReferenceSort

NAME = "filterpy reference"


def updater(max_age: int, min_hits: int, iou_threshold: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Return a new tracker's update: (N, 5) x1 y1 x2 y2 score -> (M, 5) x1 y1 x2 y2 id."""
    tracker = ReferenceSort(max_age, min_hits, iou_threshold)

    def update(dets: NDArray[np.float64]) -> NDArray[np.float64]:
        reported = tracker.update(dets[:, :4], np.zeros(len(dets), np.int64))
        return np.array([[*box, number] for number, box in reported], np.float64).reshape(-1, 5)

    return update
