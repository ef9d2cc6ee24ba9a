"""Only files of our own are replaced: what a run finds in its output folder and has not written is never lost."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine.cli.group import commands
from engine.clips import ClipSettings, cut_clips
from engine.errors import OutputError
from engine.finished import FinishedRun
from engine.media.annotated import NOTE
from engine.output_folder import own_files
from engine.output_folder.own_files import is_own
from engine.resume import steps
from engine.rework.render import render
from engine.rework.retrack import retrack
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs
from orchestrator.worker.steps import Context
from tests.e2e.runs import clip, fake_engine
from tests.e2e.test_answers import SCENE

pytestmark = pytest.mark.timeout(60)

EVERYTHING: dict[str, Any] = {
    "formats": ("tracks", "mot", "detections"),
    "visualize": True,
    "crops": True,
    "store_conf": 0.1,
    "heatmap": True,
    "report": True,
    "clips": {"kinds": ["track"]},
}
FOREIGN = b"somebody's own\n"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return clip(tmp_path / "in" / "a.mp4", 20)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene.toml"
    path.write_text(SCENE)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def cli(*arguments: object) -> Any:
    return CliRunner().invoke(commands, list(map(str, arguments)), standalone_mode=False)


# -- what is ours is known, whoever wrote it and whatever became of its records ------------------------------------


def test_every_file_of_ours_is_known_by_its_content(tmp_path: Path, video: Path, scene: Path) -> None:
    """Without a manifest: as after a run that was killed, or another one whose manifest took its place."""
    tables: tuple[str, ...] = ("csv",)
    for module, name in (("pyarrow", "parquet"), ("xlsxwriter", "xlsx")):
        try:
            __import__(module)
        except ImportError:
            continue
        tables += (name,)
    out = tmp_path / "out"
    with fake_engine(**EVERYTHING, scene=scene, tables=tables) as engine:
        assert engine.run([video], out)["success"]
    engine = fake_engine(delay_s=0.05, workers=1, **{**EVERYTHING, "clips": None, "report": None})
    stopped = tmp_path / "stopped"
    engine.run([video], stopped, progress=lambda streams: engine.stop() if streams and streams[0].frames else None)
    retrack(out, None, {"tracker": "bytetrack"})
    shutil.copytree(stopped, out / "stopped")
    manifest = out / "manifest.json"
    assert is_own(manifest)
    manifest.unlink()
    (out / "stopped" / "manifest.json").unlink()
    shutil.rmtree(out / "stopped" / ".yolo-engine")
    found = [name for name in files_of(out) if not name.startswith("clips/") or name.endswith((".csv", ".txt"))]
    assert len(found) >= 18
    assert any(".partial." in name for name in found)
    assert [name for name in found if not is_own(out / name)] == []
    assert [name for name in found if own_files.is_own(out / name) and not (out / name).stat().st_size] == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tracks.jsonl", b'{"frame": 1, "bbox": [1, 2, 3, 4]}\n'),
        ("a.tracks.jsonl", b"[" * 100_000),
        ("a.detections.jsonl", b"1\n"),
        ("a.mot.txt", b"1,1,912,484,97,109,1,7,1\n"),  # ground truth
        ("a.mot.txt", b"1,1,912.00,484.00,97.00,109.00,1,-1,-1,-1\n"),  # SORT's own program
        ("a.mot.txt", b"1,1,912.0,484.0,97.0,109.0,0.98,-1,-1,-1\n"),
        ("a.mot.txt", b"1,1,912.00,484.00,97.00,109.00,0.9800,-1,-1,-1"),  # cut off
        ("a.detections.bin", FOREIGN),
        ("a.crops.zip", b"PK\x03\x04" + b"\0" * 26 + b"holiday.jpg"),
        ("a.mp4", b"\0\0\0\x18ftypisom\0\0\0\0isomiso2\0\0\0\x08moov"),
        ("manifest.json", b'{"name": "my extension", "manifest_version": 3}'),
        ("manifest.json", b"[]"),
        ("manifest.json", b"{" * 100_000),
        ("retrack.json", b"{}"),
        ("heatmap.json", b"{}"),
        ("a.heatmap.json", b'{"schema": 1, "cells": []}'),
        ("tracks.csv", b"artist,title\r\n"),
        ("events.csv", b"time,title\r\n"),
        ("counts.csv", b"camera;count\r\n"),
        ("od.csv", FOREIGN),
        ("travel_times.csv", FOREIGN),
        ("tracks.parquet", b"PAR1\xff\xff\xff\xffPAR1"),
        ("tables.xlsx", b"PK\x05\x06" + b"\0" * 18),
        ("report.html", b"<html>quarterly</html>"),
        ("clips.csv", FOREIGN),
        ("empty.txt", FOREIGN),
        ("of no form that there is", FOREIGN),
    ],
)
def test_what_is_not_ours(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert not is_own(tmp_path / name)
    with pytest.raises(OutputError, match="was not written by yolo-engine, and would be overwritten"):
        own_files.refuse_foreign(tmp_path / name)
    own_files.refuse_foreign(tmp_path / name, overwrite=True)


def test_where_nothing_is_lost(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("empty", "link", "missing", "no folder/at all"):
        assert is_own(tmp_path / name)


def test_what_a_manifest_names_is_ours(tmp_path: Path, video: Path) -> None:
    """A video that an earlier version had left without a mark."""
    out = tmp_path / "out"
    with fake_engine(visualize=True) as engine:
        engine.run([video], out)
        (out / "a.mp4").write_bytes(FOREIGN)
        assert is_own(out / "a.mp4")
        assert engine.run([video], out)["success"]
        (out / "manifest.json").unlink()
        (out / "a.mp4").write_bytes(FOREIGN)
        assert not is_own(out / "a.mp4")


# -- runs -------------------------------------------------------------------------------------------------------------

NAMES = (
    *("a.tracks.jsonl", "a.mot.txt", "a.detections.jsonl", "a.detections.bin", "a.crops.zip", "a.mp4"),
    *("manifest.json", "tracks.csv", "counts.csv", "heatmap.json", "report.html"),
)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_refuses_before_it_begins(tmp_path: Path, video: Path, scene: Path, name: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_bytes(FOREIGN)
    with fake_engine(**EVERYTHING, scene=scene) as engine:
        with pytest.raises(
            OutputError, match="Move it away, name another output folder, or pass --overwrite"
        ) as caught:
            engine.run([video], out)
        assert str(out / name) in str(caught.value)
        assert files_of(out) == {name: FOREIGN}
    with fake_engine(**EVERYTHING, scene=scene, overwrite=True) as engine:
        assert engine.run([video], out)["success"]
    assert is_own(out / name)
    assert not list(out.glob("*.kept.*"))


@pytest.mark.parametrize(
    ("name", "link", "why"),
    [
        ("clips/clips.csv", False, "clips.csv was not written by yolo-engine"),
        ("clips/empty.txt", False, "empty.txt was not written by yolo-engine"),
        ("clips", False, "clips is not a folder. Move it away, or name another folder with --output DIR"),
        ("clips", True, "clips is a symbolic link"),
        ("export", False, "export is not a folder"),
        ("export", True, "export is a symbolic link"),
        ("export/mot", False, "mot is not a folder"),
        ("export/mot/gt.txt", False, "mot holds other files than an export"),
    ],
)
def test_what_stands_in_the_way_of_what_follows_is_told_before_a_run(
    tmp_path: Path, video: Path, name: str, link: bool, why: str
) -> None:
    """Not behind hours of work; of a job, too."""
    out, other = tmp_path / "out", tmp_path / "other"
    (out / name).parent.mkdir(parents=True)
    other.mkdir()
    if link:
        (out / name).symlink_to(other)
    else:
        (out / name).write_bytes(FOREIGN)
    wanted: dict[str, Any] = {"clips": {"kinds": ["track"]}, "export": ["mot"]}
    with fake_engine(**wanted) as engine, pytest.raises(OutputError, match=re.escape(why)):
        engine.run([video], out)
    assert [path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir() or link] == [name]
    settings = Settings(state_dir=tmp_path / "state")
    config = {"backend": "fake", "visualize": False, **wanted}
    job = jobs.begin(str(video.parent), config, settings, output=str(out))
    refused = jobs.start(job, Context("yolo@here", settings)).refused
    assert refused is not None
    assert why in refused
    listed = name.startswith("clips/")
    refusal: Any = contextlib.nullcontext() if listed else pytest.raises(OutputError, match=re.escape(why))
    with fake_engine(**wanted, overwrite=True) as engine, refusal:  # a folder of somebody's own never goes as a whole
        engine.run([video], out)
    assert listed or link or (out / name).read_bytes() == FOREIGN
    with fake_engine() as engine:  # who asks for neither is not kept from anything
        assert engine.run([video], out)["success"]


def test_the_command_line_says_so(tmp_path: Path, video: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mot.txt").write_bytes(FOREIGN)
    done = cli("run", video, "-o", tmp_path / "out", "--no-visualize")
    assert isinstance(done.exception, OutputError)
    assert "--overwrite" in str(done.exception)


@pytest.mark.parametrize("stays", ["all", "no manifest", "another's manifest"])
def test_running_again_replaces_what_is_ours(tmp_path: Path, video: Path, scene: Path, stays: str) -> None:
    """With other settings, over other videos meanwhile, without a trace of the run before."""
    out = tmp_path / "out"
    with fake_engine(**EVERYTHING, scene=scene) as engine:
        engine.run([video], out)
    if stays == "no manifest":
        (out / "manifest.json").unlink()
    elif stays == "another's manifest":
        with fake_engine() as engine:
            engine.run([clip(tmp_path / "other" / "b.mp4", 5)], out)
    before = files_of(out)
    with fake_engine(**EVERYTHING, scene=scene, skip_frames=2, label=("id",)) as engine:
        assert engine.run([video], out)["success"]
    after = files_of(out)
    assert after.keys() == before.keys() | {"manifest.json"}
    assert after["a.tracks.jsonl"] != before["a.tracks.jsonl"]


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize(
    "step",
    ["committed", "an output appeared#1", "an output appeared#2", "an output appeared#3", "published", "settled"],
)
def test_killed_at_any_step_it_goes_on(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch, step: str, resume: bool
) -> None:
    """Some of its outputs have appeared, and nothing says so."""
    settings = {"visualize": True, "formats": ("tracks", "mot"), "resume": resume, "workers": 1, "streams": 1}
    with fake_engine(**settings) as engine:
        engine.run([video], tmp_path / "right")
    wanted, _, number = step.partition("#")
    seen = {"left": int(number or 1), "dead": False}

    class Killed(BaseException):
        pass

    def reached(name: str) -> None:
        if name == wanted:
            seen["left"] -= 1
        if seen["dead"] or (name == wanted and not seen["left"]):
            seen["dead"] = True
            raise Killed

    out = tmp_path / "out"
    with fake_engine(**settings, min_hits=3) as engine:  # another run's are there already
        engine.run([video], out)
        (out / "manifest.json").unlink()
    with monkeypatch.context() as patched, fake_engine(**settings) as engine:
        patched.setattr(steps, "reached", reached)
        with contextlib.suppress(BaseException):  # whatever death looks like
            engine.run([video], out)
    (out / "manifest.json").unlink(missing_ok=True)
    with fake_engine(**settings) as engine:
        summary = engine.run([video], out)
    assert summary["success"], summary
    right = files_of(tmp_path / "right")
    found = files_of(out)
    assert found.keys() == right.keys()
    for name in ("a.tracks.jsonl", "a.mot.txt", "a.mp4"):
        assert found[name] == right[name]


@pytest.mark.parametrize("settings", [{}, {"skip_frames": 2}])
def test_a_killed_run_of_a_version_without_marks_goes_on(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """Its annotated video bears no note, and it has written no manifest: what it had decided names its outputs."""
    out = tmp_path / "out"

    class Killed(BaseException):
        pass

    def reached(step: str) -> None:
        if step == "published":
            raise Killed

    with monkeypatch.context() as patched, fake_engine(visualize=True) as engine:
        patched.setattr(steps, "reached", reached)
        engine.run([video], out)
    (out / "manifest.json").unlink()
    content = (out / "a.mp4").read_bytes()
    (out / "a.mp4").write_bytes(content.replace(NOTE.encode(), b"." * len(NOTE)))
    assert not is_own(out / "a.mp4")
    with fake_engine(visualize=True, **settings) as engine:
        assert engine.run([video], out)["success"]
    assert (NOTE.encode() in (out / "a.mp4").read_bytes()) == bool(settings), "adopted, or done anew"
    assert not list(out.glob("*.kept.*"))


def test_what_comes_during_a_run_is_kept_beside(tmp_path: Path, video: Path) -> None:
    out = tmp_path / "out"

    def come(streams: Any) -> None:
        for name in ("a.mp4", "a.mot.txt", "manifest.json"):
            if streams and streams[0].frames and not (out / name).exists():
                (out / name).write_bytes(FOREIGN)

    with fake_engine(visualize=True, delay_s=0.05, workers=1) as engine:
        assert engine.run([video], out, progress=come)["success"]
    found = files_of(out)
    for name in ("a.mp4", "a.mot.txt", "manifest.json"):
        assert is_own(out / name)
    assert found["a.kept.mp4"] == found["a.kept.mot.txt"] == found["manifest.kept.json"] == FOREIGN


def test_a_partial_file_of_somebody_elses_is_not_taken_away(tmp_path: Path, video: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.partial.mot.txt").write_bytes(FOREIGN)
    with fake_engine(visualize=True) as engine:
        engine.run([video], out)
    assert (out / "a.partial.mot.txt").read_bytes() == FOREIGN


# -- jobs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.tracks.jsonl", "manifest.json", "report.html"])
def test_a_job_is_refused_at_its_start(tmp_path: Path, video: Path, name: str) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_bytes(FOREIGN)
    config = {"backend": "fake", "visualize": False}
    context = Context("yolo@here", settings)
    job = jobs.begin(str(video.parent), config, settings, output=str(out))
    refused = jobs.start(job, context).refused
    assert refused is not None
    assert f"{out / name} was not written by yolo-engine" in refused
    assert jobs.process(job, "process-1", context).how == "exhausted"
    jobs.end(job, context)
    assert name == "manifest.json" or (out / name).read_bytes() == FOREIGN
    again = jobs.begin(str(video.parent), {**config, "overwrite": True}, settings, output=str(out))
    assert jobs.start(again, context).refused is None


def test_a_job_that_was_sent_again_finds_its_own(tmp_path: Path, video: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    context = Context("yolo@here", settings)
    out = str(tmp_path / "out")
    for hits in (1, 3):
        config = {"backend": "fake", "visualize": True, "min_hits": hits}
        job = jobs.begin(str(video.parent), config, settings, output=out)
        assert jobs.start(job, context).refused is None
        assert jobs.process(job, "process-1", context).how == "exhausted"
        assert jobs.end(job, context).success
        (tmp_path / "out" / "manifest.json").unlink()
    assert not list((tmp_path / "out").glob("*.kept.*"))


# -- what comes after a run -------------------------------------------------------------------------------------------


@pytest.fixture
def done(tmp_path: Path, video: Path, scene: Path) -> Path:
    with fake_engine(visualize=True, store_conf=0.1, scene=scene) as engine:
        engine.run([video], tmp_path / "out")
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("tracks.csv", ("analyze",)),
        ("travel_times.csv", ("analyze",)),
        ("heatmap.json", ("analyze", "--heatmap")),
        ("report.html", ("report",)),
        ("clips/clips.csv", ("clips",)),
        ("clips/empty.txt", ("clips",)),
        ("a.mp4", ("render",)),
        ("a.mot.txt", ("retrack",)),
        ("retrack.json", ("retrack",)),
    ],
)
def test_commands_refuse_as_well(done: Path, name: str, command: tuple[str, ...]) -> None:
    (done / "manifest.json").write_text(
        json.dumps({**json.loads((done / "manifest.json").read_text()), "config": _without_folder(done)})
    )
    (done / name).parent.mkdir(exist_ok=True)
    (done / name).write_bytes(FOREIGN)
    before = files_of(done)
    refused = cli(command[0], done, *command[1:])
    assert isinstance(refused.exception, OutputError), refused.output
    assert f"{done / name} was not written by yolo-engine" in str(refused.exception)
    assert files_of(done) == before
    assert cli(command[0], done, *command[1:], "--overwrite").return_value == 0
    assert (done / name).read_bytes() != FOREIGN
    assert cli(command[0], done, *command[1:]).return_value == 0, "its own by now"


def _without_folder(done: Path) -> dict[str, Any]:
    """A configuration from which no output can be found: what a manifest names counts as ours."""
    config = json.loads((done / "manifest.json").read_text())["config"]
    del config["output_folder"]
    return config


def test_the_source_is_never_overwritten_whatever_is_said(tmp_path: Path, done: Path, video: Path) -> None:
    before = video.read_bytes()
    video.replace(done / "a.mp4")
    assert cli("render", done, "--source", done, "--overwrite").exception is not None
    assert (done / "a.mp4").read_bytes() == before


def test_clips_of_others_keep_their_names(done: Path) -> None:
    (first,) = cut_clips(FinishedRun.load(done), ClipSettings()).clips
    name = first.path.name
    first.path.write_bytes(FOREIGN)
    (done / "clips" / "clips.csv").unlink()
    for _ in range(2):  # the second finds its own
        (again,) = cut_clips(FinishedRun.load(done), ClipSettings()).clips
        assert again.path.name == name.replace(".mp4", "-2.mp4")
    assert first.path.read_bytes() == FOREIGN
    cut_clips(FinishedRun.load(done), ClipSettings(), overwrite=True)
    assert first.path.read_bytes() == FOREIGN, "of clips, only the lists have fixed names"


def test_pages_of_others_are_left(done: Path) -> None:
    (done / "report").mkdir()
    (done / "report" / "0001-mine.html").write_bytes(FOREIGN)
    assert cli("report", done).return_value == 0
    assert (done / "report" / "0001-mine.html").read_bytes() == FOREIGN


def test_rendering_refuses_before_it_draws(done: Path) -> None:
    drawn: Callable[[], list[Any]] = lambda: list(render(done))  # noqa: E731
    assert drawn()


def test_a_page_to_draw_on_replaces_pages_alone(tmp_path: Path, done: Path, video: Path) -> None:
    """Whatever it is called: an annotated video of ours is none, and an input is never replaced."""
    for name in ("own.html", "own.mp4", "scene"):
        path = tmp_path / name
        assert cli("scene", video, "-o", path).return_value == 0
        assert cli("scene", video, "-o", path).return_value == 0, "its own by now"
    for path in (done / "a.mp4", tmp_path / "scene.toml", video):
        before = path.read_bytes()
        refused = cli("scene", video, "-o", path)
        assert isinstance(refused.exception, OutputError)
        assert str(path) in str(refused.exception)
        assert path.read_bytes() == before
    assert cli("scene", video, "-o", done / "a.mp4", "--overwrite").return_value == 0
    assert isinstance(cli("scene", video, "-o", video, "--overwrite").exception, OutputError)
