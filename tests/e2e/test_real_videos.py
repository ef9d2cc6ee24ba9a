"""The shared videos through real models: every frame, at its time, with the objects that are in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine import Engine, EngineConfig
from tests.assets import require_asset
from tests.e2e.reading import read, rows

# name, frames, class that must be found, tracks of it at least
VIDEOS = [
    ("people.mp4", 341, "person", 10),
    ("vtest.avi", 795, "person", 10),
    ("one-by-one-person-detection.mp4", 1394, "person", 2),
    ("bottle-detection.mp4", 1189, "bottle", 1),
    ("bikes.mp4", 250, "person", 3),
    ("carphone_pristine.mp4", 120, "person", 1),
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """All six in one run, four at a time; the result of each by its name."""
    model = require_asset("models/yolox_nano.onnx")
    paths = [require_asset(f"videos/{name}") for name, *_ in VIDEOS]
    config = EngineConfig(model=str(model), skip_frames=7, video_preset="ultrafast", streams=4)
    with Engine(config) as engine:
        summary = engine.run(paths, tmp_path_factory.mktemp("out"))
    assert summary["success"]
    return {Path(video["path"]).name: video for video in summary["videos"]}


@pytest.mark.parametrize(("name", "frames", "wanted", "least"), VIDEOS, ids=[row[0] for row in VIDEOS])
def test_every_frame_at_its_time(
    videos: dict[str, dict[str, Any]], name: str, frames: int, wanted: str, least: int
) -> None:
    video = videos[name]
    source, annotated = read(require_asset(f"videos/{name}"), keep=0), read(video["outputs"]["video"], keep=0)

    assert (video["status"], video["error"], video["frames"]) == ("ok", None, frames)
    assert video["inferred_frames"] == (frames + 7) // 8
    assert len(source.pts) == len(annotated.pts) == frames
    tick = max(source.time_base, annotated.time_base)
    assert all(abs(ours - theirs) <= tick for ours, theirs in zip(annotated.times, source.times, strict=True))
    for row in rows(video["outputs"]["tracks"]):
        assert row["pts"] == source.pts[row["frame"]]
    assert [packet for _, packet in annotated.audio] == [without_adts(packet) for _, packet in source.audio]
    assert video["tracks_by_class"].get(wanted, 0) >= least


def without_adts(packet: bytes) -> bytes:
    """An AAC packet without the header that AVI keeps in each and MP4 once for all."""
    return packet[7:] if packet[:2] == b"\xff\xf1" else packet


@pytest.mark.parametrize("model", ["yolox_nano.onnx", "yolov5n_fp16.onnx", "yolov8n_int8.onnx"])
def test_each_model_sees_the_man_in_the_car(tmp_path: Path, model: str) -> None:
    config = EngineConfig(model=str(require_asset(f"models/{model}")), skip_frames=3, video_preset="ultrafast")
    with Engine(config) as engine:
        video = engine.run([require_asset("videos/carphone_pristine.mp4")], tmp_path)["videos"][0]

    assert (video["status"], video["frames"], video["inferred_frames"]) == ("ok", 120, 30)
    seen = {row["frame"] for row in rows(video["outputs"]["tracks"]) if row["class"] == "person"}
    assert len(seen) > 90
