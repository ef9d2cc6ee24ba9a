"""From tracks to answers: how many, which way, when, how long, how fast.

    from engine.analytics import Recording, Scene, analyse, read_tracks, tables_of

    scene = Scene.load(Path("scene.toml"))
    recording = Recording("a.mp4", (1920, 1080), read_tracks(Path("out/a.tracks.jsonl")), (0.0, 60.0))
    answers = analyse([recording], scene)
    counts = pandas.DataFrame(tables_of(answers)["counts"])

In the order of the data: `samples` (rows as arrays), `scene` (lines and zones), `geometry`, `crossings` and `stays`
(the rules), `trajectories` and `ground` (whole tracks), `clock`, `analyse` (all of it), `bins` and `tables`.
For runs: `settings` (what a configuration asks for), `timeline` (the files of a camera), `ignore` (where nothing is
detected), `answering` (a manifest's answers), `heatmap`, `verdicts` (what a reviewer rejected), `export` (files).
"""

from engine.analytics import (
    answering,
    clock,
    evaluation,
    export,
    geometry,
    heatmap,
    ignore,
    samples,
    scene,
    settings,
    timeline,
    verdicts,
)
from engine.analytics.analyse import Answers, Event, EventKind, Recording, analyse
from engine.analytics.bins import Bin, Count, bins_of, counts_of
from engine.analytics.clock import Clock, ClockOrigin, clock_of, zone_of
from engine.analytics.samples import Moment, Samples, read_mot, read_tracks
from engine.analytics.scene import Scene
from engine.analytics.stitch import Objects, count_objects, fragments_of, stitch
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
    "evaluation",
    "export",
    "fragments_of",
    "geometry",
    "heatmap",
    "ignore",
    "read_mot",
    "read_tracks",
    "samples",
    "scene",
    "settings",
    "stitch",
    "tables_of",
    "timeline",
    "to_csv",
    "verdicts",
    "zone_of",
]
