"""The output folder is removed, or another one takes its place, while a run writes to it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.resume import steps
from tests.e2e.runs import clip, fake_engine


def _remove(folder: Path) -> None:
    shutil.rmtree(folder)


def _move(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


def _replace(folder: Path) -> None:
    _move(folder)
    folder.mkdir()


def _file(folder: Path) -> None:
    _remove(folder)
    folder.write_text("no folder")


@pytest.mark.parametrize("happens", [_remove, _move, _replace, _file])
@pytest.mark.parametrize("step", ["sinks opened", "last frame", "fence passed again", "an output appeared"])
def test_it_is_said_and_nothing_is_ok(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Path], None], step: str
) -> None:
    video, output = clip(tmp_path / "a.mp4", 12), tmp_path / "out"
    happened: list[str] = []

    def reached(name: str) -> None:
        if name == step and not happened:
            happened.append(name)
            happens(output)

    monkeypatch.setattr(steps, "reached", reached)
    with fake_engine() as engine:
        summary = engine.run([video], output)
    assert happened
    (entry,) = summary["videos"]
    assert (entry["status"], entry["outputs"]) == ("failed", {})
    reasons = (f"{output} was removed, or moved away, while it was written to", ": no such file or directory")
    assert any(reason in entry["error"] for reason in reasons)
    assert not summary["success"]
    assert f"{output} was removed, or moved away, during the run" in summary["error"]
    assert output.is_file() or not output.exists() or not list(output.iterdir())


def test_a_video_that_was_done_before_is_not_told_of_in_a_folder_it_is_not_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos, output = [clip(tmp_path / name, 12) for name in ("a.mp4", "b.mp4")], tmp_path / "out"
    published: list[str] = []

    def reached(name: str) -> None:
        if name == "published":
            published.append(name)
            if len(published) == 2:
                _replace(output)

    monkeypatch.setattr(steps, "reached", reached)
    with fake_engine(streams=1) as engine:
        summary = engine.run(videos, output)
    assert not summary["success"]
    assert "manifest.json is not written" in summary["error"]
    assert not list(output.iterdir())


def test_brought_back_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, output = clip(tmp_path / "a.mp4", 12), tmp_path / "out"
    with monkeypatch.context() as patch, fake_engine() as engine:
        patch.setattr(steps, "reached", lambda name: _move(output) if name == "committed" else None)
        assert not engine.run([video], output)["success"]
    (tmp_path / "moved").rename(output)
    with fake_engine() as engine:
        assert engine.run([video], output)["success"]
    (entry,) = json.loads((output / "manifest.json").read_text())["videos"]
    assert all(Path(path).exists() for path in entry["outputs"].values())
