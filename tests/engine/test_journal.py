"""The journal is whole or damaged, never half believed; fingerprints tell what has changed."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import PurePosixPath

import numpy as np
import pytest

from engine.errors import LeaseLost
from engine.files.opened import OpenedFile
from engine.media.inputs import Video
from engine.records import Barrier, TrackerState
from engine.resume import fingerprint
from engine.resume.attempts import Attempt, forget, label, peek
from engine.resume.checkpoint import Checkpoint, Checkpoints
from engine.resume.journal import Damaged, packed, unpacked
from engine.sinks.memory import CountersState
from tests.assets import ROOT

VALUES = {
    "fingerprint": {"model": ["é"]},
    "attempts": 2,
    "outputs": {"mot": "sub/a.mot.txt"},
    "checkpoint": {"frames": 7, "outputs": {"mot": {"offset": 3}}},
}
MARK = Barrier(7, 280, 40, 123, 0, 1.5, ((0, 0), (5, 200)), True, 3, 99, (1, 44_100), 1)
STATE = TrackerState("sort", b"\x00tracker", np.array([1, 0], np.int32), np.array([0.1, 1 / 3], np.float32), 280)
TALLY = CountersState(
    frames=7,
    inferred=7,
    detections=9,
    tracks_by_class=[(0, 2)],
    last_pts_s=0.28,
    size_wh=(640, 480),
    votes=[(1, 0, 2.25)],
    steps=7.5,
)


def test_reads_back():
    assert unpacked(packed(VALUES)) == VALUES


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: b"", "not whole"),
        (lambda text: text[:-1], "not whole"),
        (lambda text: b"\xff\xfe" + text, "not whole"),
        (lambda text: b"[1]", "not whole"),
        (lambda text: b"[" * 100_000, "not whole"),
        (lambda text: b'{"schema": 1, "values": 3, "crc32": 0}', "not whole"),
        (lambda text: text.replace(b"attempts", b"attempt5"), "its checksum is wrong"),
        (lambda text: text.replace(b'"schema": 1', b'"schema": 9'), "of schema 9, not 1"),
    ],
)
def test_damaged(damage, said):
    with pytest.raises(Damaged, match=said):
        unpacked(damage(packed(VALUES)))


ENTRY = {
    **{"status": "ok", "error": None, "frames": 7, "inferred_frames": 7, "detections": 9, "tracks": 2},
    **{"tracks_by_class": {"square": 2}, "duration_s": 0.28, "elapsed_s": 1.0, "fps": 7.0, "outputs": {}},
}


def test_how_many_objects_an_entry_tells():
    assert unpacked(packed({**VALUES, "entry": {**ENTRY, "objects": [1, 2]}}))["entry"]["objects"] == [1, 2]
    for wrong in (None, 3, "12", [1], [1, 2, 3], [1, "2"], [-1, 2]):
        with pytest.raises(Damaged, match="its entry"):
            unpacked(packed({**VALUES, "entry": {**ENTRY, "objects": wrong}}))
    with pytest.raises(Damaged, match="its entry"):
        unpacked(packed({**VALUES, "entry": {**ENTRY, "media": 3}}))


JUNK = (None, True, -1, 1 << 70, 1.5, "x", "../x", [], [1], {}, {"mot": 1}, {"mot": "/etc/passwd"}, {"mot": {}})


@pytest.mark.parametrize("key", [*VALUES, "entry", "made", "done"])
def test_a_right_checksum_over_wrong_values(key):
    """Whoever may write there can make a checksum too: it is damaged, or it is what it should be."""
    for junk in JUNK:
        try:
            values = unpacked(packed({**VALUES, key: junk}))
        except Damaged:
            continue
        assert isinstance(junk, dict), f"{key} = {junk!r} was believed"
        assert key == "fingerprint" or (key, junk) == ("made", {}), f"{key} = {junk!r} was believed"
        assert values[key] == junk
    for junk in JUNK:
        if not isinstance(junk, dict):
            with pytest.raises(Damaged):
                unpacked(packed(junk))


@pytest.mark.parametrize("key", ["trails", "labels", "scene"])
def test_what_an_annotated_video_keeps(key):
    """A checkpoint of before has none of it; what is there is of its type."""
    right = {"trails": [[1.0, 2.0]], "labels": [[1, -1]], "scene": {"first_s": 0.5}}
    assert unpacked(packed(_with_state(right))) == _with_state(right)
    for junk in (None, 7, "x", [[None]], [7], [["1"]], [[True]]):
        with pytest.raises(Damaged):
            unpacked(packed(_with_state({key: junk})))


def _with_state(more):
    return {**VALUES, "checkpoint": {"frames": 7, "outputs": {"mot": {"offset": 3, **more}}}}


def test_every_flipped_byte_is_noticed_or_harmless():
    text = packed(VALUES)
    for place in range(len(text)):
        try:
            values = unpacked(text[:place] + bytes([text[place] ^ 4]) + text[place + 1 :])
        except Damaged:
            continue
        assert values == VALUES, place


def test_peeking_loads_nothing_heavy():
    code = "import sys, engine.resume.attempts; print([m for m in ('av', 'numpy', 'onnxruntime') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "[]\n"


def test_a_checkpoint_reads_back_to_the_last_bit():
    given = Checkpoint(MARK, STATE, TALLY, {"mot": {"offset": 12}})
    read = Checkpoint.from_json(json.loads(json.dumps(given.to_json())))
    assert read.mark == MARK
    assert read.frames == 7
    assert (read.tally, read.outputs) == (given.tally, given.outputs)
    assert (read.tracker.name, read.tracker.kernel, read.tracker.pts) == (STATE.name, STATE.kernel, STATE.pts)
    for ours, theirs in ((read.tracker.class_ids, STATE.class_ids), (read.tracker.scores, STATE.scores)):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


def test_a_checkpoint_of_an_older_version_is_read():
    values = json.loads(json.dumps(Checkpoint(MARK, STATE, TALLY, {}).to_json()))
    for key in ("without_area", "non_finite", "first_pts_s", "last_duration_s", "size_wh"):
        del values["tally"][key]
    for key in ("origin", "tail"):
        del values["mark"][key]
    assert Checkpoint.from_json(values).tally == replace(TALLY, size_wh=None)


def test_a_checkpoint_of_wrong_types_is_a_value_error():
    """Each value in it, at any depth, replaced by each kind of junk."""
    whole = json.loads(json.dumps(Checkpoint(MARK, STATE, TALLY, {}).to_json()))

    def places(value, path=()):
        yield path
        for key, inner in (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        ):
            yield from places(inner, (*path, key))

    for path in list(places(whole))[1:]:
        for junk in (None, "x", [], {}, [[]], -1, 1.5, 1 << 80, float("inf")):
            values = json.loads(json.dumps(whole))
            inner = values
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = junk
            try:
                found = Checkpoint.from_json(values)
            except (ValueError, TypeError, KeyError, OverflowError):
                continue
            assert isinstance(found.mark, Barrier)
            assert abs(found.mark.pts) < 1 << 63


@pytest.fixture
def begun(tmp_path):
    """Makes the checkpoints of one video, begun; with a fence, if given."""
    video = tmp_path / "a.mp4"
    video.write_bytes(b"video")
    (tmp_path / "out").mkdir()

    def make(parts=None, fence=lambda: None, count=None):
        shared = {"model": ["m"], "configuration": {"conf": 0.25}, "versions": {"av": "1"}, **(parts or {})}
        attempt = Attempt(tmp_path / "out", PurePosixPath("a"), fence=fence)
        attempt.begin()
        outputs = {"mot": tmp_path / "out" / "a.mot.txt"}
        made = Checkpoints(Video(str(video), PurePosixPath("a")), attempt, shared, outputs, classes=2, count=count)
        made.begin()
        return made

    return make


def test_attempts_are_counted_before_anything_else(begun, tmp_path):
    assert [begun().attempts for _ in range(3)] == [1, 2, 3]
    assert begun(count=9).attempts == 9
    forget(tmp_path / "out", PurePosixPath("a"), "")
    assert os.listdir(tmp_path / "out") == []
    assert begun().attempts == 1


def test_a_checkpoint_is_kept_once_all_outputs_are_durable(begun, tmp_path):
    durable = {"mot": None}
    checkpoints = begun()
    checkpoints.take(MARK, STATE, TALLY, {"mot": lambda: durable["mot"]})
    checkpoints.settle()
    assert checkpoints.saved is None
    assert peek(tmp_path / "out", PurePosixPath("a")) == 0
    durable["mot"] = {"offset": 5}
    checkpoints.settle()
    assert checkpoints.saved.frames == peek(tmp_path / "out", PurePosixPath("a")) == 7
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
    checkpoints.take(MARK, STATE, TALLY, {"mot": lambda: {"offset": 0}})
    checkpoints.settle()
    part = tmp_path / "out" / ".yolo-engine" / label(PurePosixPath("a")) / "1" / "a.mot.txt.part"
    part.write_text("")
    again = begun(parts)
    assert (again.saved is None) == (note is not None)
    assert again.notes == ([f"started over: {note} changed since the checkpoint"] if note else [])
    assert part.exists() == (note is None)
    if note is None:
        assert again.part("mot").samefile(part)


def test_a_lost_lease_leaves_no_trace(begun, tmp_path):
    def fence():
        raise LeaseLost("lost")

    checkpoints = begun()
    folder = tmp_path / "out" / ".yolo-engine" / label(PurePosixPath("a"))
    with pytest.raises(LeaseLost):
        begun(fence=fence)
    assert sorted(os.listdir(folder)) == ["1"]
    assert sorted(os.listdir(folder / "1")) == ["journal.json", "ticket"], "nothing was taken from the first"
    checkpoints.take(MARK, STATE, TALLY, {"mot": lambda: {"offset": 0}})
    checkpoints.settle()
    assert checkpoints.saved is not None


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
