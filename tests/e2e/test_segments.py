"""Recordings of a live source: segments named by the clock, complete in themselves, never overwritten, salvaged."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest

from engine.analytics.answering import answer
from engine.audit import audit
from engine.clips import ClipSettings, cut_clips
from engine.errors import SinkError
from engine.files.folders import Folder
from engine.finished import FinishedRun, Selection
from engine.media.inputs import Video
from engine.pipeline.recording import claim, salvage
from engine.pipeline.stream import StreamRun
from engine.records import EndOfStream
from engine.run.recorded import UNFINISHED, Recorded
from engine.sinks.jsonl import TracksJsonl
from engine.sinks.video import AnnotatedVideo
from tests.e2e.rtsp_server import Camera, Play
from tests.e2e.runs import cli, clip, ended, engine_threads, fake_engine, frames_in, left_over, rows
from tests.e2e.test_live import head, served
from tests.waiting import until

pytestmark = pytest.mark.timeout(60)

NAME = re.compile(r"cam-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ(-\d+)?")


@pytest.fixture(scope="module")
def ts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("ts") / "a.ts", 50, codec="libx264")


def _settings(**more: Any) -> dict[str, Any]:
    return {
        "open_timeout_s": 5.0,
        "read_timeout_s": 3.0,
        "reconnect_attempts": 0,
        "window": 200,
        "visualize": True,
        "segment": 2,
        **more,
    }


def _run(url: str, output: Path, **settings: Any) -> dict[str, Any]:
    summary = fake_engine(**_settings(**settings)).run([url], output)
    assert engine_threads() == []
    return dict(summary["videos"][0])


def _begins(path: Path) -> tuple[int | None, bool]:
    """Time and kind of the first packet of a video."""
    with av.open(str(path)) as container:
        first = next(container.demux(video=0))
        return first.pts, first.is_keyframe


def _wait(condition: Callable[[], object], process: Any = None) -> None:
    until(lambda: condition() or (process is not None and process.poll() is not None))
    assert process is None or process.poll() is None, process.communicate()


def _has_checkpoint(out: Path) -> bool:
    for path in (out / ".yolo-engine").glob("*/*/journal.json"):
        with contextlib.suppress(FileNotFoundError):  # that segment has just ended
            if "checkpoint" in path.read_text():
                return True
    return False


def test_each_segment_is_complete_in_itself(ts: Path, tmp_path: Path) -> None:
    with Camera(ts, Play(130)) as camera:
        video = _run(camera.url, tmp_path)
    assert (video["status"], video["frames"]) == ("ok", 130)
    segments = video["segments"]
    assert [segment["frames"] for segment in segments] == [50, 50, 30]
    assert [segment["at_s"] for segment in segments] == [0.0, 2.0, 4.0]
    assert all(NAME.fullmatch(segment["segment"]) for segment in segments)
    assert len({segment["segment"] for segment in segments}) == 3
    assert video["outputs"] == segments[-1]["outputs"]
    seen: list[int] = []
    for segment in segments:
        outputs = {kind: Path(path) for kind, path in segment["outputs"].items()}
        assert {path.name.partition(".")[0] for path in outputs.values()} == {segment["segment"]}
        assert frames_in(outputs["video"]) == segment["frames"]
        assert _begins(outputs["video"]) == (0, True)
        found = rows(outputs["tracks"])
        assert all(row["time_s"] == pytest.approx(row["frame"] / 25) for row in found)
        assert found[0]["frame"] <= 1
        assert found[-1]["frame"] == segment["frames"] - 1
        assert int(outputs["mot"].read_text().splitlines()[-1].split(",")[0]) == segment["frames"]
        seen += dict.fromkeys(row["track_id"] for row in found)
    assert sorted(set(seen)) == sorted(dict.fromkeys(seen))
    assert len(set(seen)) == video["tracks"]
    assert max(seen) == seen[-1]  # ids go on
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["videos"][0]["segments"] == segments
    listed = rows(tmp_path / "cam.segments.jsonl")
    assert [line["segment"] for line in listed] == [segment["segment"] for segment in segments]
    assert left_over(tmp_path, "*.part", "*.new", ".yolo-engine") == []


def test_a_checkpoint_behind_the_last_frame(ts: Path, tmp_path: Path) -> None:
    """As behind every other one here."""
    with Camera(ts, Play(60)) as camera:
        video = fake_engine(**_settings(), checkpoint_s=0.0).run([camera.url], tmp_path)["videos"][0]
    assert (video["status"], video["error"]) == ("ok", None)
    assert [segment["frames"] for segment in video["segments"]] == [50, 10]


def test_its_scene_is_drawn_in_every_segment(ts: Path, tmp_path: Path) -> None:
    """With the clock of the segment's own name; the counts begin anew in each."""
    scene = {"line": [{"name": "gate", "points": [[0.1, 0.8], [0.9, 0.8]]}]}
    pictures: dict[str | None, list[Any]] = {}
    for draw in (None, "none"):
        with Camera(ts, Play(60)) as camera:
            video = _run(camera.url, tmp_path / str(draw), scene=scene, draw=draw)
        assert (video["status"], [segment["frames"] for segment in video["segments"]]) == ("ok", [50, 10])
        paths = [segment["outputs"]["video"] for segment in video["segments"]]
        with contextlib.ExitStack() as stack:
            opened = [stack.enter_context(av.open(path)) for path in paths]
            pictures[draw] = [next(each.decode(video=0)).to_ndarray(format="gray") for each in opened]
    for drawn, bare in zip(pictures[None], pictures["none"], strict=True):
        assert (abs(drawn.astype(int) - bare) > 60).mean() > 0.01


def test_a_restart_goes_on_with_new_segments(ts: Path, tmp_path: Path) -> None:
    """What the runs before recorded stays to the last byte."""
    with Camera(ts, Play(30), Play(30)) as camera:
        _run(camera.url, tmp_path)
        for name in ("cam.mp4", "cam.partial.mp4", "cam.tracks.jsonl.part"):  # as an older version named them
            (tmp_path / name).write_text("older")
        before = {path: path.read_bytes() for path in tmp_path.glob("cam[-.]*") if "segments" not in path.name}
        _run(camera.url, tmp_path)
    assert len(before) == 6
    assert {path: path.read_bytes() for path in before} == before
    assert len(list(tmp_path.glob("cam-*.mp4"))) == 2
    assert len(rows(tmp_path / "cam.segments.jsonl")) == 2


def test_the_manifest_lists_what_earlier_runs_recorded(ts: Path, tmp_path: Path) -> None:
    """As far as it is still there. Their track ids are others than those of this run."""
    with Camera(ts, Play(70), Play(30), Play(30)) as camera:
        first = _run(camera.url, tmp_path)["segments"]
        second = _run(camera.url, tmp_path)["segments"]
        assert _listed(tmp_path) == [each["segment"] for each in [*first, *second]]
        assert audit(tmp_path, frames=0).passed
        run = FinishedRun.load(tmp_path)
        (found,) = answer(run.films, run.settings)
        begins = [found.offsets_s[video.name] for video in run.videos]
        assert begins[:2] == [0.0, 2.0]
        assert begins[2] >= 2.8
        ids = [{row["track_id"] for row in rows(tmp_path / f"{each}.tracks.jsonl")} for each in _listed(tmp_path)]
        assert ids[2] <= ids[0] | ids[1]
        assert len(found.answers.tracks) == len(ids[0] | ids[1]) + len(ids[2])
        (tmp_path / f"{first[0]['segment']}.mp4").unlink()
        third = _run(camera.url, tmp_path)["segments"]
        assert _listed(tmp_path) == [each["segment"] for each in [*first[1:], *second, *third]]


def test_a_restart_keeps_what_was_made_of_earlier_runs(ts: Path, tmp_path: Path) -> None:
    """Clips and tables are of all that was recorded into the folder."""
    with Camera(ts, Play(30), Play(30)) as camera:
        _run(camera.url, tmp_path, clips={"kinds": ["track"]}, tables=["csv"])
        before = {path: path.read_bytes() for path in tmp_path.glob("clips/cam-*.mp4")}
        assert before
        _run(camera.url, tmp_path, clips={"kinds": ["track"]}, tables=["csv"])
    assert {path: path.read_bytes() for path in before} == before
    for table in ("clips/clips.csv", "tracks.csv"):
        with (tmp_path / table).open(encoding="utf-8") as file:
            assert len({row["video"] for row in csv.DictReader(file)}) == len(_listed(tmp_path)) == 2
    assert audit(tmp_path, frames=0).passed


def test_a_camera_that_is_away_on_a_restart(ts: Path, tmp_path: Path) -> None:
    """What it recorded before is listed all the same, with the size of its images, which nothing else knows then."""
    with Camera(ts, Play(30)) as camera:
        first = _run(camera.url, tmp_path)["segments"]
    again = _run(camera.url, tmp_path)
    assert (again["status"], again.get("segments")) == ("failed", None)
    assert _listed(tmp_path) == [each["segment"] for each in first]
    run = FinishedRun.load(tmp_path)
    assert [film.size_wh for film in run.films] == [(64, 48)]
    (found,) = answer(run.films, run.settings)
    assert len(found.answers.tracks) == first[0]["tracks"]
    assert audit(tmp_path, frames=0).passed


def test_the_manifest_under_way_lists_a_source_that_has_not_recorded_yet(tmp_path: Path) -> None:
    """As long as it has segments of earlier runs: otherwise they would be in no manifest until it has one."""
    segment = {"segment": "a", "frames": 3, "detections": 0, "tracks": 0, "duration_s": 1.0, "outputs": {}, "media": {}}
    sources = {
        "goes": SimpleNamespace(complete=1, entries=lambda: [segment], earlier=list),
        "away": SimpleNamespace(complete=0, entries=list, earlier=lambda: [{**segment, "media": {"size_wh": [8, 8]}}]),
        "new": SimpleNamespace(complete=0, entries=list, earlier=list),
    }
    written: list[Any] = []
    recorded = Recorded({"name": "m", "sha256": ""}, lambda: {"name": "b", "provider": "p"}, written.append)
    for name, recording in sources.items():
        video = Video(f"rtsp://{name}", PurePosixPath(name))
        recorded.add(cast("StreamRun", SimpleNamespace(recording=recording, video=video, media_so_far=None)))
    recorded.look()
    (summary,) = written
    assert {video["stem"]: len(video["segments"]) for video in summary["videos"]} == {"goes": 1, "away": 1}
    assert summary["totals"]["frames"] == 3


def _listed(out: Path) -> list[str]:
    (video,) = json.loads((out / "manifest.json").read_text())["videos"]
    return [segment["segment"] for segment in video["segments"]]


def test_a_segment_appears_when_it_ends(ts: Path, tmp_path: Path) -> None:
    """While the source goes on, and also where it falls silent."""
    engine = fake_engine(**_settings(read_timeout_s=30.0, segment="2s"))
    with Camera(ts, Play(75, "silent")) as camera:
        runner = threading.Thread(target=engine.run, args=([camera.url], tmp_path), daemon=True)
        runner.start()
        _wait(lambda: len(list(tmp_path.glob("cam-*.mp4"))) == 2)
        engine.stop()
    runner.join(20)
    assert not runner.is_alive()
    frames = [line["frames"] for line in rows(tmp_path / "cam.segments.jsonl")]
    assert frames[0] == 50
    assert frames[1] in (24, 25)  # the decoder may hold the last one until more comes


def test_what_a_kill_leaves_is_salvaged(ts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["-o", out, "--segment", "2s", "--backend", "fake", "--min-hits", "1"]
    with Camera(ts, Play(100_000, gap_s=0.02), Play(100_000, gap_s=0.02)) as camera:
        process = cli("run", camera.url, *options, checkpoint_s=0.2)
        try:
            # One segment has ended, and the next one has a checkpoint.
            _wait(lambda: len(list(out.glob("cam-*Z.mp4"))) == 1, process)
            _wait(lambda: (out / "manifest.json").exists(), process)
            _wait(lambda: _has_checkpoint(out), process)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        _is_finished_as_far_as_it_goes(out)
        complete = {path: path.read_bytes() for path in out.glob("cam-*Z.*") if path.suffix != ".part"}
        assert left_over(out, "*.part")
        process = cli("run", camera.url, *options, checkpoint_s=0.2)
        _wait(lambda: list(out.glob("cam-*.partial.mp4")) and len(list(out.glob("cam-*Z*.mp4"))) >= 3, process)
        process.send_signal(signal.SIGTERM)
        status, _, errors = ended(process)
    assert status == 130, errors
    assert "salvaged: " in errors
    assert {path: path.read_bytes() for path in complete} == complete
    (video,) = out.glob("cam-*.partial.mp4")
    (tracks,) = out.glob("cam-*.partial.tracks.jsonl")
    frames = frames_in(video)
    assert _begins(video) == (0, True)
    assert frames >= 1
    assert all(row["frame"] < frames for row in rows(tracks))
    listed = rows(out / "cam.segments.jsonl")
    assert [line["frames"] for line in listed if line.get("salvaged")] == [frames]
    assert left_over(out, "*.part", "*.new", ".yolo-engine") == []


def _is_finished_as_far_as_it_goes(out: Path) -> None:
    """What was complete when a run was killed can be counted, cut and audited."""
    manifest = json.loads((out / "manifest.json").read_text())
    (video,) = manifest["videos"]
    listed = rows(out / "cam.segments.jsonl")
    assert [line["segment"] for line in video["segments"]] == [line["segment"] for line in listed][: len(listed)]
    assert (manifest["success"], video["status"]) == (False, "partial")
    assert manifest["error"] == video["error"] == UNFINISHED
    assert video["frames"] == sum(line["frames"] for line in video["segments"]) > 0
    run = FinishedRun.load(out)
    assert [str(each.stem) for each in run.videos] == [line["segment"] for line in video["segments"]]
    cut = cut_clips(run, ClipSettings(Selection(kinds=("track",))))
    assert cut.clips
    assert cut.failed == {}
    assert audit(out, frames=0).passed
    shutil.rmtree(cut.folder)


def test_a_kill_between_a_segment_and_the_list(ts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are all there: they are listed by the next run, as if nothing had been."""
    with Camera(ts, Play(30), Play(30), Play(30)) as camera:
        first = _run(camera.url, tmp_path)["segments"][0]
        listed = (tmp_path / "cam.segments.jsonl").read_text()
        monkeypatch.setattr("engine.pipeline.recording.SegmentList.add", _no_space)
        assert fake_engine(**_settings()).run([camera.url], tmp_path)["videos"][0]["status"] == "failed"
        monkeypatch.undo()
        third = _run(camera.url, tmp_path)["segments"]
    assert len(third) == 1
    lines = rows(tmp_path / "cam.segments.jsonl")
    assert (tmp_path / "cam.segments.jsonl").read_text().startswith(listed)
    assert [(line["frames"], "salvaged" in line) for line in lines] == [(30, False)] * 3
    assert len({line["segment"] for line in lines}) == 3
    assert lines[0]["segment"] == first["segment"]
    assert len(list(tmp_path.glob("cam-*.mp4"))) == 3
    assert left_over(tmp_path, "*.part", "*.new", ".yolo-engine", "*.partial.*") == []


@pytest.mark.parametrize("removed", range(3))
def test_a_kill_while_what_a_segment_needed_is_removed(
    ts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    """It was complete and listed: nothing of it is salvaged, and the next run removes the rest."""
    remove, left = Folder.remove, removed

    def dies(folder: Folder, name: str) -> bool:
        nonlocal left
        if name in ("journal.json", "verdict.json", "committed"):
            if not left:
                raise OSError(5, "killed")
            left -= 1
        return remove(folder, name)

    with Camera(ts, Play(30), Play(30)) as camera:
        monkeypatch.setattr(Folder, "remove", dies)
        _run(camera.url, tmp_path)
        assert left_over(tmp_path, "committed")
        monkeypatch.undo()
        _run(camera.url, tmp_path)
    lines = rows(tmp_path / "cam.segments.jsonl")
    assert [(line["frames"], "salvaged" in line) for line in lines] == [(30, False)] * 2
    assert left_over(tmp_path, "*.part", "*.new", ".yolo-engine", "*.partial.*") == []


def test_a_name_is_never_given_twice(tmp_path: Path) -> None:
    """Two begin in one second, the clock is set back, or a salvaged segment bears the name."""
    at, stem = datetime(2026, 11, 30, 10, 15, tzinfo=UTC), PurePosixPath("doors/cam")
    assert [_claimed(tmp_path, stem, at) for _ in range(3)] == [
        "cam-2026-11-30T10-15-00Z",
        "cam-2026-11-30T10-15-00Z-2",
        "cam-2026-11-30T10-15-00Z-3",
    ]
    (tmp_path / "doors").mkdir()
    for taken in ("cam-2026-11-30T10-16-00Z.partial.mp4", "cam-2026-11-30T10-16-00Z-2.tracks.jsonl.part"):
        (tmp_path / "doors" / taken).touch()
    assert _claimed(tmp_path, stem, at.replace(minute=16)) == "cam-2026-11-30T10-16-00Z-3"


def _claimed(folder: Path, stem: PurePosixPath, at: datetime) -> str:
    """The name that a segment takes; whoever has it is killed at once."""
    with Folder.at(folder) as place:
        attempt, own = claim(place, stem, at)
    attempt.close()
    return own.name


def test_a_run_that_fails_keeps_what_it_recorded(ts: Path, tmp_path: Path) -> None:
    with Camera(ts, Play(130, gap_s=0.02)) as camera:
        video = fake_engine(fail_after=80, **_settings()).run([camera.url], tmp_path)["videos"][0]
    assert video["status"] == "failed"
    first, last = video["segments"]
    assert (first["frames"], last["frames"]) == (50, frames_in(Path(last["outputs"]["video"])))
    assert left_over(tmp_path, "*.part", "*.new", ".yolo-engine") == []


def test_a_sink_that_fails_within_a_frame(ts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The outputs then differ by a frame: they appear as they were at the last moment when they agreed."""
    write, given = AnnotatedVideo.write, 0

    def breaks(self: AnnotatedVideo, tracks: Any) -> None:
        nonlocal given
        given += 1
        if given == 80:
            raise SinkError("no space left on the disk")
        write(self, tracks)

    monkeypatch.setattr(AnnotatedVideo, "write", breaks)
    with Camera(ts, Play(130, gap_s=0.02)) as camera:
        video = fake_engine(**_settings(), checkpoint_s=0.1).run([camera.url], tmp_path)["videos"][0]
    assert (video["status"], video["error"]) == ("failed", "no space left on the disk")
    (complete,) = video["segments"]
    assert complete["frames"] == 50
    (partial,) = tmp_path.glob("*.partial.mp4")
    (tracks,) = tmp_path.glob("*.partial.tracks.jsonl")
    assert 1 <= frames_in(partial) <= 29
    assert rows(tracks)[-1]["frame"] == frames_in(partial) - 1
    assert left_over(tmp_path, "*.part", "*.new", ".yolo-engine") == []


def test_a_segment_that_can_not_be_begun(ts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves nothing, least of all empty files under its name."""
    opened = TracksJsonl.open
    begun: list[object] = []

    def opens(self: TracksJsonl, info: Any) -> None:
        begun.append(self)
        if len(begun) == 2:
            _no_space()
        opened(self, info)

    monkeypatch.setattr(TracksJsonl, "open", opens)
    with Camera(ts, Play(130, gap_s=0.02)) as camera:
        video = fake_engine(**_settings()).run([camera.url], tmp_path)["videos"][0]
    assert (video["status"], video["error"]) == ("failed", "no space left on the disk")
    assert [segment["frames"] for segment in video["segments"]] == [50]
    assert len(list(tmp_path.glob("cam-*"))) == 3
    assert left_over(tmp_path, "*.part", "*.new", ".yolo-engine") == []


def test_a_recording_that_has_begun_is_not_salvaged(ts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However late the salvaging comes: it knows what was there before."""
    begun = threading.Event()

    def late(place: Folder, left: list[Any]) -> None:
        assert begun.wait(20)
        salvage(place, left)

    monkeypatch.setattr("engine.pipeline.recording.salvage", late)

    def progress(streams: list[Any]) -> None:
        if any(stream.frames > 20 for stream in streams):
            begun.set()

    with Camera(ts, Play(130, gap_s=0.02)) as camera:
        video = fake_engine(**_settings()).run([camera.url], tmp_path, progress=progress)["videos"][0]
    assert (video["status"], len(video["segments"])) == ("ok", 3)
    assert left_over(tmp_path, "*.partial.*") == []


def test_what_can_not_be_salvaged_stays(ts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is still full: nothing is deleted, and the next start tries again."""
    monkeypatch.setattr(AnnotatedVideo, "complete", _no_space)
    monkeypatch.setattr("engine.pipeline.recording.set_aside", _no_space)
    with Camera(ts, Play(30), Play(30)) as camera:
        first = fake_engine(**_settings()).run([camera.url], tmp_path)["videos"][0]
        assert (first["status"], first.get("segments", [])) == ("failed", [])
        assert len(left_over(tmp_path, "*.part")) == 3
        monkeypatch.undo()
        second = fake_engine(**_settings()).run([camera.url], tmp_path)["videos"][0]
    assert second["status"] == "ok"
    (partial,) = tmp_path.glob("*.partial.mp4")
    assert frames_in(partial) == 30
    assert left_over(tmp_path, "*.part", "*.new", ".yolo-engine") == []


def _no_space(*_: object) -> None:
    raise SinkError("no space left on the disk")


@pytest.mark.parametrize("intermediate", [True, False])
def test_nothing_of_the_kind_is_kept_where_it_is_not_wanted(ts: Path, tmp_path: Path, intermediate: bool) -> None:
    with Camera(ts, Play(60)) as camera:
        video = _run(camera.url, tmp_path, save_intermediate_results=intermediate, resume=False)
    assert [segment["frames"] for segment in video["segments"]] == [50, 10]
    assert left_over(tmp_path, "*.part", "*.new", ".yolo-engine") == []


def _with_sound() -> bytes:
    """Six seconds of MPEG-TS, a tone beside the pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as output:
        video = output.add_stream("libx264", rate=25, options={"preset": "ultrafast", "g": "25"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = output.add_stream("aac", rate=48_000, layout="mono")
        tone, sample = np.sin(np.arange(1024) / 7).astype(np.float32)[None], 0
        for index in range(150):
            output.mux(video.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
            while sample / 48_000 < (index + 1) / 25:
                sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                sound.sample_rate, sound.pts = 48_000, sample
                output.mux(audio.encode(sound))
                sample += 1024
        output.mux(video.encode(None))
        output.mux(audio.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("again", [False, True])
def test_each_segment_has_its_sound(tmp_path: Path, again: bool) -> None:
    """Each packet of sound is in one segment, beside its pictures. `again`: the source breaks off and comes back."""
    data = _with_sound()

    def answer(request: Any, number: int) -> None:
        if number > again:
            request.send_error(404)
            return
        head(request)
        request.wfile.write(data)

    with served(answer) as url:
        video = _run(f"{url}/cam", tmp_path, reconnect_attempts=int(again))
    segments = [Path(segment["outputs"]["video"]) for segment in video["segments"]]
    assert len(segments) == 3 * (1 + again)
    packets = 0
    for path in segments[:3]:
        with av.open(str(path)) as container:
            times_s = [float(p.pts * p.time_base) for p in container.demux(audio=0) if p.pts is not None]
        packets += len(times_s)
        assert 0 <= times_s[0] < 0.1
        assert 1.9 < times_s[-1] < 2.05
        assert _begins(path) == (0, True)
    with av.open(io.BytesIO(data)) as container:
        assert packets >= sum(1 for p in container.demux(audio=0) if p.size) - 2


def test_frames_that_were_dropped_have_no_number(ts: Path, tmp_path: Path) -> None:
    """A row's frame is the one in the segment's video, also where the engine could not keep up."""
    with Camera(ts, Play(150, gap_s=0.005)) as camera:
        engine = fake_engine(delay_s=0.03, workers=1, **_settings(window=3))
        video = engine.run([camera.url], tmp_path)["videos"][0]
    assert video["dropped_frames"] > 10
    assert video["frames"] + video["dropped_frames"] == 150
    for segment in video["segments"]:
        outputs = {kind: Path(path) for kind, path in segment["outputs"].items()}
        with av.open(str(outputs["video"])) as container:
            times_s = [round(float(frame.time), 6) for frame in container.decode(video=0)]
        assert len(times_s) == segment["frames"]
        assert {row["frame"]: row["time_s"] for row in rows(outputs["tracks"])}.items() <= set(enumerate(times_s))


def test_a_file_of_a_segments_name_is_not_replaced(ts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also not where it comes there while the segment grows: the recording stays in its attempt, and is not lost."""
    complete = AnnotatedVideo.complete

    def take_the_name(video: AnnotatedVideo, end: EndOfStream) -> Path:
        (folder,) = (folder for folder in (tmp_path / ".yolo-engine").glob("cam-*Z-*"))
        (tmp_path / f"{folder.name.rpartition('-')[0]}.mp4").write_text("another's")
        monkeypatch.undo()
        return complete(video, end)

    monkeypatch.setattr(AnnotatedVideo, "complete", take_the_name)
    with Camera(ts, Play(30, gap_s=0.02), Play(30)) as camera:
        video = fake_engine(**_settings()).run([camera.url], tmp_path)["videos"][0]
        (taken,) = tmp_path.glob("cam-*.mp4")
        assert taken.read_text() == "another's"
        assert (video["status"], video["error"]) == ("failed", f"{taken.name} can't be written: file exists")
        taken.rename(tmp_path / "away.mp4")
        _run(camera.url, tmp_path)
    assert frames_in(taken) == 30
    assert [(line["frames"], "salvaged" in line) for line in rows(tmp_path / "cam.segments.jsonl")] == [(30, False)] * 2
    assert left_over(tmp_path, "*.part", "*.new", ".yolo-engine", "*.partial.*") == []


def test_a_kill_between_the_verdict_and_its_files(ts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed is complete: the next run lets it appear, not as a part."""
    with Camera(ts, Play(30), Play(30)) as camera:
        monkeypatch.setattr("engine.resume.attempts.Attempt.publish", _no_space)
        fake_engine(**_settings()).run([camera.url], tmp_path)
        assert list(tmp_path.glob("cam-*")) == []
        monkeypatch.undo()
        _run(camera.url, tmp_path)
    assert [frames_in(path) for path in tmp_path.glob("cam-*.mp4")] == [30, 30]
    assert [(line["frames"], "salvaged" in line) for line in rows(tmp_path / "cam.segments.jsonl")] == [(30, False)] * 2
    assert left_over(tmp_path, "*.part", "*.new", ".yolo-engine", "*.partial.*") == []


def test_a_damaged_journal_costs_no_part(ts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Camera(ts, Play(30), Play(30)) as camera:
        monkeypatch.setattr(AnnotatedVideo, "complete", _no_space)
        monkeypatch.setattr("engine.pipeline.recording.set_aside", _no_space)
        fake_engine(**_settings()).run([camera.url], tmp_path)
        monkeypatch.undo()
        (journal,) = (tmp_path / ".yolo-engine").glob("cam-*Z-*/*/journal.json")
        parts = {path: path.read_bytes() for path in journal.parent.glob("*.part")}
        journal.write_bytes(journal.read_bytes()[:-9])
        assert _run(camera.url, tmp_path)["status"] == "ok"
    assert len(parts) == 3
    assert {path: path.read_bytes() for path in parts} == parts


def test_the_list_is_not_written_through_a_link(ts: Path, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    out.mkdir()
    other.write_text("another's")
    (out / "cam.segments.jsonl").symlink_to(other)
    with Camera(ts, Play(30)) as camera:
        video = fake_engine(**_settings()).run([camera.url], out)["videos"][0]
    assert (video["status"], video["error"]) == ("failed", "cam.segments.jsonl can't be written: not a regular file")
    assert other.read_text() == "another's"
    assert [frames_in(path) for path in out.glob("cam-*.mp4")] == [30]


def test_the_output_folder_becomes_a_link_while_it_is_recorded_into(ts: Path, tmp_path: Path) -> None:
    """What is recorded stays in the folder that was opened, its list as well."""
    out, moved, elsewhere = tmp_path / "out", tmp_path / "moved", tmp_path / "elsewhere"
    elsewhere.mkdir()

    def progress(streams: list[Any]) -> None:
        if any(stream.frames > 20 for stream in streams) and not out.is_symlink():
            out.rename(moved)
            out.symlink_to(elsewhere)

    with Camera(ts, Play(130, gap_s=0.02)) as camera:
        summary = fake_engine(**_settings()).run([camera.url], out, progress=progress)
    assert summary["videos"][0]["status"] == "failed"
    assert "moved away" in summary["videos"][0]["error"]
    assert list(elsewhere.iterdir()) == []
    assert not (moved / "manifest.json").exists()


def test_a_killed_claim_leaves_nothing_for_long(ts: Path, tmp_path: Path) -> None:
    """Killed before the segment has a journal: its ticket tells whose it was."""
    with Folder.at(tmp_path) as place:
        claim(place, PurePosixPath("cam"), datetime(2026, 11, 30, tzinfo=UTC))[0].close()
    with Camera(ts, Play(30)) as camera:
        _run(camera.url, tmp_path)
    assert left_over(tmp_path, ".yolo-engine", "*.partial.*") == []
