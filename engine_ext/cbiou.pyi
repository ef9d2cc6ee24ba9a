"""C-BIoU: cascaded matching of buffered boxes (Yang, Odashima, Masui, Jiang: WACV 2023, arXiv 2211.14317).

Boxes get a margin before their overlap is computed, first a narrow one, then a wide one, so that objects with irregular
or fast motion are found. The rest is the life cycle of ByteTrack and the filter of BoT-SORT, as in the package trackers
2.6.1; for the same detections, ids, frames and boxes equal those of that package (ids up to their numbering).

>>> tracker = CBIoUTracker(lost_track_buffer=30)
>>> tracker.update([[10, 10, 50, 90, 0.9]])
array([[10., 10., 50., 90.,  1.]])
"""

from typing import final

from engine_ext.tracker import Tracker

@final
class CBIoUTracker(Tracker):
    """Tracks the boxes of one stream; see `Tracker` for its methods. It needs detections with scores from 0.1.

    lost_track_buffer: int in [0, 1e9]. Frames, at 30 per second, for which a lost track is kept.
    frame_rate: number in [0, 1e6]. Frames per second: a lost track is kept for
        ceil(frame_rate / 30 x lost_track_buffer) steps, at least one.
    track_activation_threshold: number in [0, 1]. Minimum score of a detection that starts a track.
    minimum_consecutive_frames: int >= 1. Number of detections, including the first, after which a track is confirmed
        and reported. Until then it is removed at its first miss.
    minimum_iou_threshold_first_assoc: number in [0, 1]. Minimum IoU x score of a match in the first stage: detections
        with a high score, confirmed and lost tracks.
    minimum_iou_threshold_second_assoc: number in [0, 1]. Minimum IoU in the second stage: detections with a low score,
        tracks found in the previous update.
    minimum_iou_threshold_unconfirmed_assoc: number in [0, 1]. Minimum IoU x score in the third stage: detections with a
        high score, unconfirmed tracks.
    high_conf_det_threshold: number in [0, 1]. The lowest high score; low ones are above 0.1.
    instant_first_frame_activation: whether the tracks of the first update are confirmed at once.
    buffer_ratio_first: number in [0, 10]. Margin in the first and third stage, relative to the box's width and height.
    buffer_ratio_second: number in [0, 10]. Margin in the second stage. Larger margins find faster objects again, and
        swap more ids in crowds.
    class_aware: whether a detection only matches tracks of its own class, if classes are given.

    Rows are the detections themselves, the longest tracked first; after `predict` they are the predicted boxes.

    Ties between assignments are resolved as in SciPy for up to 64 detections and 64 tracks in a stage; otherwise in a
    deterministic but different way. Boxes that don't overlap even with margins never match.

    Raises TypeError or ValueError for an argument of another type or out of range.
    """

    @property
    def lost_track_buffer(self) -> int: ...
    @property
    def frame_rate(self) -> float: ...
    @property
    def track_activation_threshold(self) -> float: ...
    @property
    def minimum_consecutive_frames(self) -> int: ...
    @property
    def minimum_iou_threshold_first_assoc(self) -> float: ...
    @property
    def minimum_iou_threshold_second_assoc(self) -> float: ...
    @property
    def minimum_iou_threshold_unconfirmed_assoc(self) -> float: ...
    @property
    def high_conf_det_threshold(self) -> float: ...
    @property
    def instant_first_frame_activation(self) -> bool: ...
    @property
    def buffer_ratio_first(self) -> float: ...
    @property
    def buffer_ratio_second(self) -> float: ...
    def __init__(
        self,
        lost_track_buffer: int = 30,
        frame_rate: float = 30.0,
        track_activation_threshold: float = 0.7,
        minimum_consecutive_frames: int = 2,
        minimum_iou_threshold_first_assoc: float = 0.2,
        minimum_iou_threshold_second_assoc: float = 0.5,
        minimum_iou_threshold_unconfirmed_assoc: float = 0.3,
        high_conf_det_threshold: float = 0.6,
        instant_first_frame_activation: bool = True,
        buffer_ratio_first: float = 0.3,
        buffer_ratio_second: float = 0.5,
        *,
        class_aware: bool = True,
    ) -> None: ...
