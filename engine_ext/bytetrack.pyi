"""ByteTrack: multi-object tracking by associating every detection box (Zhang et al., ECCV 2022, arXiv 2110.06864).

Detections of low score are no new objects, but may well be known ones behind something: they are matched with the
tracks that those of high score left over. Given the same detections, ids, frames and boxes are those of the authors'
program (boxes to the last digits of double arithmetic; ids up to how they are numbered).

>>> tracker = ByteTracker(track_thresh=0.5, match_thresh=0.8, track_buffer=30)
>>> tracker.update([[10, 10, 50, 90, 0.9]])
array([[10., 10., 50., 90.,  1.]])
"""

from typing import final

from engine_ext.tracker import Tracker

@final
class ByteTracker(Tracker):
    """Tracks the boxes of one stream; see `Tracker` for its methods. It wants detections of score 0.1 and above.

    track_thresh: number in [0, 1]. Detections with a score above it are matched first; those with 0.1 < score < it
        second, and only with tracks found in the update before. One whose score equals it takes no part. A new track
        wants a score of at least track_thresh + 0.1. Raising it keeps false detections out and loses faint objects.
    match_thresh: number in [0, 1]. Largest cost, 1 - IoU x score, of a match in the first stage (second stage: 1 - IoU
        up to 0.5). Raising it keeps the ids of fast objects and swaps more of them in crowds.
    track_buffer: int in [0, 1e9]. Frames at 30 a second for which a lost track is kept. Raising it carries tracks
        through longer occlusions, and lets a lost track take over another object.
    frame_rate: number in [0, 1e6]. Frames a second: a lost track is kept for int(frame_rate / 30 x track_buffer) steps.
    mot20: whether scores are left out of the costs, as the authors do in dense crowds.
    class_aware: whether a detection matches tracks of its own class only, where classes are given.

    Rows are the filtered boxes of the tracks that found a detection in this frame and one before (in the first update:
    all), the longest tracked first, those found again last.

    What the authors' program does and the paper does not say is kept: a lost track may be found one frame later than
    the buffer says, but then goes for good the next time it is lost; of a tracked and a lost track on one spot the one
    with the shorter life goes; IoU counts pixels, with widths and heights one larger.

    Equally good assignments are settled as in the authors' program where those of a stage have up to 64 detections and
    tracks together and one class, else in a fixed, but not the same way.

    Raises TypeError or ValueError for an argument of another type or out of range.
    """

    @property
    def track_thresh(self) -> float: ...
    @property
    def match_thresh(self) -> float: ...
    @property
    def track_buffer(self) -> int: ...
    @property
    def frame_rate(self) -> float: ...
    @property
    def mot20(self) -> bool: ...
    def __init__(
        self,
        track_thresh: float = 0.5,
        match_thresh: float = 0.8,
        track_buffer: int = 30,
        frame_rate: float = 30,
        mot20: bool = False,
        *,
        class_aware: bool = True,
    ) -> None: ...
