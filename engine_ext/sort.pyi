"""SORT: simple online and realtime tracking (Bewley, Ge, Ott, Ramos, Upcroft: ICIP 2016, arXiv 1602.00763).

Boxes of each frame in, boxes with track ids out. Given the same detections, ids, frames and boxes are those of the
authors' program (boxes to the last digits of double arithmetic).

>>> tracker = SortTracker(max_age=1, min_hits=3, iou_threshold=0.3)
>>> tracker.update([[10, 10, 50, 90, 0.9]])
array([[10., 10., 50., 90.,  1.]])
"""

from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

@final
class SortTracker:
    """Tracks the boxes of one stream. Ids count from 1 in each tracker; two trackers share nothing.

    One tracker may be used by one thread at a time: the work runs without the GIL, and a second thread that comes in
    meanwhile gets a RuntimeError.

    max_age: int >= 0. Updates that a track outlives without a detection. Raising it carries tracks through longer
        occlusions, and lets a lost track take over another object that appears where it was going.
    min_hits: int >= 0. Updates in a row that must find a detection before a track is reported (the first one, which
        starts the track, not counted; in the first min_hits frames every track is). Raising it keeps false detections
        out, and reports each object later.
    iou_threshold: number in [0, 1]. Least IoU of a detection and the predicted box of its track. Raising it splits the
        tracks of fast or small objects, lowering it swaps ids in crowds. Boxes that don't overlap never match,
        at 0 too.
    class_aware: whether a detection matches tracks of its own class only, where classes are given.

    Raises TypeError or ValueError for an argument of another type or out of range.
    """

    @property
    def max_age(self) -> int: ...
    @property
    def min_hits(self) -> int: ...
    @property
    def iou_threshold(self) -> float: ...
    @property
    def class_aware(self) -> bool: ...
    def __init__(
        self, max_age: int = 1, min_hits: int = 3, iou_threshold: float = 0.3, *, class_aware: bool = True
    ) -> None: ...
    def update(self, dets: ArrayLike, class_ids: ArrayLike | None = None) -> NDArray[np.float64]:
        """One frame's detections in, the tracks that found one out. Call it for every frame, the empty ones too.

        dets: (N, 5) real, read: x1 y1 x2 y2 score, pixels. The score is not used. (0, 5), (0, 4) and [] are none.
            C-contiguous float64 is read in place; anything else is copied first. A row that is no box is ignored, and
            neither starts nor updates a track: a coordinate that is not finite, x2 <= x1, y2 <= y1, or sizes whose
            area or aspect is no positive finite number.
        class_ids: (N,) int, read: the class of each detection. A track keeps the class of the detection that started
            it, and each class is matched by itself, as if it had a tracker of its own. None means class 0 for all.

        Returns (M, 5) float64, x1 y1 x2 y2 id, in pixels, newest track first: the filtered boxes of the tracks that
        found a detection in this frame and have done so min_hits times in a row. The array is the caller's own.

        Equally good assignments are settled as in the authors' program up to 64 detections and 64 tracks. Above, they
        are settled in a fixed, but not the same way, and new tracks are numbered in the order of their detections.

        Raises ValueError for another shape or dtype (the tracker is unchanged then), RuntimeError if another thread is
        inside, MemoryError if there is no memory: the frame is then half done, and every later call but `reset` and
        `set_state` raises RuntimeError.
        """

    def predict(self) -> NDArray[np.float64]:
        """A frame that was decoded, but not given to the detector: every track moves on by one step.

        No track ages, starts or ends, and the frame does not count towards min_hits.

        Returns (M, 5) float64, x1 y1 x2 y2 id: the tracks that the last `update` reported, in the same order, where the
        filter expects them now. A track whose box leaves the finite numbers is dropped, here and in `last_matches`.

        Raises RuntimeError as `update` does.
        """

    @property
    def last_matches(self) -> NDArray[np.intp]:
        """(M,) intp, a copy: for each row returned last, the index in `dets` of the detection that the track took in
        the last `update`: `class_ids[tracker.last_matches]` are the rows' classes."""

    def reset(self) -> None:
        """Forgets all tracks, as a new tracker: the frame count begins anew, and ids count from 1 again."""

    def get_state(self) -> bytes:
        """The tracker as bytes, for a checkpoint: versioned, with a checksum, the same on every machine.

        Raises RuntimeError as `update` does.
        """

    def set_state(self, state: bytes) -> None:
        """Goes on, to the last bit, where the tracker stood that gave these bytes. `last_matches` comes back too.

        Raises TypeError if `state` is not bytes, and ValueError for bytes that are not from `get_state`, damaged, of
        another version or of a tracker with other parameters. The tracker is unchanged then.
        """
