"""A run that was killed goes on at its last checkpoint, and its results are those of a run that was not."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import av
import pytest

from engine import EngineConfig
from engine.engine import Engine
from engine.errors import BackendError, LeaseLost, SinkError
from engine.media.inputs import Video
from engine.pipeline import reader
from engine.pipeline.assignment import Assignment
from engine.pipeline.reader import StreamReader
from engine.resume import attempts, fingerprint
from engine.resume.attempts import peek
from engine.resume.journal import packed, unpacked
from engine.resume.partial_outputs import salvage
from tests.assets import demo_video, require_asset
from tests.e2e.clips import Shot, joined, make
from tests.e2e.runs import attempt, cli, clip, ended, engine_threads, fake_engine, frames_in, left_over, rows
from tests.waiting import until

pytestmark = pytest.mark.timeout(120)

FRAMES = 160
TRACES = ("*.part", "*.new", "*.tmp", ".write-test-*", ".yolo-engine*")
EVERYTHING = {"visualize": True, "formats": ("tracks", "mot", "detections")}
COUNTS = ("status", "error", "frames", "inferred_frames", "detections", "tracks", "tracks_by_class", "duration_s")

_X264 = "bframes=3:keyint=30:min-keyint=30:b-adapt=0:scenecut=0"
_B_FRAMES = {"x264-params": _X264}


def _shot(**given: Any) -> Shot:
    return Shot(**{"frames": FRAMES, "options": _B_FRAMES, **given})


SHOTS = {
    "closed": _shot(audio="aac"),
    "open": _shot(options={"x264-params": f"{_X264}:open-gop=1"}, audio="mp3"),
    "fragmented": _shot(muxer_options={"movflags": "frag_keyframe+empty_moov"}, audio="aac"),
    "mkv": _shot(suffix=".mkv", audio="aac"),
    "avi": _shot(suffix=".avi", codec="mpeg4", options={"bf": "2"}),
    "ts": _shot(suffix=".ts", muxer="mpegts", audio="aac"),
    "vfr": _shot(pts=[40 * i + (7 * i * i) % 31 for i in range(FRAMES)], time_base=Fraction(1, 1000)),
    "rotated": _shot(matrix=(0, 1, -1, 0), audio="aac", audio_start_s=0.5),
}


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("shots")
    made = {name: make(folder, shot, name).path for name, shot in SHOTS.items()}
    half = Shot(suffix=".ts", muxer="mpegts", frames=80, options=_B_FRAMES, audio="aac")
    later = replace(half, pts=range(2_500, 2_580), audio_start_s=100.0)
    made["stepped"] = joined(folder / "stepped.ts", make(folder, later, "later"), make(folder, half, "half")).path
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """The entry of an uninterrupted run of a video with some settings; each is run once."""
    known: dict[str, dict[str, Any]] = {}

    def entry(video: Path, **settings: Any) -> dict[str, Any]:
        key = f"{video} {settings}"
        if key not in known:
            known[key] = fake_engine(**settings).run([video], tmp_path_factory.mktemp("whole"))["videos"][0]
        return known[key]

    return entry


def _packets(path: str) -> dict[str, list[Any]]:
    """Times of the pictures, and times and bytes of the sound."""
    found: dict[str, list[Any]] = {"video": [], "audio": []}
    with av.open(path) as container:
        for packet in container.demux():
            if packet.size:
                sound = bytes(packet) if packet.stream.type == "audio" else None
                found[packet.stream.type].append((packet.pts, packet.dts, packet.duration, sound))
    return found


def _assert_same(entry: dict[str, Any], reference: dict[str, Any]) -> None:
    assert {key: entry[key] for key in COUNTS} == {key: reference[key] for key in COUNTS}
    assert set(entry["outputs"]) == set(reference["outputs"])
    for kind, path in reference["outputs"].items():
        if kind == "video":
            assert _packets(entry["outputs"][kind]) == _packets(path)
            assert frames_in(Path(entry["outputs"][kind])) == reference["frames"]
        else:
            assert Path(entry["outputs"][kind]).read_bytes() == Path(path).read_bytes(), kind


def _break_off(inputs: list[Path], output: Path, after: int, **settings: Any) -> None:
    """A run that ends in the middle, after so many inferences. Beyond its last checkpoint, its parts hold more."""
    given = {"workers": 1, **settings}
    delay_s = 0.004 * (1 + given.get("skip_frames", 0))
    summary = fake_engine(fail_after=after, checkpoint_s=0.03, delay_s=delay_s, **given).run(inputs, output)
    assert "told to fail" in summary["videos"][-1]["error"]


@pytest.mark.parametrize("skip_frames", [0, 2])
@pytest.mark.parametrize("name", [*SHOTS, "stepped"])
def test_broken_off_several_times(
    shots: dict[str, Path], whole: Callable[..., Any], tmp_path: Path, name: str, skip_frames: int
) -> None:
    settings = {**EVERYTHING, "skip_frames": skip_frames}
    chance = random.Random(f"{name} {skip_frames}")
    for _ in range(3):
        _break_off([shots[name]], tmp_path, chance.randrange(30, 50) // (1 + skip_frames), **settings)
    kept = peek(tmp_path, PurePosixPath(name))
    assert kept > 0
    (entry,) = fake_engine(**settings).run([shots[name]], tmp_path)["videos"]
    _assert_same(entry, whole(shots[name], **settings))
    assert entry["resumed_from"] == kept
    assert entry.get("notes") == whole(shots[name], **settings).get("notes")
    (told,) = json.loads((tmp_path / "manifest.json").read_text())["videos"]
    assert (told["attempts"], told["resumed_from"]) == (4, kept)
    assert left_over(tmp_path, *TRACES) == []
    assert engine_threads() == []


@pytest.mark.parametrize("tracker", ["bytetrack", "ocsort", "cbiou"])
def test_each_tracker_goes_on_where_it_was(
    shots: dict[str, Path], whole: Callable[..., Any], tmp_path: Path, tracker: str
) -> None:
    """Also between frames of varying length, of which some are not inferred."""
    settings = {"visualize": False, "tracker": tracker, "min_hits": None, "skip_frames": 1, "store_conf": 0.1}
    if tracker == "ocsort":
        settings |= {"min_hits": 1, "use_byte": True}
    _break_off([shots["vfr"]], tmp_path, 20, **settings)
    assert peek(tmp_path, PurePosixPath("vfr")) > 0
    (entry,) = fake_engine(**settings).run([shots["vfr"]], tmp_path)["videos"]
    _assert_same(entry, whole(shots["vfr"], **settings))
    assert entry["resumed_from"]
    assert set(entry["outputs"]) == {"tracks", "mot", "store"}


@pytest.mark.parametrize("name", ["closed", "mkv", "ts", "stepped"])
def test_a_part_of_a_video_broken_off(
    shots: dict[str, Path], whole: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    settings = {**EVERYTHING, "start_s": 1.3, "end_s": 4.5, "skip_frames": 1}
    for after in (12, 8):
        _break_off([shots[name]], tmp_path, after, **settings)
    kept = peek(tmp_path, PurePosixPath(name))
    assert kept > 33
    (entry,) = fake_engine(**settings).run([shots[name]], tmp_path)["videos"]
    assert (entry["frames"], entry["resumed_from"]) == (80, kept)
    _assert_same(entry, whole(shots[name], **settings))
    assert [row["frame"] for row in rows(Path(entry["outputs"]["detections"]))] == list(range(33, 113, 2))


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """How each search for a checkpoint's frame went: over a key frame or from the beginning, and whether it was met."""
    found: list[tuple[bool, bool]] = []
    original = StreamReader.passes

    def passes(self: StreamReader, mark: Any, anchor: Any) -> bool:
        met = original(self, mark, anchor)
        found.append((anchor is not None, met))
        return met

    monkeypatch.setattr(StreamReader, "passes", passes)
    return found


@pytest.mark.parametrize("name", SHOTS)
def test_the_short_way_where_the_container_has_an_index(
    shots: dict[str, Path], tmp_path: Path, ways: list[tuple[bool, bool]], name: str
) -> None:
    _break_off([shots[name]], tmp_path, 120)
    fake_engine().run([shots[name]], tmp_path)
    assert ways == [(name not in ("avi", "ts"), True)]


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_short_way_that_leads_astray(
    shots: dict[str, Path],
    whole: Callable[..., Any],
    tmp_path: Path,
    ways: list[tuple[bool, bool]],
    monkeypatch: pytest.MonkeyPatch,
    shift: int,
) -> None:
    """Counted from a wrong place, another frame than the checkpoint's is met: the long way is taken."""
    original = reader.anchor_of

    def wrong(*given: Any) -> Any:
        index, pts = original(*given)
        return index + shift, pts

    _break_off([shots["closed"]], tmp_path, 120, **EVERYTHING)
    monkeypatch.setattr(reader, "anchor_of", wrong)
    (entry,) = fake_engine(**EVERYTHING).run([shots["closed"]], tmp_path)["videos"]
    assert ways == [(True, False), (False, True)]
    assert entry["resumed_from"] > 0
    _assert_same(entry, whole(shots["closed"], **EVERYTHING))


def test_pictures_that_are_not_those_before(shots: dict[str, Path], tmp_path: Path, whole: Callable[..., Any]) -> None:
    """The file seems the same, but its frame is another: no way leads there."""
    _break_off([shots["closed"]], tmp_path, 120)
    journal = attempt(tmp_path, "closed") / "journal.json"
    values = unpacked(journal.read_bytes())
    values["checkpoint"]["mark"]["crc"] ^= 1
    journal.write_bytes(packed(values))
    (entry,) = fake_engine().run([shots["closed"]], tmp_path)["videos"]
    assert entry["notes"] == ["started over: the video decodes to different frames than before the checkpoint"]
    _assert_same(entry, whole(shots["closed"]))


def _other_input(video: Path, output: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    os.utime(video, (1, 1))
    return {}


def _other_model(video: Path, output: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = fingerprint.of_run
    patch.setattr(fingerprint, "of_run", lambda config, model, *rest: {**original(config, model), "model": ["other"]})
    return {}


def _other_versions(video: Path, output: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    original = fingerprint.versions
    patch.setattr(fingerprint, "versions", lambda: {**original(), "av": "0.0"})
    return {}


def _other_settings(video: Path, output: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"max_age": 11}


def _damaged_journal(video: Path, output: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    path = attempt(output, "a") / "journal.json"
    path.write_bytes(path.read_bytes()[:-40])
    return {}


def _missing_part(video: Path, output: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    (attempt(output, "a") / "a.mot.txt.part").unlink()
    return {}


def _short_part(video: Path, output: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    os.truncate(attempt(output, "a") / "a.mp4.part", 100)
    return {}


def _other_encoder(video: Path, output: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr("engine.sinks.video.AnnotatedVideo.extradata", lambda self: "00")
    return {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_other_input, "the input has changed since the checkpoint"),
        (_other_model, "the model has changed since the checkpoint"),
        (_other_versions, f"the software (av {av.__version__} -> 0.0) has changed since the checkpoint"),
        (_other_settings, "the configuration (max_age) has changed since the checkpoint"),
        (_damaged_journal, "the journal is damaged (not whole)"),
        (_missing_part, "a.mot.txt.part no longer exists"),
        (_short_part, "a.mp4.part is shorter than at the checkpoint"),
        (_other_encoder, "the encoder of the annotated video has changed since the checkpoint"),
    ],
)
def test_what_has_changed_is_started_over(
    tmp_path: Path,
    whole: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[..., dict[str, Any]],
    said: str,
) -> None:
    video = clip(tmp_path / "a.mp4", 60)
    _break_off([video], tmp_path / "out", 40, visualize=True)
    settings = change(video, tmp_path / "out", monkeypatch)
    (entry,) = fake_engine(visualize=True, **settings).run([video], tmp_path / "out")["videos"]
    assert entry["notes"] == [f"started over: {said}"]
    assert "resumed_from" not in entry
    _assert_same(entry, whole(video, visualize=True, **settings))
    assert left_over(tmp_path / "out", *TRACES) == []


def test_what_changes_no_result_is_no_reason(tmp_path: Path, whole: Callable[..., Any]) -> None:
    video = clip(tmp_path / "a.mp4", 60)
    _break_off([video], tmp_path / "out", 40, batch=1)
    (entry,) = fake_engine(workers=3, batch=4, streams=1, window=3).run([video], tmp_path / "out")["videos"]
    assert entry["resumed_from"] > 0
    _assert_same(entry, whole(video))


def test_parts_of_formats_no_longer_wanted_go(tmp_path: Path) -> None:
    video = clip(tmp_path / "a.mp4", 60)
    _break_off([video], tmp_path / "out", 40, **EVERYTHING)
    fake_engine(formats=("mot",)).run([video], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mot.txt", "manifest.json"]


def test_a_folder_of_which_some_were_done(tmp_path: Path, whole: Callable[..., Any]) -> None:
    """The first is not done again; the second goes on; the third is begun; a run after that does everything anew."""
    videos = [clip(tmp_path / "in" / "sub" / f"{name}.mp4", 50, seed=ord(name)) for name in "abc"]
    out = tmp_path / "out"
    _break_off([tmp_path / "in"], out, 85, streams=1, visualize=True)
    before = (out / "sub" / "a.mp4").stat()
    summary = fake_engine(streams=1, visualize=True).run([tmp_path / "in"], out)
    assert summary["success"]
    a, b, c = summary["videos"]
    assert a["notes"] == ["done in an earlier run"]
    assert (out / "sub" / "a.mp4").stat().st_mtime_ns == before.st_mtime_ns
    assert b["resumed_from"] > 0
    assert "resumed_from" not in c
    for entry, video in zip((a, b, c), videos, strict=True):
        _assert_same(entry, whole(video, visualize=True))
    assert summary["totals"]["frames"] == 150
    told = json.loads((out / "manifest.json").read_text())["videos"]
    assert [video["attempts"] for video in told] == [1, 2, 1]
    assert left_over(out, *TRACES) == []
    again = fake_engine(streams=1, visualize=True).run([tmp_path / "in"], out)
    assert not any("notes" in video for video in again["videos"])
    assert (out / "sub" / "a.mp4").stat().st_mtime_ns > before.st_mtime_ns


@pytest.mark.parametrize("lost", ["gone", "cut"])
def test_a_done_video_whose_outputs_are_not_there(tmp_path: Path, whole: Callable[..., Any], lost: str) -> None:
    videos = [clip(tmp_path / f"{name}.mp4", 40, seed=ord(name)) for name in "ab"]
    _break_off(videos, tmp_path / "out", 60, streams=1)
    done = tmp_path / "out" / "a.mot.txt"
    done.unlink() if lost == "gone" else os.truncate(done, 10)
    summary = fake_engine(streams=1).run(videos, tmp_path / "out")
    for entry, video in zip(summary["videos"], videos, strict=True):
        _assert_same(entry, whole(video))
    assert "notes" not in summary["videos"][0]


def test_no_resume(tmp_path: Path, whole: Callable[..., Any]) -> None:
    """Starts over, and keeps nothing to go on with."""
    video = clip(tmp_path / "a.mp4", 60)
    _break_off([video], tmp_path / "out", 40, visualize=True)
    summary = fake_engine(resume=False, formats=("mot",), fail_after=40, checkpoint_s=0.0).run(
        [video], tmp_path / "out"
    )
    assert "told to fail" in summary["videos"][0]["error"]
    assert left_over(tmp_path / "out", *TRACES) == []
    _break_off([video], tmp_path / "out", 40)
    (entry,) = fake_engine(resume=False).run([video], tmp_path / "out")["videos"]
    assert "resumed_from" not in entry
    _assert_same(entry, whole(video))
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["videos"][0]["attempts"] == 1


def test_no_intermediate_results_no_checkpoints(tmp_path: Path) -> None:
    _break_off([clip(tmp_path / "a.mp4", 60)], tmp_path / "out", 40, save_intermediate_results=False)
    assert left_over(tmp_path / "out", *TRACES) == []


def _wait_for_checkpoint(output: Path, stem: str, frames: int = 1) -> None:
    until(lambda: peek(output, PurePosixPath(stem)) >= frames, about=lambda: "no checkpoint")


def test_killed_at_any_moment(shots: dict[str, Path], whole: Callable[..., Any], tmp_path: Path) -> None:
    """SIGKILL, in a process of its own, several times; between two kills the unfinished are salvaged, which harms
    nothing."""
    videos = [shots[name] for name in ("closed", "mkv", "avi")]
    arguments = ["--backend", "fake", "--json", "--visualize", "--formats", "tracks,mot,detections", "-o", tmp_path]
    config = tmp_path / "config.json"
    config.write_text('{"min_hits": 1}')
    chance = random.Random(7)
    for _ in range(3):
        process = cli("run", *videos, "--config", config, *arguments, delay_s=0.02, checkpoint_s=0.1)
        _wait_for_checkpoint(tmp_path, "closed", peek(tmp_path, PurePosixPath("closed")) + chance.randint(1, 25))
        process.kill()
        assert ended(process)[0] == -signal.SIGKILL
        kept = peek(tmp_path, PurePosixPath("closed"))
        made, _ = salvage(Video(str(shots["closed"]), PurePosixPath("closed")), tmp_path)
        assert {kind: path.name for kind, path in made.items()} == {
            "tracks": "closed.partial.tracks.jsonl",
            "mot": "closed.partial.mot.txt",
            "detections": "closed.partial.detections.jsonl",
            "video": "closed.partial.mp4",
        }
        assert frames_in(made["video"]) == kept
        assert rows(made["detections"])[-1]["frame"] == kept - 1
        assert _packets(str(made["video"]))["audio"]
    status, out, errors = ended(cli("run", *videos, "--config", config, *arguments))
    assert status == 0, errors
    entries = json.loads(out.splitlines()[-1])["videos"]
    assert entries[0]["resumed_from"] > 0
    for entry, video in zip(entries, videos, strict=True):
        _assert_same(entry, whole(video, **EVERYTHING))
    told = json.loads((tmp_path / "manifest.json").read_text())["videos"]
    assert told[0]["attempts"] == 4
    config.unlink()
    assert left_over(tmp_path, *TRACES, "*.partial.*") == []


def test_interrupted_and_continued(shots: dict[str, Path], whole: Callable[..., Any], tmp_path: Path) -> None:
    """Ctrl-C: the last frame that was done is in the partial outputs, and is where the next run goes on."""
    video = shots["closed"]
    arguments = [video, "--backend", "fake", "--visualize", "--min-hits", "1", "-o", tmp_path]
    process = cli("run", *arguments, "--json", delay_s=0.02, checkpoint_s=0.1)
    _wait_for_checkpoint(tmp_path, "closed")
    process.send_signal(signal.SIGINT)
    status, out, errors = ended(process)
    assert status == 130, errors
    (entry,) = json.loads(out.splitlines()[-1])["videos"]
    assert 0 < entry["frames"] < FRAMES
    assert entry["frames"] == peek(tmp_path, PurePosixPath("closed")) == frames_in(Path(entry["outputs"]["video"]))
    status, table, errors = ended(cli("run", *arguments))
    assert status == 0, errors
    assert f"from frame {entry['frames']}" in table
    (told,) = json.loads((tmp_path / "manifest.json").read_text())["videos"]
    assert (told["attempts"], told["resumed_from"]) == (2, entry["frames"])
    _assert_same(told, whole(video, visualize=True))
    assert left_over(tmp_path, *TRACES, "*.partial.*") == []


def test_salvage_without_a_checkpoint(tmp_path: Path) -> None:
    video = Video(str(tmp_path / "a.mp4"), PurePosixPath("a"))
    assert salvage(video, tmp_path) == ({}, None)
    (tmp_path / ".yolo-engine").mkdir()
    (tmp_path / ".yolo-engine" / "a.json").write_text("{")
    assert salvage(video, tmp_path) == ({}, None)


def test_salvage_of_parts_that_are_not_there(tmp_path: Path) -> None:
    """All of the outputs appear or none."""
    path = clip(tmp_path / "a.mp4", 60)
    _break_off([path], tmp_path / "out", 40, visualize=True)
    (attempt(tmp_path / "out", "a") / "a.mp4.part").unlink()
    with pytest.raises(SinkError, match=r"a\.mp4\.part no longer exists"):
        salvage(Video(str(path), PurePosixPath("a")), tmp_path / "out")
    assert left_over(tmp_path / "out", "*.new", "*.partial.*") == []


def test_salvage_of_another_job_s_work(tmp_path: Path) -> None:
    """What one job has found with its settings is no result of another one, neither whole nor in part."""
    path, out = clip(tmp_path / "a.mp4", 60), tmp_path / "out"
    video = Video(str(path), PurePosixPath("a"))
    with pytest.raises(BackendError):
        fake_engine(fail_after=40, checkpoint_s=0.0, delay_s=0.002, workers=1).work(
            [Assignment(video, job="one")], out, done=lambda *_: None
        )
    assert salvage(video, out, job="two") == ({}, None)
    assert set(salvage(video, out, job="one")[0]) == {"tracks", "mot"}
    fake_engine().work([Assignment(video, job="one")], out, done=lambda *_: None)
    assert salvage(video, out, job="two") == ({}, None)
    made, entry = salvage(video, out, job="one")
    assert entry is not None
    assert (entry["status"], entry["frames"]) == ("ok", 60)
    assert all(one.exists() for one in made.values())


def _stopping_at(engine: Engine, frames: int, *, hand_over: bool = False) -> Callable[[list[Any]], None]:
    def look(progress: list[Any]) -> None:
        if any(stream.frames >= frames for stream in progress):
            engine.stop(hand_over=hand_over)

    return look


def test_handed_over(shots: dict[str, Path], whole: Callable[..., Any], tmp_path: Path) -> None:
    """A checkpoint at the last frame, and no partial outputs."""
    engine = fake_engine(delay_s=0.01, **EVERYTHING)
    (entry,) = engine.run([shots["mkv"]], tmp_path, progress=_stopping_at(engine, 20, hand_over=True))["videos"]
    assert (entry["status"], entry["outputs"]) == ("partial", {})
    assert entry["frames"] == peek(tmp_path, PurePosixPath("mkv"))
    assert left_over(tmp_path, "*.partial.*") == []
    (entry,) = fake_engine(**EVERYTHING).run([shots["mkv"]], tmp_path)["videos"]
    _assert_same(entry, whole(shots["mkv"], **EVERYTHING))


@pytest.mark.parametrize("hand_over", [False, True])
def test_stopped_before_its_next_frame(tmp_path: Path, whole: Callable[..., Any], hand_over: bool) -> None:
    """While the frames up to the checkpoint are passed over: the checkpoint stays what it is."""
    video = clip(tmp_path / "a.mp4", 60)
    _break_off([video], tmp_path / "out", 40, visualize=True)
    kept = peek(tmp_path / "out", PurePosixPath("a"))
    engine, entries = fake_engine(visualize=True), []
    engine.work(
        [_assignment(video)],
        tmp_path / "out",
        begun=lambda assignment: engine.stop(hand_over=hand_over),
        done=lambda assignment, entry: entries.append(entry),
    )
    (entry,) = entries
    assert (entry["status"], entry["frames"], entry["resumed_from"]) == ("partial", kept, kept)
    assert entry["error"] == f"interrupted after {kept} frames"
    assert set(entry["outputs"]) == (set() if hand_over else {"tracks", "mot", "video"})
    assert peek(tmp_path / "out", PurePosixPath("a")) == kept
    (entry,) = fake_engine(visualize=True).run([video], tmp_path / "out")["videos"]
    _assert_same(entry, whole(video, visualize=True))


def test_frames_slower_than_the_encoder_lets_go_of_them(tmp_path: Path, whole: Callable[..., Any]) -> None:
    """A slow preset holds 40 frames back; checkpoints come all the same, and the video stays what it is."""
    video, settings = clip(tmp_path / "a.mp4", 60), {"visualize": True, "video_preset": "medium"}
    _break_off([video], tmp_path / "out", 35, **settings)
    assert peek(tmp_path / "out", PurePosixPath("a")) > 0
    (entry,) = fake_engine(**settings).run([video], tmp_path / "out")["videos"]
    assert entry["resumed_from"] > 0
    _assert_same(entry, whole(video, **settings))


@pytest.mark.parametrize("style", [{"trail_s": 1.0}, {"trail_s": 0.4, "colour_by": "class", "label": "id,score"}])
def test_trails_go_on_where_they_were(tmp_path: Path, whole: Callable[..., Any], style: dict[str, Any]) -> None:
    """They are part of the checkpoint: the video is that of a run that was not broken off, to the last byte."""
    video, settings = clip(tmp_path / "a.mp4", 60), {"visualize": True, **style}
    _break_off([video], tmp_path / "out", 35, **settings)
    (entry,) = fake_engine(**settings).run([video], tmp_path / "out")["videos"]
    assert entry["resumed_from"] > 0
    _assert_same(entry, whole(video, **settings))


@pytest.mark.parametrize("draw", [None, ("counts", "clock")])
def test_counts_go_on_where_they_were(tmp_path: Path, whole: Callable[..., Any], draw: Any) -> None:
    """What is known of each track at each line and zone is part of the checkpoint, and where the labels stood."""
    video = clip(tmp_path / "a.mp4", 60)
    scene = {
        "line": [{"name": "middle", "points": [[0.5, 0.0], [0.5, 1.0]], "classes": ["square"]}],
        "zone": [{"name": "left", "polygon": [[0.0, 0.0], [0.5, 0.0], [0.4, 1.0], [0.0, 1.0]]}],
    }
    settings = {"visualize": True, "scene": scene, "draw": draw}
    _break_off([video], tmp_path / "out", 35, **settings)
    (entry,) = fake_engine(**settings).run([video], tmp_path / "out")["videos"]
    assert entry["resumed_from"] > 0
    _assert_same(entry, whole(video, **settings))


def test_a_scene_that_is_drawn_has_changed(tmp_path: Path) -> None:
    """The half of a video with other lines is of no use; where none are drawn, the scene is for the end alone."""
    video = clip(tmp_path / "a.mp4", 60)
    for draw, goes_on in ((None, False), ("none", True)):
        out = tmp_path / f"out-{goes_on}"
        line = {"name": "middle", "points": [[0.5, 0.0], [0.5, 1.0]]}
        _break_off([video], out, 35, visualize=True, draw=draw, scene={"line": [line]})
        settings = {"visualize": True, "draw": draw, "scene": {"line": [{**line, "name": "other"}]}}
        (entry,) = fake_engine(**settings).run([video], out)["videos"]
        assert (entry.get("resumed_from", 0) > 0) == goes_on
        assert ("started over: the drawn scene has changed" in " ".join(entry.get("notes", ()))) != goes_on


class Office:
    """Gives out assignments and writes down what it is told."""

    def __init__(self, *assignments: Assignment) -> None:
        self.assignments = assignments
        self.given = 0
        self.log: list[tuple[str, str, int]] = []
        self.entries: dict[str, dict[str, Any]] = {}

    def __iter__(self) -> Iterator[Assignment]:
        for assignment in self.assignments:
            self.given += 1
            yield assignment

    def begun(self, assignment: Assignment) -> None:
        self.log.append(("begun", str(assignment.video.stem), assignment.attempt))

    def done(self, assignment: Assignment, entry: dict[str, Any]) -> None:
        self.log.append(("done", str(assignment.video.stem), assignment.attempt))
        self.entries[str(assignment.video.stem)] = entry


def _assignment(path: Path, attempt: int = 1, fence: Callable[[], None] = lambda: None) -> Assignment:
    return Assignment(Video(str(path), PurePosixPath(path.stem)), attempt, fence)


def _forget(names: str, output: Path) -> None:
    """What the caller of `work` does when all is done."""
    for name in names:
        assert attempt(output, name)
        attempts.forget(output, PurePosixPath(name), "")


def test_work(tmp_path: Path, whole: Callable[..., Any]) -> None:
    videos = [clip(tmp_path / f"{name}.mp4", 30, seed=ord(name)) for name in "abcd"]
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"junk")
    office = Office(*map(_assignment, [*videos, bad]))
    seen: set[str] = set()
    engine = fake_engine(streams=2, delay_s=0.005, visualize=True)
    engine.work(
        office,
        tmp_path / "out",
        begun=office.begun,
        done=office.done,
        progress=lambda streams: seen.update(stream.stem for stream in streams),
    )
    assert seen & set("abcd")
    assert len(office.log) == 10
    for name, video in zip("abcd", videos, strict=True):
        assert office.log.index(("begun", name, 1)) < office.log.index(("done", name, 1))
        _assert_same(office.entries[name], whole(video, visualize=True))
        assert office.entries[name]["input"]["size_bytes"] == video.stat().st_size
        assert (office.entries[name]["attempts"], office.entries[name]["resumed_from"]) == (1, 0)
    assert (office.entries["bad"]["status"], office.entries["bad"]["unfinished"]) == ("failed", False)
    assert not (tmp_path / "out" / "manifest.json").exists()
    _forget("abcd", tmp_path / "out")
    assert left_over(tmp_path / "out", *TRACES) == []


def test_work_pulls_no_more_than_it_has_streams_for(tmp_path: Path) -> None:
    video = clip(tmp_path / "a.mp4", 60)
    office = Office(*(_assignment(shutil.copy(video, tmp_path / f"v{i}.mp4")) for i in range(9)))
    engine = fake_engine(streams=2, delay_s=0.01)
    engine.work(office, tmp_path / "out", done=office.done, progress=_stopping_at(engine, 10, hand_over=True))
    assert office.given == 2
    assert all("interrupted" in entry["error"] for entry in office.entries.values())


def test_work_goes_on_after_a_failure_around_it(tmp_path: Path, whole: Callable[..., Any]) -> None:
    video = clip(tmp_path / "a.mp4", 60)
    office = Office(_assignment(video))
    with pytest.raises(BackendError, match="told to fail"):
        fake_engine(fail_after=40, checkpoint_s=0.02, delay_s=0.001).work(office, tmp_path / "out", done=office.done)
    assert (office.entries["a"]["status"], office.entries["a"]["unfinished"]) == ("failed", True)
    kept = peek(tmp_path / "out", PurePosixPath("a"))
    assert kept > 0
    office = Office(_assignment(video, attempt=5))
    fake_engine().work(office, tmp_path / "out", done=office.done)
    assert (office.entries["a"]["attempts"], office.entries["a"]["resumed_from"]) == (5, kept)
    _assert_same(office.entries["a"], whole(video))
    _forget("a", tmp_path / "out")
    assert left_over(tmp_path / "out", *TRACES) == []


def test_work_that_was_done_but_not_told(tmp_path: Path, whole: Callable[..., Any]) -> None:
    """The process ends between a video's end and the office's knowing it: the next attempt finds it done."""

    def unreachable(assignment: Assignment, entry: dict[str, Any]) -> None:
        raise BackendError("the office is shut")

    video = clip(tmp_path / "a.mp4", 20)
    with pytest.raises(BackendError, match="shut"):
        fake_engine().work([_assignment(video)], tmp_path / "out", done=unreachable)
    office = Office(_assignment(video, attempt=2))
    fake_engine(fail_after=0).work(office, tmp_path / "out", begun=office.begun, done=office.done)
    assert office.log == [("begun", "a", 2), ("done", "a", 2)]
    assert office.entries["a"]["attempts"] == 2
    assert office.entries["a"]["notes"] == ["done in an earlier run"]
    _assert_same(office.entries["a"], whole(video))
    _forget("a", tmp_path / "out")
    assert left_over(tmp_path / "out", *TRACES) == []


@pytest.mark.parametrize("calls", [0, 3, sys.maxsize])
def test_a_lost_lease(tmp_path: Path, calls: int) -> None:
    """At the first write, at a checkpoint or just before the outputs appear: what is on the disk is left alone."""
    video = clip(tmp_path / "a.mp4", 60)
    _break_off([video], tmp_path / "out", 40)
    asked = 0

    def fence() -> None:
        nonlocal asked
        asked += 1
        late = calls == sys.maxsize and peek(tmp_path / "out", PurePosixPath("a")) >= 60
        if asked > calls or late:
            raise LeaseLost("the lease was lost")

    office = Office(_assignment(video, 2, fence))
    every_s = 0.0 if calls == sys.maxsize else 0.02
    fake_engine(delay_s=0.005, checkpoint_s=every_s).work(office, tmp_path / "out", done=office.done)
    assert office.entries["a"]["status"] == "failed"
    assert "the lease was lost" in office.entries["a"]["error"]
    assert left_over(tmp_path / "out", "a.*") == ["a.mot.txt.part", "a.tracks.jsonl.part"]
    assert peek(tmp_path / "out", PurePosixPath("a")) > 0
    (entry,) = fake_engine().run([video], tmp_path / "out")["videos"]
    assert (entry["status"], entry["frames"]) == ("ok", 60)
    assert entry["resumed_from"] > 0


def test_a_failure_after_the_lease_was_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The video fails by itself, but its parts and its journal are another attempt's by then."""
    video = clip(tmp_path / "a.mp4", 60)
    _break_off([video], tmp_path / "out", 40)
    lost = False

    def fence() -> None:
        if lost:
            raise LeaseLost("the lease was lost")

    def fails(self: Any, tracks: Any) -> list[str]:
        nonlocal lost
        lost = True
        raise SinkError("no rows today")

    monkeypatch.setattr("engine.sinks.mot.MotText.rows", fails)
    office = Office(_assignment(video, 2, fence))
    fake_engine().work(office, tmp_path / "out", done=office.done)
    assert (office.entries["a"]["error"], office.entries["a"]["lost"]) == ("the lease was lost", True)
    assert left_over(tmp_path / "out", "a.*") == ["a.mot.txt.part", "a.tracks.jsonl.part"]


@pytest.mark.parametrize("find", [lambda: require_asset("videos/people.mp4"), demo_video])
def test_real_videos(tmp_path: Path, find: Callable[[], Path]) -> None:
    """A real model on a real video, stopped twice; the first one's sound is copied. Each is long enough for a stop to
    come in time on a machine that is busy with something else."""
    video = find()
    config = EngineConfig(skip_frames=2)
    short = tmp_path / f"short{video.suffix}"
    with av.open(str(video)) as given, av.open(str(short), "w") as made:
        streams = {stream.index: made.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux(list(given.streams)):
            if packet.dts is not None and packet.dts * packet.time_base < 6:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)
    with Engine(config) as engine:
        (reference,) = engine.run([short], tmp_path / "whole")["videos"]
        for frames in (15, 30):
            engine.run([short], tmp_path / "out", progress=_stopping_at(engine, frames, hand_over=True))
        (entry,) = engine.run([short], tmp_path / "out")["videos"]
    assert entry["resumed_from"] >= 30
    assert reference["tracks"] > 0
    _assert_same(entry, reference)
