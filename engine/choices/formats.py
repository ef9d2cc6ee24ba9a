"""The files that a run can write. Those of rows by the name that a configuration gives them: one line per format.

Importing this loads none of them: the configuration is checked against it by programs that never write any.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple


class RowFormat(NamedTuple):
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

TABLES = ("tracks", "events", "counts", "od", "travel_times")
"""The tables of a run, whose columns stand in engine.analytics.tables."""


def table_names(formats: Collection[str]) -> list[str]:
    """Return the names of the files of tables: CSV always, and what `formats` names."""
    names = [f"{name}.csv" for name in TABLES]
    names += [f"{name}.parquet" for name in TABLES] if "parquet" in formats else []
    return names + (["tables.xlsx"] if "xlsx" in formats else [])


CLIPS_FOLDER, EXPORT_FOLDER = "clips", "export"
"""Below the output folder, where clips go, and exports, each in a folder with its format's name."""

CLIP_LISTS = ("clips.csv", "empty.txt")
"""What lists clips, and the videos without any; clips themselves take names that are free."""

EXPORT_NOTE = "yolo-engine-export.json"
"""What says of a folder that it is an export of ours, which the next one replaces."""


class ExportFormat(NamedTuple):
    """A format of `yolo-engine export`, whose module in engine/exports/formats has its name.

    key_frames  boxes are written from which a tool interpolates the others
    data_set    of single images, of which every Nth may be taken
    images      where frames go that are cut out, below the folder or, with {stem}, the video's own; "": nowhere
    jobs        a video may be split, as its tool does
    links       the sources are a part of it
    """

    key_frames: bool = False
    data_set: bool = False
    images: str = ""
    jobs: bool = False
    links: bool = False


EXPORTS: dict[str, ExportFormat] = {
    "cvat": ExportFormat(key_frames=True, jobs=True),
    "mot": ExportFormat(images="{stem}/img1", jobs=True),
    "coco": ExportFormat(data_set=True, images="images/default"),
    "yolo": ExportFormat(data_set=True, images="images/train"),
    "labelstudio": ExportFormat(key_frames=True),
    "fiftyone": ExportFormat(links=True),
}


def exports_that(has: Callable[[ExportFormat], object]) -> str:
    """Return the names of the formats of which something holds, for people."""
    *first, last = (name for name, kind in EXPORTS.items() if has(kind))
    return f"{', '.join(first)} and {last}" if first else last
