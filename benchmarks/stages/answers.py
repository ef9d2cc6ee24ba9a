"""The cost of answers: `yolo-engine run` with a scene, tables, crops and heatmap, compared with one without.

Each run is a fresh process, as a user starts it, so loading and writing count, too. Figures are clock time and CPU
time. No video is written, because encoding would hide the rest.

Both runs must give the same rows, and the one with answers a crop of each track, and every table.
"""

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.answers import rows_of, same_bytes
from benchmarks.clips import clip, in_words
from benchmarks.context import Context
from benchmarks.machine import ROOT
from benchmarks.record import Answer, Row, checked
from benchmarks.rounds import alternate
from engine.choices.formats import table_names
from engine.sinks.crops import INDEX

VIDEOS = ("people.mp4", "vtest.avi")
WITH, WITHOUT = "with answers", "without"
SCENE = """
[[line]]
name = "middle"
points = [[0.0, 0.6], [1.0, 0.6]]

[[line]]
name = "upright"
points = [[0.5, 0.0], [0.5, 1.0]]

[[zone]]
name = "left"
polygon = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]
"""


def measure(context: Context) -> Iterator[Row]:
    for name in VIDEOS:
        with tempfile.TemporaryDirectory() as folder:
            yield from _rows(context, name, Path(folder))


def _rows(context: Context, name: str, folder: Path) -> Iterator[Row]:
    video, scene = clip(context, name), folder / "scene.toml"
    scene.write_text(SCENE)
    cpu_s: dict[str, list[float]] = {WITH: [], WITHOUT: []}

    def runs(side: str, *options: str) -> Callable[[], None]:
        def run() -> None:
            before = os.times()
            _run(video, folder / side, *options)
            after = os.times()
            spent_s = after.children_user + after.children_system - before.children_user - before.children_system
            cpu_s[side].append(spent_s)

        return run

    work = {
        WITH: runs(WITH, "--scene", str(scene), "--tables", "csv", "--crops", "--heatmap"),
        WITHOUT: runs(WITHOUT),
    }
    rounds = context.profile.rounds
    samples = alternate(work, rounds=rounds)
    answered = _answer(folder, video.stem)
    clock_ms = {side: samples[side].each(1, 1e3) for side in work}
    cores_ms = {side: [each * 1e3 for each in spent_s[-rounds:]] for side, spent_s in cpu_s.items()}
    for case, figures in ((name, clock_ms), (f"{name}, all cores", cores_ms)):
        yield context.row(
            "answers",
            case,
            figures=figures,
            unit="ms",
            better="lower",
            ours=WITH,
            input=in_words(video),
            answer=answered,
        )


def _run(video: Path, output: Path, *options: str) -> None:
    code = "import sys; sys.argv[0] = 'yolo-engine'; from engine.cli.main import main; main()"
    arguments = ["run", str(video), "-o", str(output), "--no-visualize", "--no-resume", *options]
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, check=True)


def _answer(folder: Path, stem: str) -> Answer:
    made, plain = (folder / side / f"{stem}.tracks.jsonl" for side in (WITH, WITHOUT))
    ids = {row["track_id"] for rows in rows_of(made).values() for row in rows}
    with zipfile.ZipFile(folder / WITH / f"{stem}.crops.zip") as crops:
        shown = {json.loads(line)["track_id"] for line in crops.read(INDEX).splitlines()}
    missing = [name for name in (*table_names(("csv",)), "heatmap.json") if not (folder / WITH / name).is_file()]
    return checked(
        same_bytes(made, plain) and shown == ids and not missing,
        "the same rows, a crop of each track, and every table",
        f"{len(shown)} crops of {len(ids)} tracks; missing: {', '.join(missing) or 'nothing'}",
        tracks=float(len(ids)),
    )
