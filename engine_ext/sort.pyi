"""SORT: simple online and realtime tracking (Bewley, Ge, Ott, Ramos, Upcroft: ICIP 2016, arXiv 1602.00763).

Boxes of each frame in, boxes with track ids out. Given the same detections, ids, frames and boxes are those of the
authors' program (boxes to the last digits of double arithmetic).

>>> tracker = SortTracker(max_age=1, min_hits=3, iou_threshold=0.3)
>>> tracker.update([[10, 10, 50, 90, 0.9]])
array([[10., 10., 50., 90.,  1.]])
"""

from typing import final

from engine_ext.tracker import Tracker

@final
class SortTracker(Tracker):
    """Tracks the boxes of one stream; see `Tracker` for its methods. Scores are not used.

    max_age: int >= 0. Steps that a track outlives without a detection. Raising it carries tracks through longer
        occlusions, and lets a lost track take over another object that appears where it was going.
    min_hits: int >= 0. Updates in a row that must find a detection before a track is reported (the first one, which
        starts the track, not counted; in the first min_hits frames every track is). Raising it keeps false detections
        out, and reports each object later.
    iou_threshold: number in [0, 1]. Minimum IoU of a detection and the predicted box of its track. Raising it splits
        the tracks of fast or small objects, lowering it swaps ids in crowds. Boxes that don't overlap never match,
        even at 0.
    class_aware: whether a detection matches tracks of its own class only, where classes are given.

    Rows are the filtered boxes of the tracks that found a detection in this frame and have done so min_hits times in a
    row, newest track first.

    Equally good assignments are settled as in the authors' program up to 64 detections and 64 tracks. Above, they are
    settled deterministically, but not always alike, and new tracks are numbered in the order of their detections.

    Raises TypeError or ValueError for an argument of another type or out of range.
    """

    @property
    def max_age(self) -> int: ...
    @property
    def min_hits(self) -> int: ...
    @property
    def iou_threshold(self) -> float: ...
    def __init__(
        self, max_age: int = 1, min_hits: int = 3, iou_threshold: float = 0.3, *, class_aware: bool = True
    ) -> None: ...
