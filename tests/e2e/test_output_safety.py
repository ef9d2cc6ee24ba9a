"""Somebody else may write where results go: links, FIFOs and devices in the place of what the engine keeps there."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import pytest

from engine.errors import OutputError
from engine.media.inputs import Video
from engine.pipeline.assignment import Assignment
from engine.resume import attempts
from engine.resume.attempts import peek
from engine.resume.journal import LARGEST, packed, unpacked
from engine.resume.partial_outputs import salvage
from engine.sinks.packet_log import read_header
from tests.e2e.runs import attempt, cli, clip, ended, fake_engine, left_over
from tests.e2e.test_resume import TRACES
from tests.waiting import until

pytestmark = pytest.mark.timeout(60)

SETTINGS: dict[str, Any] = {"visualize": True, "min_hits": 1}


Begun: TypeAlias = Callable[[Path], dict[str, Any]]
Same: TypeAlias = Callable[[Path], None]
Spoilt: TypeAlias = Callable[[Callable[[dict[str, Any]], None]], None]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The video of which each test has a copy, as old as this one: the same file to a journal."""
    return clip(tmp_path_factory.mktemp("in") / "a.mp4", 40)


@pytest.fixture
def video(original: Path, tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return Path(shutil.copy2(original, tmp_path / "in"))


@pytest.fixture(scope="module")
def begun(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """Makes the output folder of a run that was broken off behind a checkpoint, and returns its journal's values."""
    made = tmp_path_factory.mktemp("begun")
    engine = fake_engine(fail_after=25, checkpoint_s=0.0, delay_s=0.002, workers=1, **SETTINGS)
    assert "told to fail" in engine.run([original], made)["videos"][0]["error"]

    def copied(output: Path) -> dict[str, Any]:
        shutil.copytree(made, output)
        return unpacked((attempt(output, "a") / "journal.json").read_bytes())

    return copied


@pytest.fixture(scope="module")
def one_done(original: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The output folder of a run that was broken off in its second video, and that video."""
    other = clip(tmp_path_factory.mktemp("second") / "b.mp4", 40, seed=2)
    made = tmp_path_factory.mktemp("one-done")
    fake_engine(fail_after=60, streams=1, workers=1, **SETTINGS).run([original, other], made)
    return made, other


@pytest.fixture(scope="module")
def same(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Same:
    """Holds rows against those of an undisturbed run."""
    right = tmp_path_factory.mktemp("right")
    fake_engine(**SETTINGS).run([original], right)

    def compare(output: Path) -> None:
        for name in ("a.tracks.jsonl", "a.mot.txt"):
            assert (output / name).read_bytes() == (right / name).read_bytes()

    return compare


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder of somebody else, in which nothing may change."""
    folder = tmp_path / "elsewhere"
    (folder / "empty" / "inner").mkdir(parents=True)
    for name in ("a.json", "b.json.0badcafe.tmp", "c.part", "precious"):
        (folder / name).write_text(name)
    return folder


def _state(folder: Path) -> dict[str, Any]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in [folder, *folder.rglob("*")]
    }


# -- folders ----------------------------------------------------------------------------------------------------------


def test_the_state_folder_is_a_link(tmp_path: Path, video: Path, elsewhere: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / ".yolo-engine").symlink_to(elsewhere)
    before = _state(elsewhere)
    with pytest.raises(OutputError, match=r"\.yolo-engine is a symbolic link.*Remove it"):
        fake_engine().run([video], output)
    status, _, errors = ended(cli("run", video, "--backend", "fake", "-o", output))
    assert (status, len(errors.splitlines())) == (2, 1)
    assert "is a symbolic link" in errors
    attempts.clean(output)
    attempts.forget(output, PurePosixPath("a"), "")
    assert peek(output, PurePosixPath("a")) == 0
    with pytest.raises(OutputError, match="symbolic link"):
        salvage(fake_video(video), output)
    assert _state(elsewhere) == before


def fake_video(path: Path) -> Video:
    return Video(str(path), PurePosixPath(path.stem))


@pytest.mark.parametrize("made", ["file", "FIFO"])
def test_the_state_folder_is_none(tmp_path: Path, video: Path, made: str) -> None:
    output = tmp_path / "out"
    output.mkdir()
    (output / ".yolo-engine").touch() if made == "file" else os.mkfifo(output / ".yolo-engine")
    with pytest.raises(OutputError, match="can't be written: not a directory"):
        fake_engine().run([video], output)


def test_a_video_s_folder_is_a_link(tmp_path: Path, video: Path, elsewhere: Path) -> None:
    output = tmp_path / "out"
    (output / ".yolo-engine").mkdir(parents=True)
    (output / ".yolo-engine" / attempts.label(PurePosixPath("a"))).symlink_to(elsewhere)
    before = _state(elsewhere)
    (entry,) = fake_engine().run([video], output)["videos"]
    assert entry["status"] == "failed"
    assert "is a symbolic link" in entry["error"]
    attempts.clean(output)
    assert _state(elsewhere) == before


def test_an_attempt_s_folder_is_a_link(tmp_path: Path, video: Path, elsewhere: Path) -> None:
    output = tmp_path / "out"
    place = output / ".yolo-engine" / attempts.label(PurePosixPath("a"))
    place.mkdir(parents=True)
    (place / "1").symlink_to(elsewhere)
    before = _state(elsewhere)
    (entry,) = fake_engine().run([video], output)["videos"]
    assert "is a symbolic link" in entry["error"]
    attempts.forget(output, PurePosixPath("a"), "")
    assert _state(elsewhere) == before


@pytest.mark.parametrize("when", ["before", "after the journal of an earlier version"])
def test_a_folder_of_results_is_a_link(tmp_path: Path, video: Path, elsewhere: Path, when: str) -> None:
    """What is to go into `sub` never lands elsewhere, nor is anything removed there."""
    (tmp_path / "in" / "sub").mkdir()
    video.rename(tmp_path / "in" / "sub" / "c.mp4")
    output = tmp_path / "out"
    output.mkdir()
    (output / "sub").symlink_to(elsewhere)
    if when != "before":
        (output / ".yolo-engine" / "sub").mkdir(parents=True)
        old = {"fingerprint": {}, "attempts": 1, "outputs": {"mot": "sub/c", "x": "sub/precious"}}
        (output / ".yolo-engine" / "sub" / "c.json").write_bytes(packed(old))
    before = _state(elsewhere)
    (entry,) = fake_engine(**SETTINGS).run([tmp_path / "in"], output)["videos"]
    assert entry["status"] == "failed"
    assert "sub is a symbolic link" in entry["error"]
    assert _state(elsewhere) == before


@pytest.mark.parametrize("how", ["run", "work"])
def test_the_output_folder_becomes_a_link_between_two_videos(
    tmp_path: Path, video: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The second one goes nowhere else: its folder is the one that was opened at the beginning."""
    other, output = clip(tmp_path / "in" / "b.mp4", 10), tmp_path / "out"
    commit = attempts.Attempt.commit

    def exchanged(attempt: attempts.Attempt, verdict: dict[str, Any]) -> None:
        commit(attempt, verdict)
        if not output.is_symlink():
            output.rename(tmp_path / "moved")
            output.symlink_to(elsewhere)

    monkeypatch.setattr(attempts.Attempt, "commit", exchanged)
    before = _state(elsewhere)
    entries: list[dict[str, Any]] = []
    with fake_engine(streams=1, **SETTINGS) as engine:
        if how == "run":
            entries = engine.run([video, other], output)["videos"]
        else:
            assigned = [Assignment(fake_video(each)) for each in (video, other)]
            engine.work(assigned, output, done=lambda _, entry: entries.append(entry))
    assert ["moved away" in entry["error"] for entry in entries] == [True, True]
    assert _state(elsewhere) == before


def test_a_link_has_come_into_a_resolved_output(tmp_path: Path, video: Path, elsewhere: Path) -> None:
    """Between the check of a job's folder and the engine's first step."""
    (tmp_path / "shared").symlink_to(elsewhere)
    with fake_engine() as engine, pytest.raises(OutputError, match="leads through a symbolic link"):
        engine.work([], tmp_path / "shared" / "empty", done=lambda *_: None, roots=[video.parent])


# -- files ------------------------------------------------------------------------------------------------------------


def _put(kind: str, path: Path, target: Path) -> None:
    if kind == "link":
        path.symlink_to(target)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()


@pytest.mark.parametrize("kind", ["link", "device", "FIFO"])
@pytest.mark.parametrize(
    "name", ["a.mp4.new", "a.mp4.part", "a.mot.txt.part", "a.mp4", "a.tracks.jsonl", "a.partial.mp4", "manifest.json"]
)
def test_what_is_in_the_place_of_an_output(
    tmp_path: Path, video: Path, elsewhere: Path, kind: str, name: str, same: Same
) -> None:
    """It is replaced where it has a final name, and left alone elsewhere; never followed, never waited for."""
    output = tmp_path / "out"
    output.mkdir()
    _put(kind, output / name, elsewhere / "precious")
    before = _state(elsewhere)
    summary = fake_engine(**SETTINGS).run([video], output)
    assert summary["success"], summary
    assert _state(elsewhere) == before
    for made in ("a.mp4", "a.tracks.jsonl", "a.mot.txt", "manifest.json"):
        assert (output / made).is_file()
        assert not (output / made).is_symlink()
    same(output)


def test_a_folder_in_the_place_of_an_output(tmp_path: Path, video: Path) -> None:
    """It fails before anything has appeared."""
    (tmp_path / "out" / "a.mp4").mkdir(parents=True)
    (entry,) = fake_engine(**SETTINGS).run([video], tmp_path / "out")["videos"]
    assert (entry["status"], entry["outputs"]) == ("failed", {})
    assert "a.mp4 can't be written: is a directory" in entry["error"]
    assert left_over(tmp_path / "out", "a.*") == ["a.mp4"]


@pytest.mark.parametrize("kind", ["link", "device", "FIFO", "folder", "huge"])
@pytest.mark.parametrize("name", ["journal.json", "a.mot.txt.part", "a.mp4.part"])
def test_what_is_in_the_place_of_a_checkpoint(
    tmp_path: Path, video: Path, elsewhere: Path, kind: str, name: str, begun: Begun, same: Same
) -> None:
    """It is damaged: the video is started over. No memory is eaten, nothing is waited for."""
    output = tmp_path / "out"
    begun(output)
    path = attempt(output, "a") / name
    path.unlink()
    if kind == "huge":
        with path.open("wb") as file:
            file.truncate(LARGEST + 1)
    else:
        _put(kind, path, elsewhere / "precious")
    before = _state(elsewhere)
    (entry,) = fake_engine(**SETTINGS).run([video], output)["videos"]
    assert entry["status"] == "ok", entry
    if not (kind == "huge" and name != "journal.json"):
        assert "started over" in str(entry.get("notes")), entry
        same(output)
    assert _state(elsewhere) == before


@pytest.mark.parametrize("made", ["FIFO", "endless"])
def test_sigterm_ends_it(tmp_path: Path, video: Path, made: str, begun: Begun) -> None:
    """Where a journal was a FIFO it once waited for a writer, and heard no signal."""
    output = tmp_path / "out"
    begun(output)
    for name in ("journal.json", "a.mp4.part"):
        path = attempt(output, "a") / name
        path.unlink()
        _put("FIFO" if made == "FIFO" else "device", path, path)
    process = cli("run", video, "--backend", "fake", "--visualize", "-o", output, delay_s=0.2)
    # Once it has begun anew, without what can't be read.
    before = attempt(output, "a")
    until(lambda: attempt(output, "a") != before or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    assert ended(process, 20)[0] == 130


def _wrong(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def put(values: dict[str, Any]) -> None:
        *above, last = key.split(".")
        inner = values
        for part in above:
            inner = inner[part]
        inner[last] = value

    return put


@pytest.fixture
def spoilt(tmp_path: Path, video: Path, begun: Begun, same: Same) -> Spoilt:
    """Runs with a journal that has a right checksum and that nobody of ours has written: the video is started over."""

    def run(spoil: Callable[[dict[str, Any]], None]) -> None:
        output = tmp_path / "out"
        values = begun(output)
        spoil(values)
        (attempt(output, "a") / "journal.json").write_bytes(packed(json.loads(json.dumps(values))))
        assert isinstance(peek(output, PurePosixPath("a")), int)
        (entry,) = fake_engine(**SETTINGS).run([video], output)["videos"]
        assert (entry["status"], entry["frames"]) == ("ok", 40), entry
        same(output)
        assert left_over(output, *TRACES) == []

    return run


@pytest.mark.parametrize("key", ["checkpoint", "outputs", "attempts", "fingerprint", "checkpoint.outputs"])
@pytest.mark.parametrize("value", [None, 7, "x", [], [[]], -1, {"mot": -1}, {"mot": {"offset": "x"}}], ids=repr)
def test_a_journal_of_wrong_types(spoilt: Spoilt, key: str, value: Any) -> None:
    spoilt(_wrong(key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(
            (f"checkpoint.{part}", junk)
            for part in ("frames", "mark", "tracker", "tally")
            for junk in (None, [], "x", 7)
        ),
        ("checkpoint.mark.pts", 1 << 70),
        ("checkpoint.mark.anchors", [[0, 1 << 70]]),
        ("checkpoint.mark.anchors", [[0]]),
        ("checkpoint.mark.audio_time_base", [1, 0]),
        ("checkpoint.mark.frames", 10**9),
        ("checkpoint.tracker.kernel", base64.b64encode(b"x" * 999).decode()),
        ("checkpoint.tracker.class_ids", [1 << 40]),
        ("checkpoint.tracker.scores", "00"),
        ("checkpoint.tally.frames", "7"),
        ("checkpoint.tally.votes", [["a", "b"]]),
        ("checkpoint.tally.tracks_by_class", [[1 << 70, 1]]),
        ("checkpoint.outputs", {}),
        ("checkpoint.outputs.mot.offset", 1 << 60),
        ("outputs.mot", "../../elsewhere/precious"),
        ("outputs.mot", "/etc/passwd"),
    ],
)
def test_a_checkpoint_of_wrong_types(spoilt: Spoilt, elsewhere: Path, key: str, value: Any) -> None:
    before = _state(elsewhere)
    spoilt(_wrong(key, value))
    assert _state(elsewhere) == before


@pytest.mark.parametrize(
    "change",
    [
        {"options": {"crf": "23", "stats": "/tmp/x"}},
        {"options": []},
        {"size_wh": None},
        {"size_wh": [0, 0]},
        {"size_wh": [1 << 40, 2]},
        {"rate": [1, 0]},
        {"time_base": "x"},
        {"colour": {"nothing": 1}},
        {"format": "none"},
        {"extradata": 1},
    ],
    ids=str,
)
def test_a_packet_log_with_a_stranger_s_header(
    tmp_path: Path, video: Path, change: dict[str, Any], begun: Begun, same: Same
) -> None:
    """x264's options may name files: they are never taken from what lies there."""
    output = tmp_path / "out"
    begun(output)
    part = attempt(output, "a") / "a.mp4.part"
    header, text = read_header(part), part.read_bytes()
    size = int.from_bytes(text[34:38], "little")
    body = json.dumps({**header, **change}).encode()
    part.write_bytes(text[:34] + len(body).to_bytes(4, "little") + body + text[38 + size :] + bytes(1000))
    (entry,) = fake_engine(**SETTINGS).run([video], output)["videos"]
    assert entry["status"] == "ok", entry
    assert "started over" in str(entry["notes"])
    same(output)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("entry", junk) for junk in (None, [], {}, "x", {"status": "ok", "frames": 1})),
        *(
            (f"entry.{key}", "x")
            for key in ("frames", "tracks", "detections", "duration_s", "tracks_by_class", "outputs")
        ),
        ("entry.duration_s", float("nan")),
        ("entry.notes", [1]),
        *(("made", junk) for junk in (None, [], {"mot": {}}, {"mot": 7})),
        ("made.mot.path", "../../elsewhere/precious"),
        ("made.mot.name", "../../../../elsewhere/precious"),
        ("made.mot.size", "1"),
        ("made.mot.size", 7),
    ],
)
def test_a_verdict_of_wrong_types(
    tmp_path: Path, video: Path, one_done: tuple[Path, Path], elsewhere: Path, key: str, value: Any, same: Same
) -> None:
    """It is no verdict: the video is done anew."""
    made, second = one_done
    output = Path(shutil.copytree(made, tmp_path / "out"))
    other = Path(shutil.copy2(second, tmp_path / "in"))
    path = attempt(output, "a") / "verdict.json"
    values = unpacked(path.read_bytes())
    _wrong(key, value)(values)
    path.write_bytes(packed(values))
    before = _state(elsewhere)
    first, _ = fake_engine(**SETTINGS).run([video, other], output)["videos"]
    assert (first["status"], first["frames"]) == ("ok", 40)
    assert "done in an earlier run" not in first.get("notes", [])
    same(output)
    assert left_over(output, *TRACES) == []
    assert _state(elsewhere) == before


# -- what the version before this one left ----------------------------------------------------------------------------


def _as_before(output: Path) -> dict[str, Any]:
    """Turns the last attempt's folder into what the version before kept: a journal by the video's name, with parts
    beside the results, made before there were some keys of the configuration."""
    folder = attempt(output, "a")
    values = unpacked((folder / "journal.json").read_bytes())
    for key in ("crops", "blur", "zone"):
        del values["fingerprint"]["configuration"][key]
    (output / ".yolo-engine" / "a.json").write_bytes(packed(values))
    for part in folder.glob("*.part"):
        part.rename(output / part.name)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.parent.rmdir()
    return values


def test_an_old_checkpoint_is_continued(tmp_path: Path, video: Path, begun: Begun, same: Same) -> None:
    output = tmp_path / "out"
    kept = begun(output)["checkpoint"]["frames"]
    _as_before(output)
    assert peek(output, PurePosixPath("a")) == kept > 0
    (entry,) = fake_engine(**SETTINGS).run([video], output)["videos"]
    assert entry["resumed_from"] == kept
    assert "notes" not in entry
    same(output)
    assert left_over(output, *TRACES) == []
    (told,) = json.loads((output / "manifest.json").read_text())["videos"]
    assert told["attempts"] == 2


def test_an_old_checkpoint_is_salvaged(tmp_path: Path, video: Path, begun: Begun) -> None:
    output = tmp_path / "out"
    kept = begun(output)["checkpoint"]["frames"]
    _as_before(output)
    made, _ = salvage(fake_video(video), output)
    assert set(made) == {"tracks", "mot", "video"}
    assert peek(output, PurePosixPath("a")) == kept


def test_an_old_checkpoint_that_was_changed_is_started_over(tmp_path: Path, video: Path, begun: Begun) -> None:
    output = tmp_path / "out"
    begun(output)
    _as_before(output)
    (entry,) = fake_engine(**{**SETTINGS, "max_age": 9}).run([video], output)["videos"]
    assert entry["notes"] == ["started over: the configuration (max_age) has changed since the checkpoint"]
    assert left_over(output, *TRACES) == []


def test_an_old_video_that_was_done_is_not_done_again(tmp_path: Path, video: Path) -> None:
    other = clip(tmp_path / "in" / "b.mp4", 40, seed=2)
    output = tmp_path / "out"
    engine = fake_engine(fail_after=60, streams=1, workers=1, **SETTINGS)
    assert engine.run([video, other], output)["videos"][0]["status"] == "ok"
    folder = attempt(output, "a")
    values = unpacked((folder / "verdict.json").read_bytes())
    sizes = {kind: each["size"] for kind, each in values["made"].items()}
    old = {
        "fingerprint": values["fingerprint"],
        "attempts": 1,
        "outputs": {kind: each["path"] for kind, each in values["made"].items()},
        "done": {"entry": values["entry"], "sizes": sizes},
    }
    attempts.forget(output, PurePosixPath("a"), values["job"])
    (output / ".yolo-engine" / "a.json").write_bytes(packed(old))
    inode = (output / "a.mp4").stat().st_ino
    first, _ = fake_engine(**SETTINGS).run([video, other], output)["videos"]
    assert first["notes"] == ["done in an earlier run"]
    assert (output / "a.mp4").stat().st_ino == inode
    assert left_over(output, *TRACES) == []


def test_a_failure_of_publishing_is_made_up_for(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch, same: Same
) -> None:
    """The disk fails between two outputs: what is committed appears with the next run, and nothing is done again."""
    output, calls = tmp_path / "out", 0
    rename = os.rename

    def fails(source: str, target: str, **at: Any) -> None:
        nonlocal calls
        calls += target.startswith("a.")
        if calls == 2:
            raise OSError(28, "No space left on device")
        rename(source, target, **at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fails)
        (entry,) = fake_engine(**SETTINGS).run([video], output)["videos"]
    assert (entry["status"], "no space left" in entry["error"]) == ("failed", True)
    (entry,) = fake_engine(fail_after=0, **SETTINGS).run([video], output)["videos"]
    assert (entry["status"], entry["notes"]) == ("ok", ["done in an earlier run"])
    same(output)
    assert left_over(output, *TRACES) == []
