"""From tracks to answers: how many, which way, when, how long, how fast.

    from engine.analytics import Recording, Scene, analyse, read_tracks, tables_of

    scene = Scene.load(Path("scene.toml"))
    recording = Recording("a.mp4", (1920, 1080), read_tracks(Path("out/a.tracks.jsonl")), (0.0, 60.0))
    answers = analyse([recording], scene)
    counts = pandas.DataFrame(tables_of(answers)["counts"])

In the order of the data: `samples` (rows as arrays), `scene` (lines and zones), `geometry`, `crossings` and `stays`
(the rules), `trajectories` and `ground` (whole tracks), `stitching` (broken tracks), `clock`, `analysis` (all of it
together), `bins` and `tables`. For runs: `settings` (what a configuration requests), `naming` (of videos and cameras),
`timeline` (the files of a camera), `ignore` (regions without detections), `vocabulary` (names that can occur), `live`
(counts as frames arrive), `answering` (answers for a manifest), `run_answers` (answers that a run writes), `heatmap`,
`paths` (simplified tracks for pages), `verdicts` and `reviewed` (a reviewer's rejections), `export` (files).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.analytics.analysis import Answers, Event, EventKind, Recording, analyse
    from engine.analytics.bins import Bin, Count, bins_of, counts_of
    from engine.analytics.clock import Clock, ClockOrigin, clock_of, zone_of
    from engine.analytics.samples import Moment, Samples, read_mot, read_tracks, wrong_row
    from engine.analytics.scene import Scene
    from engine.analytics.stitching import Objects, count_objects, fragments_of, stitch
    from engine.analytics.tables import tables_of, to_csv
    from engine.analytics.trajectories import Trajectory

__all__ = [
    "Answers",
    "Bin",
    "Clock",
    "ClockOrigin",
    "Count",
    "Event",
    "EventKind",
    "Moment",
    "Objects",
    "Recording",
    "Samples",
    "Scene",
    "Trajectory",
    "analyse",
    "answering",
    "bins_of",
    "clock",
    "clock_of",
    "count_objects",
    "counts_of",
    "crossings",
    "evaluation",
    "export",
    "fragments_of",
    "geometry",
    "heatmap",
    "ignore",
    "live",
    "naming",
    "paths",
    "read_mot",
    "read_tracks",
    "reviewed",
    "run_answers",
    "samples",
    "scene",
    "settings",
    "stays",
    "stitch",
    "stitching",
    "tables",
    "tables_of",
    "timeline",
    "to_csv",
    "verdicts",
    "vocabulary",
    "wrong_row",
    "zone_of",
]

_HOMES = {
    "Answers": "engine.analytics.analysis",
    "Event": "engine.analytics.analysis",
    "EventKind": "engine.analytics.analysis",
    "Recording": "engine.analytics.analysis",
    "analyse": "engine.analytics.analysis",
    "Bin": "engine.analytics.bins",
    "Count": "engine.analytics.bins",
    "bins_of": "engine.analytics.bins",
    "counts_of": "engine.analytics.bins",
    "Clock": "engine.analytics.clock",
    "ClockOrigin": "engine.analytics.clock",
    "clock_of": "engine.analytics.clock",
    "zone_of": "engine.analytics.clock",
    "Moment": "engine.analytics.samples",
    "Samples": "engine.analytics.samples",
    "read_mot": "engine.analytics.samples",
    "read_tracks": "engine.analytics.samples",
    "wrong_row": "engine.analytics.samples",
    "Scene": "engine.analytics.scene",
    "Objects": "engine.analytics.stitching",
    "count_objects": "engine.analytics.stitching",
    "fragments_of": "engine.analytics.stitching",
    "stitch": "engine.analytics.stitching",
    "tables_of": "engine.analytics.tables",
    "to_csv": "engine.analytics.tables",
    "Trajectory": "engine.analytics.trajectories",
}


def __getattr__(name: str) -> Any:
    # Loaded on demand: every run needs the settings, but only a run with tables needs the code that computes them.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'engine.analytics' has no attribute {name!r}")
