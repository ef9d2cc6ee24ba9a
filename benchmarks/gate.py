"""The gate compared with whole frames: its speed-up and its cost on clips of several kinds.

    python -m benchmarks.gate [--model FILE] [--rounds N] [--seconds S] [--json FILE] [CLIP ...]

Each round runs every clip without and with the gate, in alternating order. Rows are compared with those of whole
frames; events are those of a line down the middle and of one across. Speeds are by the time of the processor, in which
what else runs on the machine tells less, and by the clock. Without --model, YOLOv8n of the assets is taken, made plain
float32. Clips are named by a part of their path.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from benchmarks.machine import asset, described, heading
from engine import Engine, EngineConfig
from engine.inference.trt.to_float32 import plain
from engine.records import Detections
from engine.stages.agreement import agreeing_pairs

SCENE = {
    "line": [
        {"name": "down", "points": [[0.5, 0.0], [0.5, 1.0]]},
        {"name": "across", "points": [[0.0, 0.5], [1.0, 0.5]]},
    ]
}


@dataclass(frozen=True)
class Clip:
    """A clip of the assets, and its expected speed-up."""

    path: str
    kind: str
    faster: float


CLIPS = (
    Clip("videos2/road_from_above.avi", "sparse", 5.0),
    Clip("videos/one-by-one-person-detection.mp4", "sparse", 5.0),
    Clip("videos/bottle-detection.mp4", "sparse", 5.0),
    Clip("videos/vtest.avi", "busy", 2.5),
    Clip("videos/people.mp4", "busy", 2.5),
    Clip("videos/bikes.mp4", "moving camera", 0.97),
    Clip("videos2/street_brightness.avi", "light drifts", 0.97),
)
F1 = 0.98
SURE = 0.5


@dataclass
class Timed:
    """One run: its entry, its folder, and its CPU and wall-clock seconds."""

    entry: dict[str, Any]
    folder: Path
    cpu_s: float
    wall_s: float


@dataclass
class Row:
    """One clip. Ratios (whole frames to gated) are per round; everything else is from the last round."""

    clip: Clip
    frames: int = 0
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    inferred: float = 0.0
    boxes_f1: float = 0.0
    sure_f1: float = 0.0
    tracks_f1: float = 0.0
    tracks: tuple[int, int] = (0, 0)
    events: tuple[int, int] = (0, 0)
    audit: dict[str, Any] | None = None

    @property
    def holds(self) -> bool | None:
        """Whether the true agreement is within the audit's interval; None without one."""
        return (
            None if self.audit is None else self.audit["boxes"]["low"] <= self.boxes_f1 <= self.audit["boxes"]["high"]
        )

    def cells(self) -> list[str]:
        cpu, wall = statistics.median(self.cpu), statistics.median(self.wall)
        audit = "none: too short"
        if self.audit is not None:
            boxes = self.audit["boxes"]
            audit = f"{boxes['value']:.3f} [{boxes['low']:.2f} .. {boxes['high']:.2f}] {'yes' if self.holds else 'NO'}"
            audit += f", level {self.audit['level']}" if self.audit["level"] else ""
        return [
            Path(self.clip.path).name,
            self.clip.kind,
            f"{self.frames:,}",
            f"{self.inferred:.0%}",
            f"{cpu:.1f} [{min(self.cpu):.1f} .. {max(self.cpu):.1f}]{_met(cpu >= self.clip.faster)}",
            f"{wall:.1f}",
            f"{self.boxes_f1:.3f}{_met(self.boxes_f1 >= F1)}",
            f"{self.sure_f1:.3f}",
            f"{self.tracks_f1:.3f}",
            f"{self.tracks[0]} / {self.tracks[1]}",
            f"{self.events[0]} / {self.events[1]}{_met(self.events[0] == self.events[1])}",
            audit,
        ]


HEAD = (
    "clip", "kind", "frames", "inferred", "times faster, cpu", "by the clock", "F1 boxes", "those scored 0.5 and more",
    "F1 tracks", "tracks, whole / gated", "events, whole / gated", "F1 by the audit; holds",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*")
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="of each clip; all of it where it is left out")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    chosen = [clip for clip in CLIPS if not given.clips or any(part in clip.path for part in given.clips)]
    print(heading(described("av", "onnxruntime", "yolo-engine")))
    print("\n| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|", flush=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-gate-") as folder:
        model = given.model or yolov8n(Path(folder))
        for clip in chosen:
            rows.append(measure(clip, model, given.rounds, given.seconds, Path(folder)))
            print("| " + " | ".join(rows[-1].cells()) + " |", flush=True)
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


def yolov8n(folder: Path) -> str:
    """Return YOLOv8n of the assets in plain float32."""
    path = folder / "yolov8n.onnx"
    onnx.save(plain(onnx.load(str(asset("models/yolov8n_int8.onnx")))), str(path))
    return str(path)


def measure(clip: Clip, model: str, rounds: int, seconds: float | None, folder: Path) -> Row:
    row = Row(clip)
    config = {"model": model, "duration_s": seconds}
    for number in range(rounds):
        runs: dict[str, Timed] = {}
        for gate in ("off", "motion") if number % 2 == 0 else ("motion", "off"):
            runs[gate] = run(clip, {**config, "gate": gate}, folder / f"{Path(clip.path).stem}-{gate}-{number}")
        whole, gated = runs["off"], runs["motion"]
        row.cpu.append(whole.cpu_s / gated.cpu_s)
        row.wall.append(whole.wall_s / gated.wall_s)
    row.frames, row.inferred = gated.entry["frames"], gated.entry["gate"]["inferred_share"]
    row.audit = gated.entry["gate"]["audit"]
    row.boxes_f1, row.tracks_f1 = (f1(whole, gated, kind) for kind in ("detections", "tracks"))
    row.sure_f1 = f1(whole, gated, "detections", SURE)
    row.tracks = whole.entry["tracks"], gated.entry["tracks"]
    row.events = events(whole), events(gated)
    return row


def run(clip: Clip, changes: dict[str, Any], folder: Path) -> Timed:
    """Load the model and run a clip; only the run is timed."""
    config = EngineConfig(
        visualize=False, resume=False, formats=("tracks", "detections"), scene=[SCENE], tables=("csv",), **changes
    )
    with Engine(config) as engine:
        before, start = os.times(), time.perf_counter()
        summary = engine.run([asset(clip.path)], folder)
        wall_s, after = time.perf_counter() - start, os.times()
    (entry,) = summary["videos"]
    if entry["status"] != "ok":
        raise SystemExit(f"{clip.path}: {entry['error']}")
    return Timed(dict(entry), folder, after.user - before.user + after.system - before.system, wall_s)


def f1(one: Timed, other: Timed, kind: str, least: float = 0.0) -> float:
    """Return the share of the rows of both with a score of `least` and more that agree with a row of the other side, of
    whatever score. Of all rows that is F1."""
    mine, theirs = (dict(frames(each.entry["outputs"][kind])) for each in (one, other))
    total = sum(int(np.count_nonzero(found.scores >= least)) for side in (mine, theirs) for found in side.values())
    agreeing = 0
    for at in mine.keys() & theirs.keys():
        a, b = mine[at], theirs[at]
        agreeing += sum(int(a.scores[i] >= least) + int(b.scores[j] >= least) for i, j in agreeing_pairs(a, b))
    return agreeing / total if total else 1.0


def frames(path: str) -> Iterator[tuple[int, Detections]]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for row in map(json.loads, file):
            found[row["frame"]].append(row)
    for number, rows in found.items():
        yield (
            number,
            Detections(
                np.array([row["box_xyxy"] for row in rows], np.float32),
                np.array([row["score"] for row in rows], np.float32),
                np.array([row["class_id"] for row in rows], np.int32),
            ),
        )


def events(timed: Timed) -> int:
    with open(timed.folder / "events.csv", encoding="utf-8", newline="") as file:
        return sum(row["kind"] == "crossing" for row in csv.DictReader(file))


def _met(met: bool) -> str:
    return "" if met else " (missed)"


if __name__ == "__main__":
    main()
