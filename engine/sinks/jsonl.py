"""`<stem>.tracks.jsonl` and `<stem>.detections.jsonl`: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from engine.records import EndOfStream, StreamInfo, Tracks
from engine.sinks.rows import RowFile


class TracksJsonl:
    """Rows {"frame", "pts", "time_s", "track_id", "class_id", "class", "score", "box_xyxy"}, in order of frame and id.

    Boxes are rounded to 0.01 pixel, scores to 0.0001, times to a microsecond.
    """

    kind = "tracks"

    def __init__(self, rows: RowFile, class_names: Sequence[str]) -> None:
        self._rows = rows
        self._names = [json.dumps(name) for name in class_names]

    def open(self, info: StreamInfo) -> None:
        pass

    def write(self, tracks: Tracks) -> None:
        if not len(tracks):
            return
        frame = tracks.frame
        head = f'{{"frame": {frame.index}, "pts": {frame.pts}, "time_s": {round(frame.time_s, 6)!r}, "track_id": '
        names = self._names
        self._rows.add(
            [
                f'{head}{track_id}, "class_id": {class_id}, "class": {names[class_id]}, "score": {score:.4f}, '
                f'"box_xyxy": [{x1:.2f}, {y1:.2f}, {x2:.2f}, {y2:.2f}]}}\n'
                for track_id, class_id, score, (x1, y1, x2, y2) in sorted(
                    zip(
                        tracks.track_ids.tolist(),
                        tracks.class_ids.tolist(),
                        tracks.scores.tolist(),
                        tracks.boxes_xyxy.tolist(),
                        strict=True,
                    )
                )
            ]
        )

    def commit(self, end: EndOfStream, path: Path) -> None:
        self._rows.commit(path)

    def abort(self) -> None:
        self._rows.abort()


class DetectionsJsonl:
    """Rows {"frame", "pts", "class_id", "class", "score", "box_xyxy"} of what the tracker was given, best first."""

    kind = "detections"

    def __init__(self, rows: RowFile, class_names: Sequence[str]) -> None:
        self._rows = rows
        self._names = [json.dumps(name) for name in class_names]

    def open(self, info: StreamInfo) -> None:
        pass

    def write(self, tracks: Tracks) -> None:
        found = tracks.detections
        if not found:
            return
        head = f'{{"frame": {tracks.frame.index}, "pts": {tracks.frame.pts}, "class_id": '
        self._rows.add(
            [
                f'{head}{class_id}, "class": {self._names[class_id]}, "score": {score:.4f}, '
                f'"box_xyxy": [{x1:.2f}, {y1:.2f}, {x2:.2f}, {y2:.2f}]}}\n'
                for class_id, score, (x1, y1, x2, y2) in zip(
                    found.class_ids.tolist(), found.scores.tolist(), found.boxes_xyxy.tolist(), strict=True
                )
            ]
        )

    def commit(self, end: EndOfStream, path: Path) -> None:
        self._rows.commit(path)

    def abort(self) -> None:
        self._rows.abort()
