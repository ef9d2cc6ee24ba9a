"""`<stem>.mot.txt`: MOTChallenge results, `frame,id,left,top,width,height,score,-1,-1,-1`, frames from 1."""

from __future__ import annotations

from engine.records import Tracks
from engine.sinks.rows import RowSink


class MotText(RowSink):
    kind = "mot"

    def rows(self, tracks: Tracks) -> list[str]:
        number = tracks.frame.index + 1
        columns = (tracks.track_ids, tracks.scores, tracks.boxes_xyxy)
        return [
            f"{number},{track_id},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.4f},-1,-1,-1\n"
            for track_id, score, (x1, y1, x2, y2) in sorted(zip(*(column.tolist() for column in columns), strict=True))
        ]
