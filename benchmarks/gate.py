"""The gate compared with whole frames: its speed-up and its cost on clips of several kinds.

    python -m benchmarks.gate [--classes] [--model FILE] [--rounds N] [--seconds S] [--json FILE] [CLIP ...]
    python -m benchmarks.gate --ceiling [--classes] [--model FILE] [--seconds S] [CLIP ...]
    python -m benchmarks.gate --profile [--classes] [--model FILE] [--seconds S] [CLIP ...]
    python -m benchmarks.gate --scan
    python -m benchmarks.gate --far

Each round runs every clip without and with the gate, in alternating order. Rows are compared with those of whole
frames; events are those of a line down the middle and of one across. Speeds are by the time of the processor, in which
what else runs on the machine tells less, and by the clock. Without --model, YOLOv8n of the assets is taken, made plain
float32. Clips are named by a part of their path. With --classes, only the classes that are there are detected.

--ceiling shows how well whole frames agree with themselves if each sample changes by at most one level, or if the image
is moved by one pixel. --profile shows where the time of a gated run goes. --scan measures a recording of three minutes
in which somebody walks through eighteen seconds. --far measures what parts at a finer scale find of people who are far
away: vtest.avi, of which the model has found the people, in the middle of a picture five times as large that stands
still.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import patch

import av
import numpy as np
import onnx

from benchmarks.machine import asset, described, heading
from engine import Engine, EngineConfig
from engine.inference.trt.to_float32 import plain
from engine.records import Detections, Look, Plan
from engine.stages.agreement import agreeing_pairs
from engine.stages.gate import Gate
from engine.summary import GateJson

SCENE = {
    "line": [
        {"name": "down", "points": [[0.5, 0.0], [0.5, 1.0]]},
        {"name": "across", "points": [[0.0, 0.5], [1.0, 0.5]]},
    ]
}


@dataclass(frozen=True)
class Clip:
    """A clip of the assets, its expected speed-up, and the classes that are detected, by default all."""

    path: str
    kind: str
    faster: float
    classes: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        """Of the file, and the classes."""
        return ", ".join((Path(self.path).name, *(self.classes or ())))


CLIPS = (
    Clip("videos2/road_from_above.avi", "sparse", 5.0, ("car", "truck", "bus")),
    Clip("videos/one-by-one-person-detection.mp4", "sparse", 5.0, ("person",)),
    Clip("videos/bottle-detection.mp4", "sparse", 5.0, ("person", "bottle")),
    Clip("videos/vtest.avi", "busy", 2.5, ("person",)),
    Clip("videos/people.mp4", "busy", 2.5, ("person",)),
    Clip("videos/bikes.mp4", "moving camera", 0.97, ("person", "bicycle")),
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
            self.clip.name,
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
    parser.add_argument("--classes", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, help="of each clip; all of it where it is left out")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ceiling", action="store_true")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--scan", action="store_true")
    parser.add_argument("--far", action="store_true")
    given = parser.parse_args(arguments)
    chosen = [clip for clip in CLIPS if not given.clips or any(part in clip.path for part in given.clips)]
    if not given.classes:
        chosen = [replace(clip, classes=None) for clip in chosen]
    print(heading(described("av", "onnxruntime", "yolo-engine")))
    if given.scan:
        with tempfile.TemporaryDirectory(prefix="bench-gate-") as folder:
            scans(given.model or yolov8n(Path(folder)), Path(folder))
        return
    if given.far:
        with tempfile.TemporaryDirectory(prefix="bench-gate-") as folder:
            far(given.model or yolov8n(Path(folder)), given.seconds or 30.0, Path(folder))
        return
    if given.profile:
        with tempfile.TemporaryDirectory(prefix="bench-gate-") as folder:
            profiles(chosen, given.model or yolov8n(Path(folder)), given.seconds, Path(folder))
        return
    if given.ceiling:
        with tempfile.TemporaryDirectory(prefix="bench-gate-") as folder:
            ceilings(chosen, given.model or yolov8n(Path(folder)), given.seconds, Path(folder))
        return
    print("\n| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|", flush=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="bench-gate-") as folder:
        model = given.model or yolov8n(Path(folder))
        for clip in chosen:
            rows.append(measure(clip, model, given.rounds, given.seconds, Path(folder)))
            print("| " + " | ".join(rows[-1].cells()) + " |", flush=True)
    audited = [row.holds for row in rows if row.holds is not None]
    print(f"\nThe audit's interval holds the true F1 in {sum(audited)} of {len(audited)} clips.")
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
    formats = ("tracks", "detections")
    config = EngineConfig(
        visualize=False, resume=False, formats=formats, scene=[SCENE], tables=("csv",), classes=clip.classes, **changes
    )
    with Engine(config) as engine:
        before, start = os.times(), time.perf_counter()
        summary = engine.run([clip.path if Path(clip.path).is_absolute() else asset(clip.path)], folder)
        wall_s, after = time.perf_counter() - start, os.times()
    (entry,) = summary["videos"]
    if entry["status"] != "ok":
        raise SystemExit(f"{clip.path}: {entry['error']}")
    return Timed(dict(entry), folder, after.user - before.user + after.system - before.system, wall_s)


class Spent:
    """What gates have had inferred, in whole frames, by reason. Frames between two others that disagreed are no choice
    of a gate."""

    REASONS = ("whole, after a time", "whole, much has changed", "parts", "audit", "between, in doubt")

    def __init__(self) -> None:
        self.by_reason = [0.0] * len(self.REASONS)
        self._see = Gate.see

    def counted(self) -> Callable[..., Plan]:
        """Return a substitute for `Gate.see` that counts."""

        def see(gate: Gate, image: av.VideoFrame, pts: int, time_base: Fraction, **neighbours: bool) -> Plan:
            due = gate.is_due(pts, time_base)
            plan = self._see(gate, image, pts, time_base, **neighbours)
            self.by_reason[2 if plan.look is Look.PARTS else 0 if due else 1] += plan.cost
            self.by_reason[3] += plan.probed
            return plan

        return see

    def all(self, told: GateJson) -> float:
        """Return what was inferred in all, by a video's summary; the rest was in doubt."""
        frames = sum(told[look] for look in ("whole", "parts", "same", "between"))
        inferred = told["inferred_share"] * frames
        self.by_reason[4] = inferred - sum(self.by_reason[:4])
        return inferred


def profiles(chosen: Sequence[Clip], model: str, seconds: float | None, folder: Path) -> None:
    """Show what is inferred, and why, in whole frames, and the CPU time of the stages; and how much could be inferred
    if the run were to be as many times faster as is expected of its clip."""
    head = ("clip", "frames", *Spent.REASONS, "all", "allowed", "inference, CPU s", "decode", "motion", "the rest")
    print("\n| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|", flush=True)
    for clip in chosen:
        spent, cpu_s = Spent(), Counter[str]()
        changes = {"model": model, "gate": "motion", "duration_s": seconds, "classes": clip.classes}
        config = EngineConfig(visualize=False, resume=False, formats=("tracks", "detections"), **changes)
        with patch.object(Gate, "see", spent.counted()), Engine(config, stats=True) as engine:
            summary = engine.run([asset(clip.path)], folder / Path(clip.path).stem)
        for threads in summary["verdict"]["threads"]:
            for stage in threads["stages"]:
                cpu_s[stage["stage"]] += stage["cpu_ms"] * max(1, stage["frames"]) / 1000
        frames, inferred = summary["videos"][0]["frames"], spent.all(summary["videos"][0]["gate"])
        each_s, others_s = cpu_s["infer"] / inferred, sum(cpu_s.values()) - cpu_s["infer"]
        allowed = (frames * each_s + others_s - cpu_s["gate"]) / clip.faster - others_s
        cells = [clip.name, f"{frames:,}", *(f"{each:.0f}" for each in (*spent.by_reason, inferred))]
        cells += [f"{allowed / each_s:.0f}", *(f"{cpu_s[stage]:.1f}" for stage in ("infer", "decode", "gate"))]
        print("| " + " | ".join([*cells, f"{others_s - cpu_s['decode'] - cpu_s['gate']:.1f}"]) + " |", flush=True)


def ceilings(chosen: Sequence[Clip], model: str, seconds: float | None, folder: Path) -> None:
    """Compare whole frames with those of the same clip, changed so that nobody would see it."""
    head: tuple[str, ...] = ("clip", "boxes", "events")
    head += tuple(
        f"{what} {how}" for how in ("with noise", "moved by a pixel") for what in ("F1", "of the sure", "events")
    )
    print("\n| " + " | ".join(head) + " |\n" + "|---" * len(head) + "|", flush=True)
    for clip in chosen:
        config = {"model": model, "gate": "off", "duration_s": seconds}
        name = Path(clip.path).stem
        plain = run(clip, config, folder / f"{name}-plain")
        cells = [clip.name, f"{plain.entry['detections']:,}", str(events(plain))]
        for how in ("copied", "noisy", "moved"):
            path = altered(clip, seconds, how, folder / f"{name}.mkv")
            other = run(replace(clip, path=str(path)), config, folder / f"{name}-{how}")
            agreeing = f1(plain, other, "detections")
            if how != "copied":
                cells += [f"{agreeing:.3f}", f"{f1(plain, other, 'detections', SURE):.3f}", str(events(other))]
            elif agreeing < 1:
                raise SystemExit(f"{clip.path}: a copy of it is read differently")
        print("| " + " | ".join(cells) + " |", flush=True)


def altered(clip: Clip, seconds: float | None, how: str, path: Path) -> Path:
    """Write a clip's frames without loss: `copied`, `moved` to the right by a pixel, or `noisy`, each sample changed by
    -1, 0 or 1."""
    chance = np.random.default_rng(7)
    with av.open(asset(clip.path)) as container, av.open(str(path), "w") as output:
        source = container.streams.video[0]
        stream = output.add_stream("ffv1", rate=source.average_rate)
        stream.width, stream.height, stream.pix_fmt = source.width, source.height, "yuv420p"
        for number, frame in enumerate(container.decode(source)):
            if seconds is not None and number >= seconds * float(source.average_rate or 25):
                break
            pixels = frame.to_ndarray(format=frame.format.name).astype(np.int16)
            if how == "moved":  # the luma alone: colours are half as fine
                pixels[: frame.height, 1:] = pixels[: frame.height, :-1].copy()
            elif how == "noisy":
                pixels += chance.integers(-1, 2, pixels.shape, np.int16)
            made = av.VideoFrame.from_ndarray(np.clip(pixels, 0, 255).astype(np.uint8), "yuv420p")
            stream.codec_context.colorspace, stream.codec_context.color_range = frame.colorspace, frame.color_range
            output.mux(stream.encode(made))
        output.mux(stream.encode(None))
    return path


def scans(model: str, folder: Path) -> None:
    """Measure ways to run a recording that is mostly empty."""
    path = mostly_empty(folder / "empty.mp4")
    print(
        "\n| | frames examined | inferred | CPU s | times faster | tracks | crossings |\n" + "|---" * 7 + "|",
        flush=True,
    )
    whole: Timed | None = None
    for scan, gate in ((False, "off"), (False, "motion"), (True, "off"), (True, "motion")):
        changes = {"model": model, "scan": scan, "gate": gate}
        timed = run(Clip(str(path), "empty", 1.0), changes, folder / f"{scan}-{gate}")
        whole = whole or timed
        name = (
            " ".join((*(["--scan"] if scan else []), *(["--gate motion"] if gate == "motion" else []))) or "every frame"
        )
        cells = (name, timed.entry["frames"], timed.entry["inferred_frames"], f"{timed.cpu_s:.1f}")
        cells += (f"{whole.cpu_s / timed.cpu_s:.1f}", timed.entry["tracks"], events(timed))
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def mostly_empty(path: Path) -> Path:
    """Write seconds 4 to 16 and 18 to 24 of a real recording, with a minute of its first frame before, between and
    behind. Still frames have noise, and every twentieth frame is a key frame."""
    with av.open(asset("videos/one-by-one-person-detection.mp4")) as container:
        frames = [frame.to_ndarray(format="yuv420p") for frame in container.decode(video=0)][:240]
    noise = np.rint(np.random.default_rng(1).normal(0, 1.2, (16, *frames[0].shape))).astype(np.int16)
    still = [frames[0]] * 600
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0] * 2 // 3, "yuv420p"
        stream.options = {"preset": "ultrafast", "g": "20", "keyint_min": "20", "sc_threshold": "0"}
        for number, frame in enumerate([*still, *frames[40:160], *still, *frames[180:240], *still]):
            noisy = np.clip(frame + noise[number * 7 % 16], 0, 255).astype(np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(noisy, "yuv420p")))
        output.mux(stream.encode(None))
    return path


FAR = 5
"""How many times wider and higher the picture is in which people are far away."""


def far(model: str, seconds: float, folder: Path) -> None:
    """Show how many of the people that are found in vtest.avi are found where they are far away."""
    near, path = people(folder, seconds)
    config = {"model": model}
    known = run(Clip(str(near), "near", 1.0, ("person",)), config, folder / "known")
    print("\n| | inferred | people found | CPU s |\n" + "|---" * 4 + "|", flush=True)
    clip = Clip(str(path), "far", 1.0, ("person",))
    for scale in (None, 1, 2, 3):
        changes = {} if scale is None else {"gate": "motion", "gate_scale": scale}
        name = "every frame" if scale is None else f"`--gate motion --gate-scale {scale}`"
        timed = run(clip, {**config, **changes}, folder / f"far-{scale}")
        share = timed.entry["gate"]["inferred_share"] if changes else 1.0
        print(f"| {name} | {share:.0%} | {recall(known, timed):.0%} | {timed.cpu_s:.1f} |", flush=True)


def people(folder: Path, seconds: float) -> tuple[Path, Path]:
    """Write the beginning of vtest.avi, and the same in the middle of its first frame, enlarged."""
    paths = folder / "near.mp4", folder / "far.mp4"
    with av.open(asset("videos/vtest.avi")) as container, ExitStack() as stack:
        source = container.streams.video[0]
        outputs = [stack.enter_context(av.open(str(path), "w")) for path in paths]
        streams = [output.add_stream("libx264", rate=source.average_rate) for output in outputs]
        for stream, times in zip(streams, (1, FAR), strict=True):
            stream.width, stream.height, stream.pix_fmt = source.width * times, source.height * times, "yuv420p"
            stream.options = {"crf": "12", "preset": "veryfast"}
        still = None
        for number, frame in enumerate(container.decode(source)):
            if number >= seconds * float(source.average_rate or 25):
                break
            image = frame.to_ndarray(format="rgb24")
            if still is None:
                still = frame.reformat(source.width * FAR, source.height * FAR).to_ndarray(format="rgb24")
            left, top = middle(source.width, source.height)
            picture = still.copy()
            picture[top : top + source.height, left : left + source.width] = image
            for stream, output, pixels in zip(streams, outputs, (image, picture), strict=True):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        for stream, output in zip(streams, outputs, strict=True):
            output.mux(stream.encode(None))
    return paths


def middle(width: int, height: int) -> tuple[int, int]:
    """Return where a picture of this size begins in the middle of the larger one."""
    return FAR // 2 * width, FAR // 2 * height


def recall(known: Timed, found: Timed) -> float:
    """Return the share of what is surely known that was found where it is far away."""
    with av.open(str(known.entry["path"])) as container:
        source = container.streams.video[0]
        offset = np.array(middle(source.width, source.height) * 2, np.float32)
    theirs = dict(frames(found.entry["outputs"]["detections"]))
    total = agreeing = 0
    for at, boxes in frames(known.entry["outputs"]["detections"]):
        sure = boxes.above(SURE)
        total += len(sure)
        if at in theirs:
            moved = Detections(sure.boxes_xyxy + offset, sure.scores, sure.class_ids)
            agreeing += len(agreeing_pairs(moved, theirs[at]))
    return agreeing / total


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
