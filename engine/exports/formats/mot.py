"""MOTChallenge ground truth, as CVAT's MOT 1.1 and py-motmetrics read it: every box, frames from 1.

One folder per video: `gt/gt.txt` (frame, id, left, top, width, height, 1, class from 1, 1), `gt/labels.txt` (one class
per line) and `seqinfo.ini`. CVAT's jobs number their frames from 1 again; they are in folders `job-N`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.exports.boxes import VideoBoxes
from engine.exports.formats.base import ExportSettings, jobs_of, write_text
from engine.text.printable import printable


def write(videos: Sequence[VideoBoxes], classes: Sequence[str], folder: Path, settings: ExportSettings) -> None:
    """Write a folder for each video and for each of its jobs."""
    for video in videos:
        place = folder / video.stem
        _write_one(video, classes, place)
        for number, first, last in jobs_of(video, settings):
            _write_one(video.part(first, last), classes, place.with_name(f"{place.name}.job-{number}"))


def _write_one(video: VideoBoxes, classes: Sequence[str], folder: Path) -> None:
    numbers = {name: number for number, name in enumerate(classes, 1)}
    rows = []
    for track in video.tracks:
        x1, y1, x2, y2 = track.boxes_xyxy.T
        table = np.stack([track.frames + 1, x1, y1, x2 - x1, y2 - y1], axis=1).tolist()
        for frame, left, top, width, height in table:
            box = f"{left:.2f},{top:.2f},{width:.2f},{height:.2f}"
            rows.append((int(frame), track.track_id, f"{box},1,{numbers[track.class_name]},1"))
    rows.sort(key=lambda row: row[:2])
    write_text(folder / "gt" / "gt.txt", "".join(f"{frame},{track},{rest}\n" for frame, track, rest in rows))
    write_text(folder / "gt" / "labels.txt", "".join(f"{printable(name)}\n" for name in classes))
    width, height = video.size_wh
    info = (
        f"[Sequence]\nname={folder.name}\nimDir=img1\nframeRate={float(video.rate):g}\nseqLength={video.frames}\n"
        f"imWidth={width}\nimHeight={height}\nimExt=.jpg\n"
    )
    write_text(folder / "seqinfo.ini", info)
