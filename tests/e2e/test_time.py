"""Clocks that begin anywhere and step, and parts of a video: rows keep the source's frames and times."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import pytest

from engine.cli.group import commands
from engine.stages.decode import Decoder
from tests.assets import require_asset
from tests.e2e.clips import Shot, joined, make
from tests.e2e.reading import read
from tests.e2e.runs import fake_engine, rows

pytestmark = pytest.mark.timeout(60)

SECOND = 25
EVERYTHING = {"visualize": True, "formats": ("tracks", "mot", "detections")}
ZEROED = "annotated video shifted by "


def run(path: Path, folder: Path, **settings: Any) -> dict[str, Any]:
    engine = fake_engine(**{**EVERYTHING, "min_hits": 0, **settings})
    video: dict[str, Any] = engine.run([path], folder)["videos"][0]
    return video


def found(video: dict[str, Any]) -> list[dict[str, Any]]:
    return rows(Path(video["outputs"]["detections"]))


def times_of(video: dict[str, Any]) -> list[float]:
    """One of each frame, as the tracks have it."""
    return list(dict.fromkeys(row["time_s"] for row in rows(Path(video["outputs"]["tracks"]))))


def recording(folder: Path, name: str, begins_s: int, frames: int = 32) -> Any:
    """A part of a recorder's transport stream, with sound, on a clock that says `begins_s` at its first frame."""
    pts = range(SECOND * begins_s, SECOND * begins_s + frames)
    shot = Shot(suffix=".ts", muxer="mpegts", frames=frames, pts=pts, audio="mp2", audio_start_s=begins_s)
    return make(folder, shot, name)


def length_s(path: str) -> float:
    with av.open(path) as container:
        assert container.duration is not None
        return container.duration / av.time_base


# -- where a clock begins ----------------------------------------------------------------------------------------------


def test_a_recorder_that_runs_since_long_ago(tmp_path: Path) -> None:
    video = run(recording(tmp_path, "a", 50_000).path, tmp_path / "out")
    assert video["status"] == "ok"
    begins_s = times_of(video)[0]
    assert begins_s >= 50_000
    assert video["video_offset_s"] == pytest.approx(begins_s, abs=1e-6)
    assert video["notes"] == [f"{ZEROED}{-begins_s:.3f} s to start at 0"]
    assert length_s(video["outputs"]["video"]) == pytest.approx(32 / 25, abs=0.1)
    assert read(video["outputs"]["video"]).pts[0] == 0
    (told,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["videos"]
    assert told["video_offset_s"] == video["video_offset_s"]


def test_a_recorder_whose_clock_is_the_calendar(tmp_path: Path) -> None:
    video = run(require_asset("faults/dahua_like.dav"), tmp_path)
    assert (video["status"], video["frames"]) == ("ok", 75)
    assert length_s(video["outputs"]["video"]) == pytest.approx(3.0, abs=0.1)
    assert video["video_offset_s"] == 1_609_124_474.0
    assert video["notes"] == [f"{ZEROED}-1609124474.000 s to start at 0"]


def test_a_clock_that_begins_at_zero_needs_no_word(tmp_path: Path) -> None:
    video = run(make(tmp_path, Shot(audio="aac")).path, tmp_path / "out")
    assert "notes" not in video
    assert "video_offset_s" not in video


# -- where a clock steps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first_s", "second_s", "said"),
    [
        pytest.param(100, 70, "back by 31.280 s", id="30 s back"),
        pytest.param(200, 100, "back by 101.280 s", id="100 s back"),
        pytest.param(90_100, 100, "ahead by 5,442.", id="90,000 s back: a clock of 33 bits comes round sooner"),
        pytest.param(100, 130, "ahead by 28.720 s", id="30 s ahead"),
        pytest.param(100, 1_000, "ahead by 898.720 s", id="900 s ahead"),
        pytest.param(100, 40_000, "ahead by 39,898.720 s", id="half a day ahead"),
    ],
)
def test_times_go_on_behind_a_step(tmp_path: Path, first_s: int, second_s: int, said: str) -> None:
    parts = [recording(tmp_path, "first", first_s), recording(tmp_path, "second", second_s)]
    video = run(joined(tmp_path / "both.ts", *parts).path, tmp_path / "out")
    assert (video["status"], video["error"], video["frames"]) == ("ok", None, 64)
    times = times_of(video)
    assert times[0] == pytest.approx(read(parts[0].path).pts[0] / 90_000, abs=1e-5)
    assert [b - a for a, b in pairwise(times)] == pytest.approx([0.04] * 63, abs=1e-4)
    assert video["duration_s"] == pytest.approx(64 / 25, abs=0.1)
    (step,) = [note for note in video["notes"] if not note.startswith(ZEROED)]
    assert step.startswith(f"the file's clock jumps {said}")
    assert step.endswith("timestamps continue without the jump")

    annotated = read(video["outputs"]["video"])
    assert annotated.times == pytest.approx([i / 25 for i in range(64)], abs=1e-3)
    heard = [float(time) for time, _ in annotated.audio]
    assert len(heard) == sum(len(read(part.path).audio) for part in parts)
    assert max(b - a for a, b in pairwise(heard)) < 0.1
    assert heard[-1] < 64 / 25 + 0.1


def test_a_shared_recording_whose_clock_restarts(tmp_path: Path) -> None:
    video = run(require_asset("faults/clock_restart.ts"), tmp_path)
    assert (video["status"], video["frames"]) == ("ok", 76)
    assert length_s(video["outputs"]["video"]) == pytest.approx(76 / 25, abs=0.05)
    assert "the file's clock jumps back by 4,991.520 s at 5002.840 s" in video["notes"][0]


def test_many_steps_are_counted(tmp_path: Path) -> None:
    parts = [recording(tmp_path, f"part{i}", 1000 - 100 * i, frames=8) for i in range(6)]
    video = run(joined(tmp_path / "all.ts", *parts).path, tmp_path / "out", visualize=False)
    assert video["frames"] == 48
    (step,) = video["notes"]
    assert step.count(" s at ") == 3
    assert " and 2 more times: " in step


def test_a_frame_a_minute_is_no_step(tmp_path: Path) -> None:
    shot = Shot(suffix=".ts", muxer="mpegts", frames=6, rate=Fraction(1, 60), time_base=Fraction(1, 60))
    video = run(make(tmp_path, shot).path, tmp_path / "out", visualize=False)
    times = times_of(video)
    assert [b - a for a, b in pairwise(times)] == pytest.approx([60] * 5, abs=1e-3)


# -- AVI, sound --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"bf": "0"}, {"tune": "zerolatency"}, {"profile": "baseline"}])
def test_h264_without_b_frames_in_avi_begins_at_its_first_frame(tmp_path: Path, options: dict[str, str]) -> None:
    video = run(make(tmp_path, Shot(suffix=".avi", options=options)).path, tmp_path / "out")
    assert [row["pts"] for row in found(video)] == list(range(16))
    assert "notes" not in video


@pytest.mark.parametrize(
    ("name", "codec"), [("ts_sample_h264_mpeg_audio.ts", "mp"), ("ts_sample_h264_dts_audio.ts", "dca")]
)
def test_sound_that_mp4_takes_is_copied(tmp_path: Path, name: str, codec: str) -> None:
    source = require_asset(f"media/media__{name}")
    video = run(source, tmp_path)
    assert not any("audio" in note for note in video["notes"])
    given, copied = read(source), read(video["outputs"]["video"])
    assert [data for _, data in copied.audio] == [data for _, data in given.audio]
    with av.open(video["outputs"]["video"]) as container:
        (sound,) = container.streams.audio
        assert sound.codec_context.name.startswith(codec)
        assert sum(frame.samples for frame in container.decode(sound)) > 0


def test_sound_that_mp4_does_not_take_is_named(tmp_path: Path) -> None:
    video = run(make(tmp_path, Shot(suffix=".mov", audio="pcm_mulaw")).path, tmp_path / "out")
    assert video["notes"] == ["audio left out: MP4 does not take pcm_mulaw"]


# -- parts of a video --------------------------------------------------------------------------------------------------

_HIDDEN_FRAMES = {"g": "24", "auto-alt-ref": "1", "lag-in-frames": "16", "deadline": "good", "cpu-used": "4"}
_LONG = {
    "mp4": Shot(frames=150, options={"g": "24", "bf": "3"}, audio="aac"),
    "open": Shot(frames=150, options={"x264-params": "keyint=24:open-gop=1:bframes=3:scenecut=0"}, audio="aac"),
    "mkv": Shot(suffix=".mkv", frames=150, options={"g": "24", "bf": "3"}, audio="aac"),
    "ts": Shot(suffix=".ts", muxer="mpegts", frames=150, options={"g": "24", "bf": "3"}, audio="aac"),
    "avi": Shot(suffix=".avi", codec="mpeg4", frames=150, options={"g": "24", "bf": "2"}),
    "vp8": Shot(suffix=".webm", codec="libvpx", frames=150, options=_HIDDEN_FRAMES),
    "trimmed": Shot(frames=155, pts=range(-5, 150), options={"g": "24", "bf": "3"}),
    "one key": Shot(frames=150, options={"g": "1000", "bf": "3"}),
}


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("long")
    return {name: make(folder, shot, name.replace(" ", "_")).path for name, shot in _LONG.items()}


@pytest.mark.parametrize(
    ("settings", "frames"),
    [
        ({"start_s": 2.0}, range(50, 150)),
        ({"start_s": 3.99, "end_s": 5.0}, range(100, 125)),
        ({"end_s": 1.0}, range(25)),
        ({"start_s": 2.0, "duration_s": 1.0, "skip_frames": 3}, range(50, 75)),
        ({"start_s": 0.02, "end_s": 0.05}, range(1, 2)),
    ],
)
@pytest.mark.parametrize("name", _LONG)
def test_a_part_is_what_the_whole_has_there(
    long: dict[str, Path], tmp_path: Path, name: str, settings: dict[str, Any], frames: range
) -> None:
    """Same frame numbers, times, boxes; the annotated video has them alone, and their sound."""
    whole = run(long[name], tmp_path / "whole", visualize=False)
    assert whole["frames"] == 150
    part = run(long[name], tmp_path / "part", **settings)
    between = settings.get("skip_frames", 0) + 1
    assert (part["status"], part["error"], part["frames"]) == ("ok", None, len(frames))
    assert found(part) == [found(whole)[frame] for frame in frames[::between]]
    assert part["duration_s"] == pytest.approx(len(frames) / 25, abs=0.005)

    annotated = read(part["outputs"]["video"])
    assert annotated.times == pytest.approx([i / 25 for i in range(len(frames))], abs=1e-3)
    given = read(long[name])
    begins, ends = given.times[frames[0]], given.times[frames[-1]] + Fraction(1, 25)
    # A packet of AAC takes 23 ms: what sounds at all during the part is there, and no more.
    expected = [data for time, data in given.audio if begins - Fraction(1024, 44_100) < time < ends]
    if frames[-1] < 149:
        assert abs(len(annotated.audio) - len(expected)) <= 1
    for time, _ in annotated.audio:
        assert -0.024 < time < len(frames) / 25 + 0.001 or frames[-1] == 149


def test_a_start_behind_the_end(long: dict[str, Path], tmp_path: Path) -> None:
    video = run(long["mp4"], tmp_path, start_s=60)
    assert (video["status"], video["error"]) == ("failed", "ends before start_s = 60")


def test_the_end_is_the_files_where_it_comes_first(long: dict[str, Path], tmp_path: Path) -> None:
    video = run(long["mp4"], tmp_path, duration_s=60)
    assert (video["status"], video["frames"]) == ("ok", 150)


def test_the_command_line(long: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["run", str(long["mp4"]), "-o", str(tmp_path), "--backend", "fake", "--no-visualize", "--json"]
    assert commands.main([*arguments, "--start", "0:02", "--duration", "1.5"], standalone_mode=False) == 0
    (video,) = json.loads(capsys.readouterr().out.splitlines()[-1])["videos"]
    assert (video["status"], video["frames"]) == ("ok", 38)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("mp4", 60),
        ("open", 60),
        ("mkv", 60),
        ("ts", 60),
        ("avi", 150),
        ("vp8", 150),
        ("trimmed", 155),
        ("one key", 150),
    ],
)
def test_what_comes_before_is_not_decoded_where_packets_can_be_counted(
    long: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    """From the key frame before the start on; a container or a codec that can't be counted is decoded whole."""
    decoded = 0
    original = Decoder.decode

    def counted(self: Decoder, packet: Any) -> Any:
        nonlocal decoded
        decoded += 1
        return original(self, packet)

    monkeypatch.setattr(Decoder, "decode", counted)
    video = run(long[name], tmp_path, visualize=False, start_s=4.2)
    assert found(video)[0]["frame"] == 105
    assert most - 20 < decoded <= most


def test_fields_in_packets_of_their_own_are_no_frames(tmp_path: Path) -> None:
    """Where packets are not frames, the numbers are still those of the whole file."""
    shot = Shot(suffix=".ts", muxer="mpegts", frames=75, options={"x264-params": "keyint=24:interlaced=1:bframes=2"})
    source = make(tmp_path, shot).path
    whole, part = run(source, tmp_path / "whole"), run(source, tmp_path / "part", start_s=1.5)
    assert found(part) == found(whole)[38:]


def test_a_start_behind_damage(long: dict[str, Path], tmp_path: Path) -> None:
    """A file that is cut off says so, whatever part was requested."""
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(long["mkv"].read_bytes()[:-2000])
    video = run(cut, tmp_path / "out", start_s=2.0)
    assert video["status"] == "partial"
    assert video["error"].startswith("ends early: ")
    assert run(cut, tmp_path / "out", start_s=2.0, end_s=3.0)["status"] == "ok"
