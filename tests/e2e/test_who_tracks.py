"""With a worker for each core, workers decode, track and write as well; else each stream has threads for that. The
results are the same."""

from __future__ import annotations

import errno
import hashlib
import threading
from pathlib import Path
from typing import Any

import av
import pytest

from engine.media.source import Source
from engine.records import Tracks
from engine.sinks.jsonl import TracksJsonl
from engine.stages.decode import Decoder
from engine.stages.track import Track
from tests.e2e.runs import clip, engine_threads, fake_engine
from tests.waiting import until

pytestmark = pytest.mark.timeout(20)

HOSTED, APART = ["decode", "worker"], ["decode", "worker", "sink"]


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.engine.available_cores", lambda: 2)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for number in range(3):
        clip(tmp_path / "in" / f"{number}.mp4", 40, seed=number)
    return tmp_path / "in"


@pytest.mark.parametrize("visualize", [False, True])
def test_whoever_does_it(videos: Path, tmp_path: Path, visualize: bool) -> None:
    rows = []
    for workers, batch, roles in ((2, 1, HOSTED), (5, 1, HOSTED), (1, 1, APART), (2, 2, APART)):
        out = tmp_path / f"{workers}-{batch}"
        with fake_engine(workers=workers, batch=batch, streams=2, visualize=visualize, stats=True) as engine:
            summary = engine.run([videos], out)
        assert summary["success"]
        assert [threads["of"] for threads in summary["verdict"]["threads"]] == roles
        stages = {
            each["stage"]: each["frames"] for threads in summary["verdict"]["threads"] for each in threads["stages"]
        }
        assert (stages["decode"], stages["track"], stages["sink tracks"], stages["tally"]) == (120, 120, 120, 120)
        assert _who_decodes(summary) == ["worker" if roles == HOSTED else "decode"]
        rows.append([path.read_bytes() for path in sorted(out.glob("*.tracks.jsonl"))])
    assert len(rows[0]) == 3
    assert all(each == rows[0] for each in rows)


@pytest.mark.parametrize(
    ("settings", "who"),
    [
        ({"window": 1}, "worker"),
        ({"skip_frames": 2}, "worker"),
        ({"skip_frames": 2, "fill": "both", "visualize": False}, "decode"),  # frames wait for the next inferred one
        ({"gate": "motion"}, "decode"),  # its decoder waits for the audit
    ],
)
def test_who_decodes(videos: Path, tmp_path: Path, settings: dict[str, Any], who: str) -> None:
    with fake_engine(workers=2, streams=3, stats=True, **settings) as engine:
        summary = engine.run([videos], tmp_path / "out")
    assert [(video["status"], video["frames"]) for video in summary["videos"]] == [("ok", 40)] * 3
    assert _who_decodes(summary) == [who]


def _who_decodes(summary: Any) -> list[str]:
    threads = summary["verdict"]["threads"]
    return [each["of"] for each in threads for stage in each["stages"] if stage["stage"] == "decode"]


def test_a_decoder_that_fails_on_a_worker(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The video fails; workers, and the others, go on."""
    plain, calls = Decoder.decode, iter(range(1_000))

    def decode(self: Decoder, packet: av.Packet) -> Any:
        if next(calls) == 30:
            raise ZeroDivisionError("by zero")
        return plain(self, packet)

    monkeypatch.setattr(Decoder, "decode", decode)
    with fake_engine(workers=2, streams=1) as engine:
        summary = engine.run([videos], tmp_path / "out")
    assert [video["status"] for video in summary["videos"]] == ["failed", "ok", "ok"]
    assert summary["videos"][0]["error"] == "ZeroDivisionError: by zero"


def test_a_source_is_not_closed_under_a_worker(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that ends by a failure waits for a worker that is still decoding."""
    decoding, begun, failed = threading.Lock(), threading.Event(), threading.Event()
    plain, closes = Decoder.decode, Source.close
    calls = iter(range(1_000))

    def decode(self: Decoder, packet: av.Packet) -> Any:
        with decoding:
            if next(calls) == 20:
                begun.set()
                assert failed.wait(10)
            return plain(self, packet)

    def process(self: Track, *arguments: Any) -> Any:
        if begun.is_set():
            failed.set()
            raise ZeroDivisionError("by zero")
        return track(self, *arguments)

    def close(self: Source) -> None:
        assert not decoding.locked()
        closes(self)

    track = Track.process
    monkeypatch.setattr(Decoder, "decode", decode)
    monkeypatch.setattr(Track, "process", process)
    monkeypatch.setattr(Source, "close", close)
    with fake_engine(workers=2, streams=1) as engine:
        summary = engine.run([videos / "0.mp4"], tmp_path / "out")
    assert summary["videos"][0]["error"] == "ZeroDivisionError: by zero"
    until(lambda: not engine_threads(), about=engine_threads)


@pytest.mark.parametrize(("workers", "streams"), [(1, 1), (2, 2)])
def test_frames_that_grow_do_not_hold_up_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, streams: int
) -> None:
    """Where frames prove to be large while small ones are still in flight, there is less room than was seen before."""
    monkeypatch.setattr("engine.engine.available_cores", lambda: workers)
    for number in range(streams):
        small, large = tmp_path / f"small{number}.ts", tmp_path / f"large{number}.ts"
        clip(small, 30, codec="mpeg2video", container="mpegts", seed=number)
        clip(large, 30, (128, 96), codec="mpeg2video", container="mpegts", seed=number)
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / f"{number}.ts").write_bytes(small.read_bytes() + large.read_bytes())
    with fake_engine(workers=workers, streams=streams, max_frame_bytes=20_000, delay_s=0.01) as engine:
        summary = engine.run([tmp_path / "in"], tmp_path / "out")
    assert all(video["frames"] > 30 for video in summary["videos"])
    assert len(summary["videos"]) == streams


def test_a_file_that_can_not_be_looked_at_at_its_end(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails alone."""
    plain = Source.changed

    def changed(self: Source) -> str | None:
        if self.path.endswith("0.mp4"):
            raise OSError(errno.ESTALE, "stale")
        return plain(self)

    monkeypatch.setattr(Source, "changed", changed)
    with fake_engine(workers=2, streams=1) as engine:
        summary = engine.run([videos], tmp_path / "out")
    assert [video["status"] for video in summary["videos"]] == ["failed", "ok", "ok"]
    assert "stale" in summary["videos"][0]["error"]


def test_a_caller_is_not_waited_for_by_workers(videos: Path) -> None:
    with fake_engine(workers=2) as engine:
        frames = engine.stream(videos / "0.mp4")
        next(frames)
        assert any(name.startswith("sink") for name in engine_threads())
        assert sum(1 for _ in frames) == 39


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_one_at_a_time_in_order(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    """Workers that bring results while another one writes leave them to it."""
    plain = TracksJsonl.write
    seen: dict[int, list[int]] = {}
    writing = threading.Lock()

    def write(self: TracksJsonl, tracks: Tracks) -> None:
        assert writing.acquire(blocking=False), "two write at once"
        try:
            hashlib.sha256(bytes(1_000_000)).digest()  # gives others Python's lock
            seen.setdefault(id(self), []).append(tracks.frame.index)
            plain(self, tracks)
        finally:
            writing.release()

    monkeypatch.setattr(TracksJsonl, "write", write)
    with fake_engine(workers=workers, streams=1) as engine:
        assert engine.run([videos / "0.mp4"], tmp_path / "out")["success"]
    assert list(seen.values()) == [list(range(40))]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("at", [0, 25])
def test_a_tracker_that_fails_ends_the_run(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, at: int
) -> None:
    plain, calls = Track.process, iter(range(1_000))

    def process(self: Track, *arguments: Any) -> Any:
        if next(calls) == at:
            raise ZeroDivisionError("by zero")
        return plain(self, *arguments)

    monkeypatch.setattr(Track, "process", process)
    with fake_engine(workers=workers, streams=2) as engine:
        summary = engine.run([videos], tmp_path / "out")
    assert not summary["success"]
    assert "ZeroDivisionError: by zero" in {video["error"] for video in summary["videos"]}
    until(lambda: not engine_threads(), about=engine_threads)
