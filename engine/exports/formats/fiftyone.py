"""FiftyOne: a data set of the type FiftyOneVideoLabelsDataset, whose labels are ETA's.

`manifest.json` lists pairs of `data/<stem><suffix>`, a link to the source, and `labels/<stem>.json`: objects by frame
(from 1), boxes relative to the frame, `index` is the track id.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from engine.exports.boxes import VideoBoxes
from engine.exports.formats.base import ExportSettings, write_text
from engine.text.printable import printable


def write(videos: Sequence[VideoBoxes], classes: Sequence[str], folder: Path, settings: ExportSettings) -> None:
    """Write the data set."""
    index = []
    for video in videos:
        name = "-".join(video.stem.parts)
        suffix = video.video.source.suffix if video.video.source is not None else ".mp4"
        pair = {"data": f"data/{name}{suffix}", "labels": f"labels/{name}.json"}
        write_text(folder / pair["labels"], json.dumps({"frames": _frames(video)}) + "\n")
        if video.video.source is not None:
            (folder / "data").mkdir(exist_ok=True)
            os.symlink(os.path.abspath(video.video.source), folder / pair["data"])
        index.append(pair)
    kind = "eta.core.datasets.LabeledVideoDataset"
    write_text(folder / "manifest.json", json.dumps({"type": kind, "description": "", "index": index}, indent=1) + "\n")


def _frames(video: VideoBoxes) -> dict[str, object]:
    width, height = video.size_wh
    found: defaultdict[int, list[dict[str, object]]] = defaultdict(list)
    for track in video.tracks:
        for frame, score, (x1, y1, x2, y2) in zip(
            track.frames.tolist(), track.scores.tolist(), track.boxes_xyxy.tolist(), strict=True
        ):
            found[frame + 1].append(
                {
                    "label": printable(track.class_name),
                    "bounding_box": {
                        "top_left": {"x": round(x1 / width, 6), "y": round(y1 / height, 6)},
                        "bottom_right": {"x": round(x2 / width, 6), "y": round(y2 / height, 6)},
                    },
                    "confidence": round(score, 4),
                    "index": track.track_id,
                }
            )
    return {str(frame): {"frame_number": frame, "objects": {"objects": found[frame]}} for frame in sorted(found)}
