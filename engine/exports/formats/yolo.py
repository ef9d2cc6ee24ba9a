"""A YOLO data set, as Ultralytics reads it: `data.yaml`, `images/train`, `labels/train`.

One line per box: class, centre and size relative to the frame. Track ids are left out, because tools reject them. A
frame without objects has an empty file, which marks it as background.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from engine.exports.boxes import VideoBoxes
from engine.exports.formats.base import ExportSettings, image_name, write_text
from engine.text.printable import printable


def write(videos: Sequence[VideoBoxes], classes: Sequence[str], folder: Path, settings: ExportSettings) -> None:
    """Write the data set."""
    numbers = {name: number for number, name in enumerate(classes)}
    names = "".join(f"  {number}: {json.dumps(printable(name))}\n" for name, number in numbers.items())
    write_text(folder / "data.yaml", f"path: .\ntrain: images/train\nval: images/train\nnames:\n{names or '  {}'}")
    (folder / "images" / "train").mkdir(parents=True, exist_ok=True)
    labels = folder / "labels" / "train"
    labels.mkdir(parents=True, exist_ok=True)
    for video in videos:
        width, height = video.size_wh
        lines: defaultdict[int, list[str]] = defaultdict(list)
        for track in video.tracks:
            for frame, (x1, y1, x2, y2) in zip(track.frames.tolist(), track.boxes_xyxy.tolist(), strict=True):
                values = ((x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height)
                number = numbers[track.class_name]
                lines[frame].append(f"{number} " + " ".join(f"{value:.6f}" for value in values) + "\n")
        stem = video.stem
        for frame in range(0, video.frames, settings.every):
            (labels / f"{image_name(stem, frame)}.txt").write_text("".join(lines.get(frame, ())))
