"""The progress of a run as a whole, and an estimate of the remaining time.

The frames of videos that are not open yet are estimated from their size, at the frames per byte of the known ones. A
live source has no end, so a run with one has no estimate.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from typing import NamedTuple

from engine.media.inputs import Video
from engine.media.source import LIVE_SCHEMES, scheme
from engine.pipeline.stream import Progress
from engine.text.counted import counted

_MIN_S = 1.0  # of a run, before its speed says anything


class Total(NamedTuple):
    """`frames_total` and `left_s` are estimates; None: unknown. `fps` is this run's speed."""

    videos: int
    done: int
    frames: int
    frames_total: int | None
    fps: float
    elapsed_s: float
    left_s: float | None

    def line(self) -> str:
        """Return the same in words."""
        words = [
            f"{self.done:,} of {counted(self.videos, 'video')} done",
            counted(self.frames, "frame"),
            f"{self.fps:.0f} fps",
        ]
        if self.left_s is not None:
            words.append(f"{span(self.left_s)} to go")
        return ", ".join(words)


class Totals:
    """Adds up a run. Its threads call `ended`, the display calls `now`."""

    def __init__(self, videos: Iterable[Video], earlier: Iterable[tuple[Video, int]] = ()) -> None:
        """`earlier` has the videos that an earlier run finished, with their frames."""
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._waiting = {str(video.stem): _size(video) for video in videos}
        self._videos = len(self._waiting)
        self._endless = any(scheme(video.path) in LIVE_SCHEMES for video in videos)
        self._done = self._frames = self._before = 0
        self._known_frames = self._known_bytes = 0
        for video, frames in earlier:
            self.ended(str(video.stem), frames)
            self._before += frames

    def ended(self, stem: str, frames: int, resumed_from: int = 0) -> None:
        """Count a finished video with `frames` frames."""
        with self._lock:
            size = self._waiting.pop(stem, 0)
            self._done += 1
            self._frames += frames
            self._before += resumed_from
            if frames:  # of one that failed there is nothing to learn
                self._known_frames += frames
                self._known_bytes += size

    def now(self, active: Iterable[Progress]) -> Total:
        """Return the total, including the videos under way."""
        with self._lock:
            waiting, frames, before = dict(self._waiting), self._frames, self._before
            known_frames, known_bytes, done = self._known_frames, self._known_bytes, self._done
        for each in active:
            if each.stem not in waiting:
                continue  # it has ended meanwhile
            frames += each.frames
            before += each.resumed_from
            if each.frames_total:
                known_frames += max(each.frames, each.frames_total)
                known_bytes += waiting.pop(each.stem)
        elapsed_s = time.monotonic() - self._started
        fps = (frames - before) / elapsed_s if elapsed_s > 0 else 0.0
        unknown_bytes = sum(waiting.values())
        total = None
        if not self._endless and (known_bytes or not unknown_bytes):
            total = max(frames, known_frames + round(unknown_bytes * known_frames / known_bytes if known_bytes else 0))
        left_s = (total - frames) / fps if total is not None and fps > 0 and elapsed_s >= _MIN_S else None
        return Total(self._videos, done, frames, total, fps, elapsed_s, left_s)


def span(seconds: float) -> str:
    """3725 -> 1:02:05"""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _size(video: Video) -> int:
    try:
        return os.path.getsize(video.path)
    except OSError:
        return 0
