"""Tracks that a person has corrected are never lost: neither on running again, nor on `retrack`, nor by a job."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.group import commands
from engine.errors import OutputError
from engine.files.folders import Folder
from engine.media.inputs import Video
from engine.pipeline.assignment import Assignment
from engine.resume import attempts, steps
from engine.rework.retrack import retrack
from tests.e2e.runs import clip, fake_engine, rows

pytestmark = pytest.mark.timeout(60)

SETTINGS: dict[str, Any] = {"store_conf": 0.1, "workers": 1}
MENDED = "1,7,1,1,9,9,1,1,1\n2,7,2,1,9,9,1,1,1\n"
TRACKS, CORRECTED = "a.tracks.jsonl", "a.corrected.tracks.jsonl"
BEFORE = "a.before-import.tracks.jsonl"


def run(video: Path, out: Path, **settings: Any) -> Any:
    with fake_engine(**{**SETTINGS, **settings}) as engine:
        return engine.run([video], out)


def correct(out: Path, text: str = MENDED) -> bytes:
    """Correct the tracks of a run by hand; what they are then."""
    (out.parent / "mended.txt").write_text(text)
    done = CliRunner().invoke(commands, ["import", str(out), str(out.parent / "mended.txt")], standalone_mode=False)
    assert done.return_value == 0, done.output
    return (out / TRACKS).read_bytes()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return clip(tmp_path / "in" / "a.mp4", 20)


@pytest.fixture
def out(tmp_path: Path, video: Path) -> Path:
    assert run(video, tmp_path / "out")["success"]
    return tmp_path / "out"


@pytest.mark.parametrize("settings", [{}, {"skip_frames": 2}, {"resume": False}, {"overwrite": True}])
def test_a_run_keeps_them_beside_and_says_so(video: Path, out: Path, settings: dict[str, Any]) -> None:
    found = (out / TRACKS).read_bytes()
    mended = correct(out)
    (entry,) = run(video, out, **settings)["videos"]
    assert f"its tracks had been corrected by hand: they are kept as {CORRECTED}" in entry["notes"]
    assert (out / CORRECTED).read_bytes() == mended
    assert {row["track_id"] for row in rows(out / TRACKS)} == {1}, "the program's own"
    assert not (out / BEFORE).exists(), "these are corrected no longer"
    if not settings.get("skip_frames"):
        assert (out / TRACKS).read_bytes() == found
    (entry,) = run(video, out, **settings)["videos"]
    assert "corrected" not in str(entry.get("notes")), "they are told once"
    assert (out / CORRECTED).read_bytes() == mended
    again = correct(out, MENDED.replace(",7,", ",8,"))
    run(video, out, **settings)
    assert (out / CORRECTED).read_bytes() == mended
    assert (out / "a.corrected-2.tracks.jsonl").read_bytes() == again


def test_a_job_keeps_them_too(video: Path, out: Path) -> None:
    """Its worker publishes as a run does."""
    mended = correct(out)
    entries: list[Any] = []
    with fake_engine(**SETTINGS) as engine:
        work = [Assignment(Video(str(video), PurePosixPath("a")), job="j")]
        engine.work(work, out, done=lambda _, entry: entries.append(entry))
    assert entries[0]["status"] == "ok"
    assert CORRECTED in str(entries[0]["notes"])
    assert (out / CORRECTED).read_bytes() == mended


def test_corrected_between_a_kill_and_going_on(video: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The killed run had done the video, and not let it appear."""

    class Killed(BaseException):
        pass

    def reached(step: str) -> None:
        if step == "committed":
            raise Killed

    manifest = (out / "manifest.json").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(steps, "reached", reached)
        run(video, out, skip_frames=2)
    (out / "manifest.json").write_bytes(manifest)  # a process that was killed had written none
    mended = correct(out)
    assert attempts.verdict_of(out, PurePosixPath("a")) is not None
    assert run(video, out, skip_frames=2)["success"]
    assert (out / CORRECTED).read_bytes() == mended
    assert {row["track_id"] for row in rows(out / TRACKS)} == {1}


@pytest.mark.parametrize("links", [True, False])
def test_killed_while_they_are_kept(video: Path, out: Path, monkeypatch: pytest.MonkeyPatch, links: bool) -> None:
    """At every step in between they are there, once."""
    mended = correct(out)
    if not links:

        def no_links(*_: Any, **__: Any) -> None:
            raise OSError(errno.EOPNOTSUPP, "no links here")

        monkeypatch.setattr(os, "link", no_links)
    remove, dead = Folder.remove, []

    def killed(self: Folder, name: str) -> bool:
        if name == BEFORE and not dead:
            dead.append(name)
            raise OSError(errno.EIO, "the machine has gone")
        return remove(self, name)

    monkeypatch.setattr(Folder, "remove", killed)
    assert not run(video, out)["success"]
    assert dead
    kept = [path.name for path in out.glob("*.tracks.jsonl") if path.read_bytes() == mended]
    assert CORRECTED in kept
    assert run(video, out)["success"]
    assert sorted(path.name for path in out.glob("*.tracks.jsonl") if path.name != BEFORE) == [CORRECTED, TRACKS]
    assert (out / CORRECTED).read_bytes() == mended


def test_retrack_refuses_and_names_the_remedy(out: Path, tmp_path: Path) -> None:
    mended = correct(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(OutputError, match=r"jsonl was corrected by hand .* -o, or pass --overwrite") as caught:
        retrack(out, None, {"tracker": "bytetrack"})
    assert CORRECTED in str(caught.value)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    retrack(out, tmp_path / "elsewhere", {"tracker": "bytetrack"})
    assert (tmp_path / "elsewhere" / TRACKS).exists()
    assert (out / TRACKS).read_bytes() == mended
    done = CliRunner().invoke(commands, ["retrack", str(out), "--overwrite"], standalone_mode=False)
    assert done.return_value == 0
    assert (out / CORRECTED).read_bytes() == mended
    assert not (out / BEFORE).exists()
    retrack(out, None, {})  # corrected no longer


def test_importing_again_goes_on_from_what_the_program_had_found(video: Path, out: Path) -> None:
    """Once the program has found something else, that is what the next import keeps."""
    correct(out)
    run(video, out, skip_frames=2)
    found = (out / TRACKS).read_bytes()
    correct(out)
    assert (out / BEFORE).read_bytes() == found
    assert json.loads((out / TRACKS).read_text().splitlines()[0])["track_id"] == 7
