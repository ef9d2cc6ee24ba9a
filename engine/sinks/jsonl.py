"""`<stem>.tracks.jsonl` and `<stem>.detections.jsonl`: one JSON object per line.

Boxes are rounded to 0.01 pixel, scores to 0.0001, times to a microsecond.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Self

import numpy as np

from engine.records import Tracks
from engine.sinks.rows import RowFile, RowSink
from engine_ext.rows import detections_jsonl, tracks_jsonl


class JsonlSink(RowSink):
    """Base of both files, with the class names, quoted once."""

    def __init__(self, rows: RowFile, class_names: Sequence[str]) -> None:
        super().__init__(rows)
        self._names = [json.dumps(name).encode() for name in class_names]

    @classmethod
    def for_video(cls, rows: RowFile, class_names: Sequence[str], conf: float) -> Self:
        return cls(rows, class_names)


class TracksJsonl(JsonlSink):
    """Rows {"frame", "pts", "time_s", "track_id", "class_id", "class", "score", "box_xyxy"}, by frame and id; "time_s"
    is followed by "time" if the wall clock is known."""

    kind = "tracks"

    def rows(self, tracks: Tracks) -> tuple[bytes, int]:
        frame = tracks.frame
        wall = "" if frame.wall is None else f'"time": "{frame.wall.isoformat(timespec="milliseconds")}", '
        times = f'"pts": {frame.pts}, "time_s": {round(frame.time_s, 6)!r}, {wall}'
        head = f'{{"frame": {frame.index}, {times}"track_id": '
        columns = (tracks.track_ids, tracks.class_ids, self._names, tracks.scores, tracks.boxes_xyxy)
        return tracks_jsonl(head.encode(), *columns), len(tracks)


class DetectionsJsonl(JsonlSink):
    """Rows {"frame", "pts", "class_id", "class", "score", "box_xyxy"} of the detections, best first; "pts" is followed
    by "carried": true for boxes that the gate carried over."""

    kind = "detections"

    def __init__(self, rows: RowFile, class_names: Sequence[str], conf: float = 0.0) -> None:
        """`conf` is the minimum score that is reported."""
        super().__init__(rows, class_names)
        self._conf = conf

    @classmethod
    def for_video(cls, rows: RowFile, class_names: Sequence[str], conf: float) -> Self:
        return cls(rows, class_names, conf)

    def rows(self, tracks: Tracks) -> tuple[bytes, int]:
        if tracks.detections is None:
            return b"", 0
        found = tracks.detections.above(self._conf)
        start = f'{{"frame": {tracks.frame.index}, "pts": {tracks.frame.pts}, '
        heads = f'{start}"class_id": '.encode(), f'{start}"carried": true, "class_id": '.encode()
        boxes, carried = found.boxes_xyxy.astype(np.float64), found.carried
        if carried is None or not carried.any():
            return detections_jsonl(heads[0], found.class_ids, self._names, found.scores, boxes), len(found)
        if carried.all():
            return detections_jsonl(heads[1], found.class_ids, self._names, found.scores, boxes), len(found)
        lines = [
            detections_jsonl(
                heads[int(carried[i])],
                found.class_ids[i : i + 1],
                self._names,
                found.scores[i : i + 1],
                boxes[i : i + 1],
            )
            for i in range(len(found))
        ]
        return b"".join(lines), len(found)
