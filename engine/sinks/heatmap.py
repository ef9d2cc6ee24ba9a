"""`<stem>.heatmap.json`: where the objects of a video were, accumulated while they are tracked.

Its contents follow from the rounded rows of `tracks.jsonl`: whoever reads those gets the same result. It has no part
file while it grows: a checkpoint holds its state, which is bounded by the cells and the live tracks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.analytics.heatmap import Heatmap, HeatmapState, to_file
from engine.analytics.samples import Samples
from engine.errors import CheckpointMismatch, SinkError, describe_os_error
from engine.records import EndOfStream, StreamInfo, Tracks
from engine.sinks.base import FileSink, OutputState, State, discard, fresh, part_path, publish

_Frame: TypeAlias = tuple[float, NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]
"""Seconds of the container, ids, classes and boxes, without the image: nobody is to hold that here."""

# NumPy takes its time for each call: as many wait as make that little.
_ROWS_AT_ONCE = 4096


class HeatmapSink(FileSink):
    """Accumulates where tracks were. Memory depends on the live tracks, not on the length of the video."""

    kind = "heatmap"

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        self._part = part_path(path)
        self._names = dict(enumerate(class_names))
        self._heatmap: Heatmap | None = None  # None before the first frame with an image
        self._waiting: list[_Frame] = []
        self._rows = 0  # that wait
        self._alive: tuple[NDArray[np.int64], int] | None = None  # ids, and how many of the rows that wait came before
        self.before: Callable[[], tuple[HeatmapState | None, int]] = lambda: (None, 0)
        """Gives what the file before of the same camera left, and how far the times there are ahead of this file's, in
        microseconds. Asked once, at the first frame."""

    def grow_in(self, folder: Path) -> None:
        self._part = folder / self._part.name

    def open(self, info: StreamInfo) -> None:
        discard(self._part)

    def resume(self, info: StreamInfo, state: OutputState, part: Path) -> None:
        discard(self._part)
        try:
            found = state["heatmap"]
            if found["cells"] is not None:
                self._heatmap = Heatmap.of(HeatmapState.from_json(found["cells"]))
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointMismatch(f"{self._part.name} is damaged: it contains no state of a heatmap") from error

    def write(self, tracks: Tracks) -> None:
        if self._heatmap is None and tracks.frame.image is not None:
            self._heatmap = Heatmap((tracks.frame.image.width, tracks.frame.image.height))
            before, ahead_us = self.before()
            if before is not None and before.size_wh == self._heatmap.size_wh:
                self._heatmap.go_on(before.tracks, ahead_us)
        if tracks.alive is not None:
            self._alive = tracks.alive, self._rows
        if count := len(tracks):
            time_s = round(tracks.frame.time_s, 6)
            self._waiting.append((time_s, tracks.track_ids, tracks.class_ids, tracks.boxes_xyxy))
            self._rows += count
        if self._rows >= _ROWS_AT_ONCE:
            self._take_in()

    def _take_in(self) -> None:
        """Add the frames that wait, and forget the tracks that won't come again."""
        if not self._waiting:
            return
        assert self._heatmap is not None, "a dropped frame has no tracks"
        times, *columns = zip(*self._waiting, strict=True)
        self._waiting.clear()
        self._rows = 0
        ids, kinds, boxes = map(np.concatenate, columns)
        times_s = np.repeat(times, [len(each) for each in columns[0]])
        none, kinds, boxes = np.zeros(len(ids), np.int64), kinds.astype(np.int64), np.round(boxes, 2)
        self._heatmap.feed(Samples(none, none, times_s, ids, kinds, none.astype(float), boxes, self._names))
        if self._alive is not None:
            alive, before = self._alive
            self._alive = None
            self._heatmap.keep({*alive.tolist(), *ids[before:].tolist()})

    def left(self, ahead_us: int) -> HeatmapState | None:
        """Return what the next file of the camera continues with: the tracks alive, by times that are `ahead_us` ahead
        of this file's. None if nothing was seen."""
        self._take_in()
        return None if self._heatmap is None else HeatmapState(self._heatmap.size_wh, {}, self._heatmap.alive(ahead_us))

    def mark(self) -> State:
        self._take_in()
        found = {"cells": self._heatmap.state().to_json() if self._heatmap is not None else None}
        return lambda: {"offset": 0, "heatmap": found}

    def complete(self, end: EndOfStream) -> Path:
        self._take_in()
        try:
            with fresh(self._part) as file:
                file.write(to_file(self._heatmap))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SinkError(f"{self._part.name} can't be written: {describe_os_error(error)}") from error
        return self._part

    def commit(self, end: EndOfStream, path: Path) -> None:
        publish(self.complete(end), path)

    def suspend(self) -> None:
        self._waiting.clear()

    def abort(self) -> None:
        self._waiting.clear()
        discard(self._part)
