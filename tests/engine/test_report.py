"""The summary, key by key as documented, and the manifest."""

import hashlib
import json
import os
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest

from engine import results as report
from engine.config import EngineConfig
from engine.errors import OutputError
from engine.files.folders import Folder
from engine.files.opened import OpenedFile
from engine.inference.backends.fake import FakeBackend, fake_manifest
from engine.inference.layouts import get_layout
from engine.inference.model import LoadedModel
from engine.inference.tensor_shape import TensorShape
from engine.media.inputs import Video
from engine.pipeline.stream import Outcome
from engine.sinks.memory import Counters
from engine.summary import RunSummary, VideoResult, VideoStatus

MODEL = LoadedModel(
    fake_manifest(), FakeBackend(), get_layout("end2end"), TensorShape((128, 128), 32, rect=True), "ab" * 32
)
VIDEO_KEYS = (
    "path status error frames inferred_frames detections tracks tracks_by_class duration_s elapsed_s fps outputs stem"
).split()


def outcome(status=VideoStatus.OK, error=None, *, frames=10, tracks=None, path="a.mp4", elapsed_s=2.0, **rest):
    tally = Counters()
    tally.frames, tally.inferred, tally.detections = frames, frames // 2, 3 * frames
    tally.ended_by_class = Counter(tracks if tracks is not None else {0: 4})
    return Outcome(0, Video(path, PurePosixPath("a")), VideoStatus(status), error, elapsed_s, tally, 0.4, **rest)


def test_the_summary_is_the_documented_one():
    done = outcome(outputs={"tracks": "out/a.tracks.jsonl"})
    summary = report.summarise([done], MODEL, 2.5).to_json()
    assert summary == {
        "schema": 1,
        "success": True,
        "videos": [
            {
                "path": "a.mp4",
                "stem": "a",
                "status": "ok",
                "error": None,
                "frames": 10,
                "inferred_frames": 5,
                "detections": 30,
                "tracks": 4,
                "tracks_by_class": {"square": 4},
                "duration_s": 0.4,
                "elapsed_s": 2.0,
                "fps": 5.0,
                "outputs": {"tracks": "out/a.tracks.jsonl"},
            }
        ],
        "totals": {
            "videos": 1, "failed": 0, "partial": 0, "frames": 10, "detections": 30, "tracks": 4, "elapsed_s": 2.5,
            "fps": 4.0,
        },
        "model": {"name": "fake", "sha256": "ab" * 32},
        "backend": {"name": "fake", "provider": "fake", "device": "cpu", "why": None, "precision": "f32"},
    }  # fmt: skip
    assert list(summary["videos"][0]) == VIDEO_KEYS
    assert json.loads(json.dumps(summary)) == summary


@pytest.mark.parametrize(
    ("statuses", "success", "failed", "partial"),
    [
        (["ok", "ok"], True, 0, 0),
        (["ok", "failed"], False, 1, 0),
        (["partial", "ok"], False, 0, 1),
        (["failed", "partial", "failed"], False, 2, 1),
    ],
)
def test_success(statuses, success, failed, partial):
    summary = report.summarise([outcome(status) for status in statuses], MODEL, 1.0).to_json()
    assert summary["success"] is success
    assert (summary["totals"]["failed"], summary["totals"]["partial"]) == (failed, partial)
    assert summary["totals"]["videos"] == len(statuses)
    assert summary["totals"]["frames"] == 10 * len(statuses)


def test_a_failed_video_without_a_frame():
    (video,) = report.summarise([outcome("failed", "no", frames=0, tracks={}, elapsed_s=0.0)], MODEL, 0.0).to_json()[
        "videos"
    ]
    assert (video["error"], video["frames"], video["fps"], video["tracks_by_class"]) == ("no", 0, 0.0, {})


def test_notes_and_dropped_frames_only_where_there_are_some():
    done = outcome(notes=["audio left out"], dropped=3)
    (video,) = report.summarise([done], MODEL, 1.0).to_json()["videos"]
    assert (video["notes"], video["dropped_frames"]) == (["audio left out"], 3)


def test_classes_of_one_name_are_added_up():
    video = report.entry_of(outcome(tracks={0: 4, 1: 2, 2: 1}), ("car", "person", "car"))
    assert video.tracks_by_class == {"car": 5, "person": 2}
    assert video.tracks == 7


def test_passwords_are_not_in_it():
    done = outcome(path="rtsp://me:secret@camera/1")
    assert report.summarise([done], MODEL, 1.0).to_json()["videos"][0]["path"] == "rtsp://***@camera/1"


def test_manifest():
    summary = report.summarise([outcome(), outcome(path="b.mp4")], MODEL, 1.0).to_json()
    identity = {"size_bytes": 3, "sha256": "00"}
    config = EngineConfig(conf=0.5)
    manifest = report.build_manifest(summary, config, {"a.mp4": identity}, "2024-01-01T00:00:00+00:00")
    assert [video["input"] for video in manifest["videos"]] == [identity, None]
    assert [video["attempts"] for video in manifest["videos"]] == [1, 1]
    assert manifest["config"] == json.loads(config.model_dump_json())
    assert manifest["started_at"] == "2024-01-01T00:00:00+00:00"
    for key in ("schema", "success", "totals", "model", "backend"):
        assert manifest[key] == summary[key]
    assert {"python", "platform", "av", "numpy"} <= set(manifest["versions"])
    other = report.build_manifest(summary, EngineConfig(conf=0.6), {}, "")
    assert manifest["config_sha256"] != other["config_sha256"]
    assert manifest["config_sha256"] == report.build_manifest(summary, EngineConfig(conf=0.5), {}, "")["config_sha256"]
    assert "input" not in summary["videos"][0]  # the summary is left alone


@pytest.mark.parametrize("value", [{"name": "vídeo"}, {"name": "not utf-8: \udcff"}, {"n": [1, None, True]}])
def test_write_json_reads_back(tmp_path, value):
    path = tmp_path / "a.json"
    with Folder.at(tmp_path) as folder:
        report.write_json(folder, "a.json", value)
    assert json.loads(path.read_text(encoding="utf-8")) == value
    assert os.listdir(tmp_path) == ["a.json"]


def test_names_stay_readable(tmp_path):
    with Folder.at(tmp_path) as folder:
        report.write_json(folder, "a.json", "vídeo")
    assert "vídeo" in (tmp_path / "a.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("broken", ["fsync", "rename"])
def test_write_json_is_whole_or_not_at_all(tmp_path, monkeypatch, broken):
    path = tmp_path / "a.json"

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    with Folder.at(tmp_path) as folder:
        report.write_json(folder, "a.json", "old")
        monkeypatch.setattr(f"os.{broken}", fail)
        with pytest.raises(OutputError, match=r"a\.json can't be written: no space left on the disk\."):
            report.write_json(folder, "a.json", "new")
    assert json.loads(path.read_text()) == "old"
    assert os.listdir(tmp_path) == ["a.json"]


def test_write_json_leaves_nothing_of_what_is_no_json(tmp_path):
    with Folder.at(tmp_path) as folder, pytest.raises(TypeError):
        report.write_json(folder, "a.json", {"a": object()})
    assert os.listdir(tmp_path) == []


def test_file_identity(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    with OpenedFile(str(path)) as file:
        path.rename(tmp_path / "b")
        path.write_bytes(b"another")
        assert report.file_identity(file) == {"size_bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
        assert report.file_identity(file, lambda: True) is None


GOLDEN = Path(__file__).with_name("golden")


def golden_results():
    plain = outcome(outputs={"tracks": "out/a.tracks.jsonl"})
    full = outcome(
        "partial", "interrupted after 10 frames", path="b.mp4", outputs={}, notes=["audio left out"], dropped=3,
        resumed_from=4, done_before=4, offset_s=0.12345678, segments=[{"path": "b-1.mp4", "frames": 5}],
        sequence={"camera": "b", "offset_s": 1.5, "joined": True},
    )  # fmt: skip
    full.tally.without_area = 2
    return [plain, full]


def test_the_json_of_a_summary_is_the_one_that_was_kept():
    found = report.summarise(golden_results(), MODEL, 2.5).to_json()
    text = (GOLDEN / "summary.json").read_text()
    assert json.dumps(found, indent=2) + "\n" == text  # the order of the keys as well
    assert RunSummary.from_json(json.loads(text)).to_json() == found


def test_a_result_of_another_version_is_read():
    result = VideoResult.from_json({"path": "a", "status": "ok", "frames": 3, "colour": "blue"})
    assert (result.status, result.frames, result.notes, result.others) == (VideoStatus.OK, 3, [], {"colour": "blue"})
    assert result.to_json()["colour"] == "blue"
    with pytest.raises(ValueError, match="lost"):
        VideoResult.from_json({"path": "a", "status": "lost"})
