"""ioutrack: SORT in Rust, configured with the noise of the authors' program; it returns float32."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

NAME = "ioutrack"
MEASUREMENT_NOISE = (1.0, 1.0, 10.0, 10.0)
PROCESS_NOISE = (1.0, 1.0, 1.0, 1.0, 1e-2, 1e-2, 1e-4)


def updater(max_age: int, min_hits: int, iou_threshold: float) -> Callable[[NDArray[np.float64]], NDArray[np.float32]]:
    """Return a new tracker's update: (N, 5) x1 y1 x2 y2 score -> (M, 5) x1 y1 x2 y2 id."""
    from ioutrack import Sort

    tracker = Sort(
        max_age=max_age,
        min_hits=min_hits,
        iou_threshold=iou_threshold,
        measurement_noise=MEASUREMENT_NOISE,
        process_noise=PROCESS_NOISE,
    )
    return partial(tracker.update, return_all=False)
