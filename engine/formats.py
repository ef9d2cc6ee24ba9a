"""The files that a run can write. Those of rows by the name that a configuration gives them: one line per format.

Importing this loads none of them: the configuration is checked against it by programs that never write any.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RowFormat:
    """`suffix` follows the stem of the video; `home` is the sink's module and class."""

    suffix: str
    home: str

    def make(self, rows: Any, class_names: Sequence[str], conf: float = 0.0) -> Any:
        """Make the sink of one video. `conf` is the lowest score that is reported."""
        module, _, name = self.home.partition(":")
        kind: Any = getattr(importlib.import_module(module), name)
        return kind.for_video(rows, class_names, conf)


FORMATS: dict[str, RowFormat] = {
    "tracks": RowFormat(".tracks.jsonl", "engine.sinks.jsonl:TracksJsonl"),
    "mot": RowFormat(".mot.txt", "engine.sinks.mot:MotText"),
    "detections": RowFormat(".detections.jsonl", "engine.sinks.jsonl:DetectionsJsonl"),
}

STORE_SUFFIX, CROPS_SUFFIX, HEATMAP_SUFFIX, VIDEO_SUFFIX = ".detections.bin", ".crops.zip", ".heatmap.json", ".mp4"
"""Of the other files of a video: stored detections, crops, heatmap, the annotated video."""

EXPORTS = ("cvat", "mot", "coco", "yolo", "labelstudio", "fiftyone")
"""What `yolo-engine export` writes."""
