"""`<stem>.mot.txt`: MOTChallenge results, `frame,id,left,top,width,height,score,-1,-1,-1`, frames from 1."""

from __future__ import annotations

from pathlib import Path

from engine.records import EndOfStream, StreamInfo, Tracks
from engine.sinks.rows import RowFile


class MotText:
    kind = "mot"

    def __init__(self, rows: RowFile) -> None:
        self._rows = rows

    def open(self, info: StreamInfo) -> None:
        pass

    def write(self, tracks: Tracks) -> None:
        if not len(tracks):
            return
        number = tracks.frame.index + 1
        self._rows.add(
            [
                f"{number},{track_id},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.4f},-1,-1,-1\n"
                for track_id, score, (x1, y1, x2, y2) in sorted(
                    zip(tracks.track_ids.tolist(), tracks.scores.tolist(), tracks.boxes_xyxy.tolist(), strict=True)
                )
            ]
        )

    def commit(self, end: EndOfStream, path: Path) -> None:
        self._rows.commit(path)

    def abort(self) -> None:
        self._rows.abort()
