"""Track: detections of each stream, put back in order, become tracks. One tracker a stream, dropped when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from engine.records import Detections, EndOfStream, Frame, StartOfStream, TrackerState, Tracks
from engine_ext.sort import SortTracker


@dataclass(frozen=True)
class TrackerSettings:
    """Parameters of SORT; see EngineConfig for what raising each gains and loses."""

    max_age: int = 10
    min_hits: int = 3
    iou_threshold: float = 0.3
    class_aware: bool = True

    def tracker(self) -> SortTracker:
        return SortTracker(self.max_age, self.min_hits, self.iou_threshold, class_aware=self.class_aware)


class StreamTracker:
    """The tracks of one stream, frame by frame in order."""

    def __init__(self, settings: TrackerSettings) -> None:
        self._sort = settings.tracker()
        self._latest = Detections()

    def follow(self, frame: Frame, detections: Detections | None) -> Tracks:
        """The tracks of the next frame. Without detections (a frame not inferred) the tracker predicts."""
        if detections is None:
            rows = self._sort.predict()
        else:
            given = np.empty((len(detections), 5))
            given[:, :4] = detections.boxes_xyxy
            given[:, 4] = detections.scores
            rows = self._sort.update(given, detections.class_ids)
            self._latest = detections
        matches, latest = self._sort.last_matches, self._latest
        return Tracks(
            frame,
            rows[:, :4],
            rows[:, 4].astype(np.int64),
            latest.class_ids[matches],
            latest.scores[matches],
            detections,
            self.state() if frame.mark is not None else None,
        )

    def state(self) -> TrackerState:
        """Everything the next frames depend on."""
        return TrackerState(self._sort.get_state(), self._latest.class_ids, self._latest.scores)

    def restore(self, state: TrackerState) -> None:
        """Goes on where `state` was taken. Raises ValueError when it is of another tracker."""
        self._sort.set_state(state.sort)
        # Only classes and scores of the latest detections are looked at; the boxes are in the tracks.
        boxes = np.zeros((len(state.scores), 4), np.float32)
        self._latest = Detections(boxes, state.scores, state.class_ids)


@dataclass
class _Stream:
    tracker: StreamTracker
    next_index: int = 0
    # Frames that came before their turn, by index.
    early: dict[int, tuple[Frame, Detections | None]] = field(default_factory=dict)
    end: EndOfStream | None = None


class Track:
    """Restores each stream's order behind parallel workers and runs its tracker. Called by one thread."""

    def __init__(self, settings: TrackerSettings) -> None:
        self._settings = settings
        self._streams: dict[int, _Stream] = {}

    def restored(self, state: TrackerState) -> StreamTracker:
        """A tracker that stands where `state` was taken. Raises ValueError when it is of other settings."""
        tracker = StreamTracker(self._settings)
        tracker.restore(state)
        return tracker

    def fresh(self) -> StreamTracker:
        """A tracker that has seen nothing."""
        return StreamTracker(self._settings)

    def start(self, start: StartOfStream) -> None:
        """Takes the start of a stream that continues, ahead of its first frame."""
        self._streams[start.stream] = _Stream(start.tracker, start.frames)

    def process(self, frame: Frame, detections: Detections | None) -> Iterator[Tracks | EndOfStream]:
        """Takes a frame in any order, gives what is now in order. A frame without an image only keeps its place."""
        stream = self._of(frame.stream)
        stream.early[frame.index] = (frame, detections)
        yield from self._ready(stream)

    def end(self, end: EndOfStream) -> Iterator[Tracks | EndOfStream]:
        """Takes the end of a stream, which follows its last frame."""
        stream = self._of(end.stream)
        stream.end = end
        yield from self._ready(stream)

    def _of(self, key: int) -> _Stream:
        if key not in self._streams:
            self._streams[key] = _Stream(StreamTracker(self._settings))
        return self._streams[key]

    def _ready(self, stream: _Stream) -> Iterator[Tracks | EndOfStream]:
        while (item := stream.early.pop(stream.next_index, None)) is not None:
            stream.next_index += 1
            frame, detections = item
            if frame.image is not None:
                yield stream.tracker.follow(frame, detections)
        if stream.end is not None and stream.next_index >= stream.end.frames:
            del self._streams[stream.end.stream]
            yield stream.end
