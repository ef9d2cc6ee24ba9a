"""Label Studio: tasks with video pre-annotations, for a labelling interface of Video, VideoRectangle and Labels.

Frames count from 1, boxes are in per cent of the frame. A key frame that is not `enabled` hides the box until the next
one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

from engine.exports.boxes import TrackBoxes, VideoBoxes
from engine.exports.formats.base import ExportSettings, write_text
from engine.exports.key_frames import key_frames, runs_of
from engine.text.printable import printable


def write(videos: Sequence[VideoBoxes], classes: Sequence[str], folder: Path, settings: ExportSettings) -> None:
    """Write tasks.json, for import, and interface.xml, the matching labelling interface."""
    tasks = [_task(video, settings) for video in videos]
    write_text(folder / "tasks.json", json.dumps(tasks, indent=1) + "\n")
    labels = "".join(f"    <Label value={quoteattr(printable(name))}/>\n" for name in classes)
    write_text(
        folder / "interface.xml",
        "<View>\n"
        '  <Labels name="videoLabels" toName="video" allowEmpty="true">\n'
        f"{labels}"
        "  </Labels>\n"
        '  <Video name="video" value="$video"/>\n'
        '  <VideoRectangle name="box" toName="video"/>\n'
        "</View>\n",
    )


def _task(video: VideoBoxes, settings: ExportSettings) -> dict[str, object]:
    duration_s = round(float(video.frames / video.rate), 6)
    result = [
        {
            "id": f"{video.stem.name}-{track.track_id}",
            "type": "videorectangle",
            "from_name": "box",
            "to_name": "video",
            "value": {
                "framesCount": video.frames,
                "duration": duration_s,
                "sequence": list(_sequence(track, video, settings.error_px)),
                "labels": [printable(track.class_name)],
            },
            "meta": {"track_id": track.track_id},
        }
        for track in video.tracks
    ]
    prediction = {"model_version": "yolo-engine", "result": result}
    return {"data": {"video": printable(video.video.name, 4000)}, "predictions": [prediction]}


def _sequence(track: TrackBoxes, video: VideoBoxes, error_px: float) -> Iterator[dict[str, object]]:
    width, height = video.size_wh
    for run in runs_of(track.frames):
        frames, boxes, times_s = track.frames[run], track.boxes_xyxy[run], track.times_s[run]
        kept = key_frames(frames, boxes, error_px).tolist()
        for index in kept:
            x1, y1, x2, y2 = boxes[index].tolist()
            yield {
                "frame": int(frames[index]) + 1,
                "time": round(float(times_s[index]) - video.video.first_s, 6),
                "enabled": index != kept[-1],
                "rotation": 0,
                "x": round(100 * x1 / width, 4),
                "y": round(100 * y1 / height, 4),
                "width": round(100 * (x2 - x1) / width, 4),
                "height": round(100 * (y2 - y1) / height, 4),
            }
