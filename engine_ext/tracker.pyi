"""What all trackers share: the boxes of each frame in, boxes with track ids out, and the state as bytes."""

from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

class Tracker:
    """Tracks the boxes of one stream. Ids count from 1 in each tracker; two trackers share nothing.

    The common base of `SortTracker`, `ByteTracker`, `OCSortTracker` and `CBIoUTracker`; it can't be instantiated
    itself.

    One tracker may be used by one thread at a time: the work runs without the GIL, and a second thread that enters
    meanwhile gets a RuntimeError.

    Time counts in steps, the time between two frames at the nominal rate. One update with dt = 3 moves and ages tracks
    as three frames do; with dt = 1, the default, each tracker computes exactly what its reference does.
    """

    PARAMETERS: ClassVar[tuple[str, ...]]
    """Names of the parameters, in the order of the constructor; each is an attribute."""

    @property
    def class_aware(self) -> bool: ...
    def update(self, dets: ArrayLike, class_ids: ArrayLike | None = None, dt: float = 1.0) -> NDArray[np.float64]:
        """Take one frame's detections and return the tracks that found one. Call it for every frame, empty ones too.

        dets: (N, 5) real, read: x1 y1 x2 y2 score, pixels. (0, 5), (0, 4) and [] are none. C-contiguous float64 is read
            in place; anything else is copied first. A row that is not a box is ignored, and neither starts nor updates
            a track: a coordinate that is not finite, x2 <= x1, y2 <= y1, or sizes whose area or aspect is not a
            positive finite number. Where scores are used, so is a row whose score is not a number in [-1e6, 1e6].
        class_ids: (N,) int, read: the class of each detection. A track keeps the class of the detection that started
            it, and each class is matched by itself, as if it had a tracker of its own. None means class 0 for all.
        dt: steps since the last `update` or `predict`, in (0, 1e9].

        Returns (M, 5) float64, x1 y1 x2 y2 id, in pixels: the tracks that found a detection in this frame and are
        trusted, in the tracker's own order. The array is the caller's own.

        Raises ValueError or TypeError for another shape, dtype or step (the tracker is unchanged then), RuntimeError if
        another thread is inside, MemoryError if there is no memory: the frame is then half done, and every later call
        but `reset` and `set_state` raises RuntimeError.
        """

    def predict(self, dt: float = 1.0, *, aging: bool = False) -> NDArray[np.float64]:
        """Move every track on: a frame that was decoded, but not given to the detector.

        No track starts or ends, and the frame does not count towards any number of updates.

        dt: steps since the last `update` or `predict`, in (0, 1e9].
        aging: whether these steps count towards the time for which a track may stay lost.

        Returns (M, 5) float64, x1 y1 x2 y2 id: the tracks that the last `update` reported, in the same order, where the
        filter expects them now. A track whose box leaves the finite numbers is dropped, here and in `last_matches`.

        Raises as `update` does.
        """

    @property
    def last_matches(self) -> NDArray[np.intp]:
        """Return (M,) intp, a copy: for each row returned last, the index in `dets` of the detection that its track
        took in the last `update`: `class_ids[tracker.last_matches]` are the rows' classes."""

    @property
    def alive_ids(self) -> NDArray[np.int64]:
        """Return (K,) int64, a copy: the ids of all tracks that `update` may still report, in no order. A track may go
        unreported for longer than it may stay lost: where it is found again and again, but never often enough to be
        trusted. An id that is not among them never comes again.

        Raises RuntimeError as `update` does.
        """

    def reset(self) -> None:
        """Forget all tracks, as a new tracker: the frame count begins anew, and ids count from 1 again."""

    def get_state(self) -> bytes:
        """Return the tracker as bytes, for a checkpoint: versioned, with a checksum, the same on every machine.

        Raises RuntimeError as `update` does.
        """

    def set_state(self, state: bytes) -> None:
        """Continue, bit for bit, where the tracker that returned these bytes was. `last_matches` is restored, too.

        Raises TypeError if `state` is not bytes, and ValueError for bytes that are not from `get_state`, damaged, of
        another version or of a tracker of another kind or with other parameters. The tracker is unchanged then.
        """
