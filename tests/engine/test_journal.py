"""The journal is whole or damaged, never half believed; fingerprints tell what has changed."""

import json
import os
import subprocess
import sys
import threading
from pathlib import PurePosixPath

import numpy as np
import pytest

from engine import fingerprint
from engine.checkpoint import Checkpoint, Checkpoints
from engine.errors import Fenced, SinkError
from engine.inputs import Video
from engine.journal import Damaged, Journal, clean, peek
from engine.opened import OpenedFile
from engine.records import Mark, TrackerState
from tests.assets import ROOT

STEM = PurePosixPath("sub/a")
VALUES = {"fingerprint": {"model": ["é"]}, "attempts": 2, "checkpoint": {"frames": 7}}
MARK = Mark(7, 280, 40, 123, 0, 1.5, ((0, 0), (5, 200)), True, 3, 99, (1, 44_100), 1)
STATE = TrackerState(b"\x00tracker", np.array([1, 0], np.int32), np.array([0.1, 1 / 3], np.float32))


def written(folder):
    journal = Journal(folder, STEM)
    journal.values = VALUES
    journal.write()
    return folder / ".yolo-engine" / "sub" / "a.json"


def test_reads_back(tmp_path):
    path = written(tmp_path)
    assert os.listdir(path.parent) == ["a.json"]
    journal = Journal(tmp_path, STEM)
    assert journal.read()
    assert journal.values == VALUES
    assert peek(tmp_path, STEM) == 7
    assert peek(tmp_path, PurePosixPath("b")) == 0
    assert not Journal(tmp_path, PurePosixPath("b")).read()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: b"", "not whole"),
        (lambda text: text[:-1], "not whole"),
        (lambda text: b"\xff\xfe" + text, "not whole"),
        (lambda text: b"[1]", "not whole"),
        (lambda text: b'{"schema": 1, "values": 3, "crc32": 0}', "not whole"),
        (lambda text: text.replace(b"attempts", b"attempt5"), "its checksum is wrong"),
        (lambda text: text.replace(b'"schema": 1', b'"schema": 9'), "of schema 9, not 1"),
    ],
)
def test_damaged(tmp_path, damage, said):
    path = written(tmp_path)
    path.write_bytes(damage(path.read_bytes()))
    journal = Journal(tmp_path, STEM)
    with pytest.raises(Damaged, match=said):
        journal.read()
    assert journal.values == {}
    assert peek(tmp_path, STEM) == 0


def test_every_flipped_byte_is_noticed_or_harmless(tmp_path):
    path = written(tmp_path)
    text = path.read_bytes()
    for place in range(len(text)):
        path.write_bytes(text[:place] + bytes([text[place] ^ 4]) + text[place + 1 :])
        journal = Journal(tmp_path, STEM)
        try:
            journal.read()
        except Damaged:
            continue
        assert journal.values == VALUES, place


def test_remove_takes_empty_folders_along(tmp_path):
    written(tmp_path)
    other = Journal(tmp_path, PurePosixPath("b"))
    other.write()
    Journal(tmp_path, STEM).remove()
    assert os.listdir(tmp_path / ".yolo-engine") == ["b.json"]
    other.remove()
    other.remove()  # twice is no fault
    assert os.listdir(tmp_path) == []


def test_a_folder_that_others_remove_is_made_again(tmp_path):
    failed = []

    def write_and_remove(name):
        for _ in range(400):
            try:
                Journal(tmp_path, PurePosixPath(name)).write()
            except SinkError as error:
                failed.append(error)
            Journal(tmp_path, PurePosixPath(name)).remove()

    threads = [threading.Thread(target=write_and_remove, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_clean_takes_what_killed_writers_left(tmp_path):
    path = written(tmp_path)
    path.with_name("a.json.0badcafe.tmp").write_text("of a killed write")
    clean(tmp_path)
    assert os.listdir(path.parent) == ["a.json"]
    Journal(tmp_path, STEM).remove()
    path.parent.mkdir(parents=True)
    path.with_name("a.json.0badcafe.tmp").write_text("of a killed write")
    clean(tmp_path)
    clean(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_write_that_fails_keeps_the_old(tmp_path, monkeypatch):
    path = written(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    journal = Journal(tmp_path, STEM)
    with pytest.raises(SinkError, match=r"\.yolo-engine/a\.json can't be written: no space left on the disk"):
        journal.write()
    assert os.listdir(path.parent) == ["a.json"]
    assert peek(tmp_path, STEM) == 7


def test_peeking_loads_nothing_heavy():
    code = "import sys, engine.journal; print([m for m in ('av', 'numpy', 'onnxruntime') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


def test_a_checkpoint_reads_back_to_the_last_bit():
    given = Checkpoint(MARK, STATE, {"frames": 7}, {"mot": {"offset": 12}})
    read = Checkpoint.from_json(json.loads(json.dumps(given.to_json())))
    assert read.mark == MARK
    assert read.frames == 7
    assert (read.tally, read.outputs) == (given.tally, given.outputs)
    assert read.tracker.sort == STATE.sort
    for ours, theirs in ((read.tracker.class_ids, STATE.class_ids), (read.tracker.scores, STATE.scores)):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


@pytest.fixture
def begun(tmp_path):
    """Makes the checkpoints of one video, begun; with a fence, if given."""
    video = tmp_path / "a.mp4"
    video.write_bytes(b"video")

    def make(parts=None, fence=lambda: None, attempt=None):
        shared = {"model": ["m"], "configuration": {"conf": 0.25}, "versions": {"av": "1"}, **(parts or {})}
        outputs = {"mot": tmp_path / "a.mot.txt"}
        made = Checkpoints(
            Video(str(video), PurePosixPath("a")), tmp_path, shared, outputs, attempt=attempt, fence=fence
        )
        made.begin()
        return made

    return make


def test_attempts_are_counted_before_anything_else(begun):
    assert [begun().attempts for _ in range(3)] == [1, 2, 3]
    assert begun(attempt=9).attempts == 9
    begun().forget()
    assert begun().attempts == 1


def test_a_checkpoint_is_kept_once_all_outputs_are_durable(begun):
    durable = {"mot": None}
    checkpoints = begun()
    checkpoints.take(MARK, STATE, {}, {"mot": lambda: durable["mot"]})
    checkpoints.settle()
    assert checkpoints.saved is None
    assert begun().saved is None
    durable["mot"] = {"offset": 5}
    checkpoints.settle()
    assert checkpoints.saved.frames == 7
    assert begun().saved.outputs == {"mot": {"offset": 5}}


@pytest.mark.parametrize(
    ("parts", "note"),
    [
        ({}, None),
        ({"model": ["other"]}, "the model has"),
        ({"configuration": {"conf": 0.5}}, "the configuration (conf) has"),
        ({"versions": {"av": "2", "numpy": "3"}}, "the software (av 1 -> 2, numpy absent -> 3) has"),
        ({"model": [], "versions": {}}, "the model and the software (av 1 -> absent) have"),
    ],
)
def test_what_has_changed_is_told(begun, tmp_path, parts, note):
    checkpoints = begun()
    checkpoints.take(MARK, STATE, {}, {"mot": lambda: {"offset": 0}})
    checkpoints.settle()
    (tmp_path / "a.mot.txt.part").write_text("")
    again = begun(parts)
    assert (again.saved is None) == (note is not None)
    assert again.notes == ([f"started over: {note} changed since the checkpoint"] if note else [])
    assert (tmp_path / "a.mot.txt.part").exists() == (note is None)


def test_a_lost_lease_writes_nothing(begun, tmp_path):
    def fence():
        raise Fenced("lost")

    begun()
    before = (tmp_path / ".yolo-engine" / "a.json").read_bytes()
    with pytest.raises(Fenced):
        begun(fence=fence)
    assert (tmp_path / ".yolo-engine" / "a.json").read_bytes() == before


def test_of_input(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(bytes(300_000))

    def now():
        with OpenedFile(str(path)) as file:
            return fingerprint.of_input(file)

    first = now()
    assert now() == first
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    for place in (0, 65_535, 299_999):
        changed = bytearray(300_000)
        changed[place] = 1
        path.write_bytes(changed)
        os.utime(path, ns=times)  # as a copying program may leave it
        assert now() != first
    assert fingerprint.of_input(None) == {"input": None}
