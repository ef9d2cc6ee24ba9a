"""Ctrl-C, SIGTERM and SIGKILL at any moment: what stands under a final name is complete, what is kept is valid."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE

import pytest

from engine.media.annotated import NOTE
from tests.assets import ROOT
from tests.e2e.runs import cli, clip, ended, frames_in, is_there, left_over, rows
from tests.waiting import until

FRAMES = 60
PARTS = (".tracks.jsonl.part", ".mot.txt.part", ".mp4.part")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number in range(6):
        clip(folder / f"v{number}.mp4", FRAMES if number else 6, seed=number)
    return folder


def _wait_for(folder: Path, pattern: str) -> None:
    until(lambda: is_there(folder, pattern), about=lambda: f"no {pattern}")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("number", "moment", "option"),
    [
        (signal.SIGINT, "*.part", "--no-resume"),
        (signal.SIGTERM, "v0.tracks.jsonl", "--resume"),
        (signal.SIGINT, "v2.mp4.part", "--resume"),
        (signal.SIGTERM, "v3.mp4", "--no-resume"),
    ],
)
def test_a_signal_keeps_what_is_complete(videos: Path, tmp_path: Path, number: int, moment: str, option: str) -> None:
    output = tmp_path / "out"
    arguments = ["--backend", "fake", "--json", "--visualize", option, "-o", output]
    process = cli("run", videos, *arguments, delay_s=0.02)
    _wait_for(output, moment)
    start = time.monotonic()
    process.send_signal(number)
    status, out, errors = ended(process, 20)
    assert time.monotonic() - start < 8
    assert status == 130, errors
    left = left_over(output, "*.part", "*.new", ".yolo-engine*")
    if option == "--no-resume":
        assert left == []
    else:  # what the next run goes on with, and nothing else
        assert set(left) <= {".yolo-engine", *(f"v{i}{kind}" for i in range(6) for kind in PARTS)}
    summary = json.loads(out.splitlines()[-1])
    manifest = json.loads((output / "manifest.json").read_text())
    assert [video["status"] for video in manifest["videos"]] == [video["status"] for video in summary["videos"]]
    assert len(summary["videos"]) == 6
    named: set[Path] = set()
    for video in summary["videos"]:
        named |= {Path(path) for path in video["outputs"].values()}
        for path in video["outputs"].values():
            assert (".partial." in path) == (video["status"] == "partial")
        if video["status"] == "ok":
            assert video["frames"] == (6 if video["path"].endswith("v0.mp4") else FRAMES)
        else:
            assert "interrupted" in video["error"]
        if video["outputs"]:
            assert frames_in(Path(video["outputs"]["video"])) == video["frames"]
            found = rows(Path(video["outputs"]["tracks"]))
            assert all(row["frame"] < video["frames"] for row in found)
    assert {path for path in output.iterdir() if path.name not in {"manifest.json", *left}} == named


@pytest.mark.timeout(60)
def test_a_signal_before_anything_is_begun(videos: Path, tmp_path: Path) -> None:
    """While the libraries load: nothing is written, and the process ends."""
    # As people start it: only there does the interrupt wait until all libraries are loaded, or end the process at once.
    command = [sys.executable, "-m", "engine.cli.main", "run", str(videos), "--backend", "fake", "--no-resume"]
    for library in ("libc.so", "numpy", "libavcodec"):
        process = subprocess.Popen(
            [*command, "-o", str(tmp_path / "out")], cwd=ROOT, stdout=PIPE, stderr=PIPE, text=True
        )
        maps = Path(f"/proc/{process.pid}/maps")
        until(lambda: library in maps.read_text())  # noqa: B023 - called in this turn
        process.send_signal(signal.SIGINT)
        status, _, errors = ended(process, 20)
        if library == "libc.so" and status == 1:  # Python itself is not the program yet
            assert "KeyboardInterrupt" in errors or "init_import_site" in errors, errors
        else:
            assert status in (130, -signal.SIGINT), errors
        assert left_over(tmp_path) == []


@pytest.mark.alone
@pytest.mark.timeout(60)
def test_a_second_signal_ends_at_once(videos: Path, tmp_path: Path) -> None:
    process = cli("run", videos, "--backend", "fake", "-o", tmp_path / "out", delay_s=3.0)
    _wait_for(tmp_path / "out", "*.part")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "Press Ctrl-C again" in process.stderr.readline()
    time.sleep(1.0)  # what follows within a second is the same signal
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    status, _, _ = ended(process, 20)
    assert status == 130
    assert time.monotonic() - start < 1.5


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_process_and_its_group_is_one(videos: Path, tmp_path: Path, number: signal.Signals) -> None:
    """As `timeout` sends it."""
    process = cli(
        "run", videos, "--backend", "fake", "--json", "-o", tmp_path / "out", delay_s=0.05, start_new_session=True
    )
    _wait_for(tmp_path / "out", "*.part")
    process.send_signal(number)
    os.killpg(process.pid, number)
    status, out, errors = ended(process, 20)
    assert status == 130
    assert errors.count("Stopping") == 1
    assert len(json.loads(out.splitlines()[-1])["videos"]) == 6


@pytest.mark.timeout(60)
def test_a_complete_run_takes_the_partial_results_away(videos: Path, tmp_path: Path) -> None:
    """Also kinds that it does not write."""
    output = tmp_path / "out"
    output.mkdir()
    row = {"frame": 0, "pts": 0, "class_id": 0, "class": "a", "score": 1.0, "box_xyxy": [0, 0, 1, 1]}
    for suffix, old in (
        (".tracks.jsonl", json.dumps({**row, "time_s": 0.0, "track_id": 1})),
        (".detections.jsonl", json.dumps(row)),
        (".mot.txt", "1,1,0.00,0.00,1.00,1.00,1.0000,-1,-1,-1"),
        (".mp4", f"\0\0\0\x20moov{NOTE}"),
    ):
        (output / f"v1.partial{suffix}").write_text(f"{old}\n")
    (output / "v10.partial.mp4").write_text("another's")
    status, _, errors = ended(cli("run", videos / "v1.mp4", "--backend", "fake", "--no-visualize", "-o", output))
    assert status == 0, errors
    assert [path.name for path in output.glob("*.partial.*")] == ["v10.partial.mp4"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("intermediate", [True, False])
def test_a_killed_run(videos: Path, tmp_path: Path, intermediate: bool) -> None:
    """Only whole files have a final name; rows of unfinished videos are there when they were asked for."""
    output, config = tmp_path / "out", tmp_path / "config.json"
    config.write_text(json.dumps({"save_intermediate_results": intermediate, "max_detections_in_memory": 1}))
    arguments = ["--backend", "fake", "--no-visualize", "--streams", "2", "--config", config, "-o", output]
    process = cli("run", videos, *arguments, delay_s=0.02)
    _wait_for(output, "v0.tracks.jsonl")
    _wait_for(output, "v0.mot.txt")
    if intermediate:
        until(lambda: any(path.stat().st_size for path in output.rglob("v1.tracks.jsonl.part")))
    process.kill()
    assert ended(process)[0] == -signal.SIGKILL
    for path in output.glob("*.tracks.jsonl"):
        frames = 6 if path.name.startswith("v0") else FRAMES
        assert rows(path)[-1]["frame"] == frames - 1, path
    parts = sorted(output.rglob("*.tracks.jsonl.part"))
    if intermediate:
        assert parts
        whole = [json.loads(line) for part in parts for line in part.read_text().splitlines(keepends=True)[:-1]]
        assert whole
    else:
        assert left_over(output, "*.part") == []
    # The folder is free again, and a new run completes everything.
    status, _, errors = ended(cli("run", videos, *arguments))
    assert status == 0, errors
    assert left_over(output) == []
    assert len(list(output.glob("*.tracks.jsonl"))) == 6
