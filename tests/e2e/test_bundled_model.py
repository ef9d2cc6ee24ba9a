"""What a newcomer has: a clone, the demo's video and the bundled model. No download, nothing beside the project."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from engine import Engine, EngineConfig
from engine.verification.verify import verify_invariance
from models.registry import get_manifest
from tests.assets import ROOT, demo_video
from tests.e2e.damage import cut
from tests.e2e.reading import read, rows

FRAMES = 250
# What the model must find in the street: tracks of each class, at least.
MIN_TRACKS = {"person": 3, "bicycle": 1, "car": 1}


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The summary of a run over the whole video, by the command line, where no model can be found or fetched."""
    folder = tmp_path_factory.mktemp("run")
    nowhere = dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    given = {"XDG_CACHE_HOME": str(folder / "cache"), "YOLO_ENGINE_MODELS": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "engine.cli.main", "run", str(demo_video()), "-o", str(folder / "out"), "--json"]
    command += ["--formats", "tracks,mot,detections"]
    done = subprocess.run(
        command, env={**os.environ, **nowhere, **given}, cwd=folder, capture_output=True, text=True, timeout=120
    )
    said = [line for line in done.stderr.splitlines() if not line.endswith(" to go")]  # where it takes a while
    assert (done.returncode, said) == (0, [])
    assert not (folder / "cache" / "yolo-engine").exists()
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def test_every_frame_of_the_video_is_in_its_results(result: dict[str, Any]) -> None:
    (video,) = result["videos"]
    assert (video["status"], video["error"], video["frames"], video["inferred_frames"]) == ("ok", None, FRAMES, FRAMES)
    manifest = get_manifest("street-nano")
    assert result["model"] == {"name": manifest.name, "sha256": manifest.sha256}
    source, annotated = read(demo_video(), keep=0), read(video["outputs"]["video"], keep=0)
    assert len(source.pts) == len(annotated.pts) == FRAMES
    tick = max(source.time_base, annotated.time_base)
    assert all(abs(ours - theirs) <= tick for ours, theirs in zip(annotated.times, source.times, strict=True))

    tracks, detections = rows(video["outputs"]["tracks"]), rows(video["outputs"]["detections"])
    assert len(detections) == video["detections"] > 0
    assert len({row["track_id"] for row in tracks}) == video["tracks"] > 0
    names = dict(enumerate(manifest.classes))
    assert all(row["pts"] == source.pts[row["frame"]] for row in (*tracks, *detections))
    assert all(row["class"] == names[row["class_id"]] for row in (*tracks, *detections))
    mot = [line.split(",") for line in Path(video["outputs"]["mot"]).read_text().splitlines()]
    assert [(int(row[0]) - 1, int(row[1])) for row in mot] == [(row["frame"], row["track_id"]) for row in tracks]
    by_class = Counter({row["track_id"]: row["class"] for row in tracks}.values())
    assert video["tracks_by_class"] == by_class


@pytest.mark.parametrize("name", MIN_TRACKS)
def test_it_sees_what_is_in_the_street(result: dict[str, Any], name: str) -> None:
    (video,) = result["videos"]
    assert video["tracks_by_class"].get(name, 0) >= MIN_TRACKS[name]


def test_batch_workers_and_neighbours_change_nothing(tmp_path: Path) -> None:
    video = cut(demo_video(), tmp_path / "short.mp4", 16)
    said: list[str] = []
    config = EngineConfig(conf=0.1, min_hits=1)
    assert verify_invariance(config, str(video), [], said.append)
    same = [line.split()[1:5] for line in said if line.startswith("same")]
    assert len(same) == 12
    assert len({tuple(line) for line in same}) == 1
    assert int(same[0][1]) == 16
    assert int(same[0][3]) > 0


def test_a_still_image() -> None:
    image = read(demo_video(), keep=121).frames[120]  # a rider, a bus
    with Engine() as engine:
        found = engine.detect(image.to_ndarray(format="rgb24"))
        assert engine.config.model == engine.model.manifest.name == "street-nano"
    assert len(found) > 0
    assert found.boxes_xyxy.min() >= 0
    assert (found.boxes_xyxy.max(axis=0) <= [640, 272, 640, 272]).all()
