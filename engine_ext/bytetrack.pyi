"""ByteTrack: multi-object tracking by associating every detection box (Zhang et al., ECCV 2022, arXiv 2110.06864).

Detections with a low score are not treated as new objects, but may be known ones that are partly hidden: they are
matched with the tracks that those with a high score left over. For the same detections, ids, frames and boxes equal
those of the authors' program (boxes to the last digits of double arithmetic; ids up to their numbering).

>>> tracker = ByteTracker(track_thresh=0.5, match_thresh=0.8, track_buffer=30)
>>> tracker.update([[10, 10, 50, 90, 0.9]])
array([[10., 10., 50., 90.,  1.]])
"""

from typing import final

from engine_ext.tracker import Tracker

@final
class ByteTracker(Tracker):
    """Tracks the boxes of one stream; see `Tracker` for its methods. It needs detections with scores from 0.1.

    track_thresh: number in [0, 1]. Detections with a higher score are matched first; those with 0.1 < score <
        track_thresh second, and only with tracks found in the previous update. A detection whose score equals it is
        ignored. A new track requires a score of at least track_thresh + 0.1. A higher value excludes false detections
        and loses faint objects.
    match_thresh: number in [0, 1]. Maximum cost, 1 - IoU x score, of a match in the first stage (second stage: 1 - IoU
        up to 0.5). A higher value keeps the ids of fast objects and swaps more of them in crowds.
    track_buffer: int in [0, 1e9]. Frames, at 30 per second, for which a lost track is kept. A higher value carries
        tracks through longer occlusions, and lets a lost track take over another object.
    frame_rate: number in [0, 1e6]. Frames per second: a lost track is kept for int(frame_rate / 30 x track_buffer)
        steps.
    mot20: whether scores are left out of the costs, as by the authors in dense crowds.
    class_aware: whether a detection only matches tracks of its own class, if classes are given.

    Rows are the filtered boxes of the tracks that found a detection in this frame and an earlier one (in the first
    update: all), the longest tracked first, those found again last.

    Behaviour of the authors' program that is not in the paper is kept: a lost track may be found one frame later than
    the buffer allows, but is then removed the next time it is lost; of a tracked and a lost track in the same place,
    the one with the shorter life is removed; IoU counts pixels, with widths and heights one larger.

    Ties between assignments are resolved as in the authors' program if a stage has up to 64 detections and tracks in
    total and one class; otherwise in a deterministic but different way.

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
