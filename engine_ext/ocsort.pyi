"""OC-SORT: observation-centric SORT (Cao, Pang, Weng, Khirodkar, Kitani: CVPR 2023, arXiv 2203.14360).

SORT whose tracks keep their direction and are looked for where they were last seen; when one is found again, its filter
is run anew along the straight line in between. Given the same detections, ids, frames and boxes are those of the
authors' program (boxes to the last digits of double arithmetic; ids up to how they are numbered).

>>> tracker = OCSortTracker(det_thresh=0.6, max_age=30, min_hits=3, iou_threshold=0.3)
>>> tracker.update([[10, 10, 50, 90, 0.9]]).round(3)
array([[10., 10., 50., 90.,  1.]])
"""

from typing import final

from engine_ext.tracker import Tracker

@final
class OCSortTracker(Tracker):
    """Tracks the boxes of one stream; see `Tracker` for its methods. With use_byte, give it detections with scores of
    0.1 and above.

    det_thresh: number in [0, 1]. Only detections with a score above it start tracks; one whose score equals it takes no
        part. Raising it keeps false detections out and loses faint objects.
    max_age: int >= 0. Steps that a track outlives without a detection. Raising it carries tracks through longer
        occlusions, and lets a lost track take over another object.
    min_hits: int >= 0. Updates in a row that must find a detection before a track is reported, also after each miss
        (the first one, which starts the track, not counted; in the first min_hits frames every track is).
    iou_threshold: number in [0, 1]. Minimum IoU of a match. Boxes that don't overlap never match, even at 0.
    delta_t: int in [1, 100]. Number of steps over which a track's direction is measured. Raising it smooths the
        direction, which then turns more slowly.
    inertia: number in [0, 1]. Weight of the direction relative to the IoU.
    use_byte: whether detections with 0.1 < score < det_thresh are matched with the tracks that the others leave
        unmatched.
    class_aware: whether a detection matches tracks of its own class only, where classes are given.

    Rows are the detections themselves (in a track's first frame, and where the sum of a box and its score is negative,
    the filtered box), newest track first; after `predict` they are the predicted boxes.

    Equally good assignments are settled as in the authors' program up to 64 detections and 64 tracks of one class, and
    deterministically, but not always alike, beyond that and between pairs that don't overlap, which match nothing.

    Raises TypeError or ValueError for an argument of another type or out of range.
    """

    @property
    def det_thresh(self) -> float: ...
    @property
    def max_age(self) -> int: ...
    @property
    def min_hits(self) -> int: ...
    @property
    def iou_threshold(self) -> float: ...
    @property
    def delta_t(self) -> int: ...
    @property
    def inertia(self) -> float: ...
    @property
    def use_byte(self) -> bool: ...
    def __init__(
        self,
        det_thresh: float = 0.6,
        max_age: int = 30,
        min_hits: int = 3,
        iou_threshold: float = 0.3,
        delta_t: int = 3,
        inertia: float = 0.2,
        use_byte: bool = False,
        *,
        class_aware: bool = True,
    ) -> None: ...
