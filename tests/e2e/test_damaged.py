"""200 damaged files beside two good ones: nothing crashes, nothing hangs, each has a status and a reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.assets import demo_video
from tests.e2e.damage import cut, damaged, encoded
from tests.e2e.runs import cli, clip, ended, frames_in, left_over


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Short real videos in four containers."""
    folder = tmp_path_factory.mktemp("sources")
    return [
        cut(demo_video("carphone_pristine.mp4"), folder / "carphone.mp4", 12),
        cut(demo_video(), folder / "bikes.mkv", 6),
        encoded(demo_video(), folder / "bikes.avi", 5),
        cut(demo_video(), folder / "bikes.mp4", 6),
        clip(folder / "square.ts", 20, codec="libx264"),
    ]


def _run(*arguments: Any, timeout_s: float) -> dict[str, Any]:
    status, output, errors = ended(cli("run", *arguments, "--json"), timeout_s)
    assert status in (0, 1), (status, errors[-2000:])
    assert "Traceback" not in errors
    summary: dict[str, Any] = json.loads(output.splitlines()[-1])
    return summary


def _check(summary: dict[str, Any], output: Path, count: int) -> None:
    assert len(summary["videos"]) == count
    for video in summary["videos"]:
        assert video["status"] in ("ok", "partial", "failed")
        assert (video["error"] is None) == (video["status"] == "ok"), video
        if video["status"] != "ok":
            assert len(video["error"]) > 5, video
            assert "Error:" not in video["error"], f"a foreign error got through: {video}"
        assert bool(video["outputs"]) == (video["status"] != "failed"), video
        assert all(Path(path).is_file() for path in video["outputs"].values())
    assert left_over(output) == []


@pytest.mark.timeout(120)
def test_200_damaged_files(sources: list[Path], tmp_path: Path) -> None:
    good = [clip(tmp_path / "good" / "a.mp4", 30, seed=1), clip(tmp_path / "good" / "b.mp4", 30, seed=2)]
    files = damaged(sources, tmp_path / "bad", seed=7)
    assert len(files) == 200
    _run(*good, "--backend", "fake", "--no-visualize", "-o", tmp_path / "alone", timeout_s=30)
    # The folder of that name is one more thing found in the folder, and no video.
    everything = ["--backend", "fake", "--no-visualize", "-o", tmp_path / "out"]
    summary = _run(tmp_path / "good", tmp_path / "bad", *everything, timeout_s=60)
    _check(summary, tmp_path / "out", 201)
    print(Counter(video["status"] for video in summary["videos"]))  # noqa: T201 - shown with -rP
    for name in ("a", "b"):
        for suffix in (".tracks.jsonl", ".mot.txt"):
            assert (tmp_path / "out" / (name + suffix)).read_bytes() == (
                tmp_path / "alone" / (name + suffix)
            ).read_bytes()
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert len(manifest["videos"]) == 201


@pytest.mark.timeout(120)
def test_annotated_videos_of_damaged_files(sources: list[Path], tmp_path: Path) -> None:
    """Whatever is written plays, and holds the frames that the summary counts."""
    files = [path for path in damaged(sources, tmp_path / "bad", seed=11) if path.is_file()][::4]
    summary = _run(*files, "--backend", "fake", "--visualize", "-o", tmp_path / "out", timeout_s=60)
    _check(summary, tmp_path / "out", len(files))
    for video in summary["videos"]:
        if video["outputs"]:
            assert frames_in(Path(video["outputs"]["video"])) == video["frames"], video


@pytest.mark.timeout(120)
def test_damaged_files_with_a_real_model(sources: list[Path], tmp_path: Path) -> None:
    files = [path for path in damaged(sources, tmp_path / "bad", seed=13) if path.is_file()][::12]
    summary = _run(*files, "--no-visualize", "-o", tmp_path / "out", timeout_s=60)
    assert summary["model"]["name"] == "street-nano"
    _check(summary, tmp_path / "out", len(files))
