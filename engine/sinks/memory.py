"""Sinks that keep results in memory: the running totals of a stream, and tracks handed to a Python caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.records import EndOfStream, StreamInfo, Tracks

_FRAMES_BETWEEN_PURGES = 1024


@dataclass(frozen=True)
class TallyState:
    """What `Tally.state` gives, by its keys: (class id, tracks) and (track id, inferred frame it was last seen at)."""

    frames: int
    inferred: int
    detections: int
    tracks_by_class: list[tuple[int, int]]
    last_pts_s: float
    last_seen: list[tuple[int, int]]
    without_area: int = 0
    non_finite: int = 0
    first_pts_s: float | None = None
    last_duration_s: float = 0.0
    size_wh: tuple[int, int] | None = None


class Tally:
    """Counts what the summary says of a video. Its memory does not grow with the video's length."""

    kind = "tally"

    def __init__(self, forget_after: int) -> None:
        """`forget_after`: inferred frames after which a track that was not seen is gone for good (max_age)."""
        self.frames = 0
        self.inferred = 0
        self.detections = 0
        self.without_area = 0
        self.tracks_by_class: Counter[int] = Counter()
        self.non_finite = 0
        self.first_pts_s: float | None = None
        self.last_pts_s = self.last_duration_s = 0.0
        self.size_wh: tuple[int, int] | None = None
        """Of the upright frame, the first one that was given out."""
        self._forget_after = forget_after
        self._last_seen: dict[int, int] = {}

    def open(self, info: StreamInfo) -> None:
        pass

    def write(self, tracks: Tracks) -> None:
        self.frames += 1
        self.last_pts_s = tracks.frame.time_s
        self.last_duration_s = float(tracks.frame.duration * tracks.frame.time_base)
        if self.first_pts_s is None:
            self.first_pts_s = self.last_pts_s
        image = tracks.frame.image
        if self.size_wh is None and image is not None:
            self.size_wh = (image.width, image.height)
        if tracks.detections is not None:
            self.inferred += 1
            self.detections += len(tracks.detections)
            self.non_finite += tracks.detections.non_finite
            self.without_area += tracks.detections.without_area
        for track_id, class_id in zip(tracks.track_ids.tolist(), tracks.class_ids.tolist(), strict=True):
            if track_id not in self._last_seen:
                self.tracks_by_class[class_id] += 1
            self._last_seen[track_id] = self.inferred
        if self.frames % _FRAMES_BETWEEN_PURGES == 0:
            oldest = self.inferred - self._forget_after - 1
            self._last_seen = {key: seen for key, seen in self._last_seen.items() if seen >= oldest}

    @property
    def span_s(self) -> float:
        """Seconds from the first frame to the end of the last."""
        return self.last_pts_s + self.last_duration_s - (self.first_pts_s or 0.0)

    def state(self) -> dict[str, Any]:
        """The totals as JSON values, for a checkpoint."""
        return {
            "frames": self.frames,
            "inferred": self.inferred,
            "detections": self.detections,
            "without_area": self.without_area,
            "tracks_by_class": list(self.tracks_by_class.items()),
            "non_finite": self.non_finite,
            "first_pts_s": self.first_pts_s,
            "last_pts_s": self.last_pts_s,
            "last_duration_s": self.last_duration_s,
            "size_wh": list(self.size_wh) if self.size_wh else None,
            "last_seen": list(self._last_seen.items()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back, or on, to where `state` was taken."""
        self.frames, self.inferred, self.detections = state["frames"], state["inferred"], state["detections"]
        self.without_area = state.get("without_area", 0)
        self.tracks_by_class = Counter(dict(state["tracks_by_class"]))
        self.non_finite = state.get("non_finite", 0)
        self.first_pts_s, self.last_pts_s = state.get("first_pts_s"), state["last_pts_s"]
        self.last_duration_s = state.get("last_duration_s", 0.0)
        size = state.get("size_wh")
        self.size_wh = (size[0], size[1]) if size else None
        self._last_seen = dict(state["last_seen"])

    def commit(self, end: EndOfStream, path: Path) -> None:
        pass

    def abort(self) -> None:
        pass


class CallbackSink:
    """Hands each frame's tracks to a function, in order. What the function raises fails the stream."""

    kind = "callback"

    def __init__(self, function: Callable[[Tracks], None]) -> None:
        self._function = function

    def open(self, info: StreamInfo) -> None:
        pass

    def write(self, tracks: Tracks) -> None:
        self._function(tracks)

    def commit(self, end: EndOfStream, path: Path) -> None:
        pass

    def abort(self) -> None:
        pass
