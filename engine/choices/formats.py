"""The files that a run can write; those with rows by their names in the configuration, one line per format.

Importing this module loads no sink: programs that never write any validate configurations with it.
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
        """Create the sink of one video. `conf` is the lowest reported score."""
        module, _, name = self.home.partition(":")
        kind: Any = getattr(importlib.import_module(module), name)
        return kind.for_video(rows, class_names, conf)


FORMATS: dict[str, RowFormat] = {
    "tracks": RowFormat(".tracks.jsonl", "engine.sinks.jsonl:TracksJsonl"),
    "mot": RowFormat(".mot.txt", "engine.sinks.mot:MotText"),
    "detections": RowFormat(".detections.jsonl", "engine.sinks.jsonl:DetectionsJsonl"),
}

STORE_SUFFIX, CROPS_SUFFIX, HEATMAP_SUFFIX, VIDEO_SUFFIX = ".detections.bin", ".crops.zip", ".heatmap.json", ".mp4"
"""Suffixes of a video's other files: stored detections, crops, heatmap, the annotated video."""

TABLES = ("tracks", "events", "counts", "od", "travel_times")
"""The tables of a run, whose columns stand in engine.analytics.tables."""


def table_names(formats: Collection[str]) -> list[str]:
    """Return the names of the files of tables: CSV always, and what `formats` names."""
    names = [f"{name}.csv" for name in TABLES]
    names += [f"{name}.parquet" for name in TABLES] if "parquet" in formats else []
    return names + (["tables.xlsx"] if "xlsx" in formats else [])


CLIPS_FOLDER, EXPORT_FOLDER = "clips", "export"
"""Folders below the output folder for clips and exports; each export is in a folder named after its format."""

CLIP_LISTS = ("clips.csv", "empty.txt")
"""The lists of clips and of videos without any; clips themselves get unused names."""

EXPORT_NOTE = "yolo-engine-export.json"
"""The file that marks a folder as an export of ours, which the next export may replace."""


class ExportFormat(NamedTuple):
    """A format of `yolo-engine export`; its module in engine/exports/formats has the same name.

    key_frames  only key boxes are written, and the tool interpolates the others
    data_set    made of single images, of which every Nth may be taken
    images      folder of extracted frames, below the export's folder or, with {stem}, the video's; "": none
    jobs        a video may be split into jobs, as the tool does
    links       includes links to the sources
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
    """Return the names of the formats that satisfy `has`, as a phrase."""
    *first, last = (name for name, kind in EXPORTS.items() if has(kind))
    return f"{', '.join(first)} and {last}" if first else last
