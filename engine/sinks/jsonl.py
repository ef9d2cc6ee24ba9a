"""`<stem>.tracks.jsonl` and `<stem>.detections.jsonl`: one JSON object a line.

Boxes are rounded to 0.01 pixel, scores to 0.0001, times to a microsecond.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from engine.records import Tracks
from engine.sinks.rows import RowFile, RowSink


class JsonlSink(RowSink):
    """What both files share: the class names, quoted once."""

    def __init__(self, rows: RowFile, class_names: Sequence[str]) -> None:
        super().__init__(rows)
        self._names = [json.dumps(name) for name in class_names]


class TracksJsonl(JsonlSink):
    """Rows {"frame", "pts", "time_s", "track_id", "class_id", "class", "score", "box_xyxy"}, by frame and id."""

    kind = "tracks"

    def rows(self, tracks: Tracks) -> list[str]:
        frame, names = tracks.frame, self._names
        head = f'{{"frame": {frame.index}, "pts": {frame.pts}, "time_s": {round(frame.time_s, 6)!r}, "track_id": '
        columns = (tracks.track_ids, tracks.class_ids, tracks.scores, tracks.boxes_xyxy)
        return [
            f'{head}{track_id}, "class_id": {class_id}, "class": {names[class_id]}, "score": {score:.4f}, '
            f'"box_xyxy": [{x1:.2f}, {y1:.2f}, {x2:.2f}, {y2:.2f}]}}\n'
            for track_id, class_id, score, (x1, y1, x2, y2) in sorted(
                zip(*(column.tolist() for column in columns), strict=True)
            )
        ]


class DetectionsJsonl(JsonlSink):
    """Rows {"frame", "pts", "class_id", "class", "score", "box_xyxy"} of what the tracker was given, best first."""

    kind = "detections"

    def rows(self, tracks: Tracks) -> list[str]:
        found, names = tracks.detections, self._names
        if found is None:
            return []
        head = f'{{"frame": {tracks.frame.index}, "pts": {tracks.frame.pts}, "class_id": '
        columns = (found.class_ids, found.scores, found.boxes_xyxy)
        return [
            f'{head}{class_id}, "class": {names[class_id]}, "score": {score:.4f}, '
            f'"box_xyxy": [{x1:.2f}, {y1:.2f}, {x2:.2f}, {y2:.2f}]}}\n'
            for class_id, score, (x1, y1, x2, y2) in zip(*(column.tolist() for column in columns), strict=True)
        ]
