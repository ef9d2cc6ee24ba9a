"""`<stem>.mot.txt`: MOTChallenge results, `frame,id,left,top,width,height,score,-1,-1,-1`, frames from 1."""

from __future__ import annotations

from engine.records import Tracks
from engine.sinks.rows import RowSink
from engine_ext.rows import mot


class MotText(RowSink):
    kind = "mot"

    def rows(self, tracks: Tracks) -> tuple[bytes, int]:
        return mot(tracks.frame.index + 1, tracks.track_ids, tracks.scores, tracks.boxes_xyxy), len(tracks)
