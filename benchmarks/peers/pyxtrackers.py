"""pyxtrackers: trackers in Cython, the fastest known to us. Its SORT equals the authors' program bit for bit; the
tracks of its ByteTrack and OC-SORT sometimes differ from theirs."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

NAME = "pyxtrackers"
Update = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def updater(max_age: int, min_hits: int, iou_threshold: float) -> Update:
    """Return a new tracker's update: (N, 5) x1 y1 x2 y2 score -> (M, 5) x1 y1 x2 y2 id."""
    from pyxtrackers import Sort

    update: Update = Sort(max_age, min_hits, iou_threshold).update
    return update


def byte_updater(track_thresh: float, match_thresh: float, track_buffer: int) -> Update:
    """Return the same for ByteTrack."""
    from pyxtrackers import BYTETracker

    tracker = BYTETracker(track_thresh=track_thresh, match_thresh=match_thresh, track_buffer=track_buffer)
    update: Update = tracker.update
    return update


def oc_updater(
    det_thresh: float,
    max_age: int,
    min_hits: int,
    iou_threshold: float,
    delta_t: int,
    inertia: float,
    use_byte: bool,
) -> Update:
    """Return the same for OC-SORT."""
    from pyxtrackers import OCSort

    update: Update = OCSort(
        det_thresh, max_age, min_hits, iou_threshold, delta_t, inertia=inertia, use_byte=use_byte
    ).update
    return update
