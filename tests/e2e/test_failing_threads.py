"""Whatever thread dies, the run ends, says why, and leaves no thread behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import SourceError, VideoError
from engine.media.inputs import Video, find_videos
from engine.media.source import Source
from engine.pipeline.stream import Progress, StreamRun
from engine.records import EndOfStream, StreamInfo, Tracks
from engine.sinks.memory import CallbackSink
from engine.stages.decode import Decoder
from engine.stages.postprocess import Postprocess
from engine.stages.preprocess import Preprocess
from engine.stages.track import Track
from tests.e2e.runs import clip, engine_threads, fake_engine, left_over, statuses
from tests.waiting import until

pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    for number in range(4):
        clip(tmp_path / "in" / f"{number}.mp4", 40, seed=number)
    return tmp_path / "in"


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    until(lambda: not engine_threads(), about=engine_threads)


@pytest.mark.parametrize("calls", [0, 1, 30, 100])
@pytest.mark.parametrize(("workers", "batch"), [(1, 1), (3, 4)])
def test_inference_fails(videos: Path, tmp_path: Path, calls: int, workers: int, batch: int) -> None:
    engine = fake_engine(fail_after=calls // batch, workers=workers, batch=batch, streams=2, window=4)
    summary = engine.run([videos], tmp_path / "out")
    assert len(summary["videos"]) == 4
    assert engine_threads() == []
    assert not summary["success"]
    failed = [video for video in summary["videos"] if video["status"] == "failed"]
    assert failed
    assert {video["error"] for video in failed} == {"the fake backend was told to fail"}
    assert all(video["outputs"] == {} for video in failed)
    assert left_over(tmp_path / "out") == []
    assert (tmp_path / "out" / "manifest.json").exists()


class _Failing:
    """A sink that raises in one of its calls."""

    kind = "failing"

    def __init__(self, at: str, error: BaseException) -> None:
        self._at, self._error = at, error
        self.aborted = False

    def _maybe(self, at: str) -> None:
        if at == self._at:
            raise self._error

    def open(self, info: StreamInfo) -> None:
        self._maybe("open")

    def write(self, tracks: Tracks) -> None:
        self._maybe("write")

    def commit(self, end: EndOfStream, path: Path) -> None:
        self._maybe("commit")

    def abort(self) -> None:
        self.aborted = True
        self._maybe("abort")


@pytest.mark.parametrize("at", ["open", "write", "commit"])
@pytest.mark.parametrize(
    "error", [VideoError("the disk is on fire"), ZeroDivisionError("by zero"), SystemExit(3), KeyError("x")]
)
def test_a_sink_fails(videos: Path, at: str, error: BaseException) -> None:
    """Its video fails with the reason; the others go on, and other outputs of the failed one are discarded."""
    made: list[_Failing] = []

    def sinks(video: Video) -> dict[str, Any]:
        if video.path.endswith("2.mp4"):
            made.append(_Failing(at, error))
            return {"failing": (made[-1], Path())}
        return {"callback": (CallbackSink(lambda tracks: None), Path())}

    outcomes = fake_engine(window=2).process(find_videos([str(videos)], Path("none")), sinks)
    assert [outcome.status for outcome in outcomes] == ["ok", "ok", "failed", "ok"]
    assert outcomes[2].error is not None
    assert (str(error) if isinstance(error, VideoError) else type(error).__name__) in outcomes[2].error
    assert made[0].aborted


def test_an_abort_that_fails_does_not_hide_the_reason(videos: Path) -> None:
    def sinks(video: Video) -> dict[str, Any]:
        first = _Failing("write", VideoError("the first reason"))
        return {"a": (_Failing("abort", ZeroDivisionError()), Path()), "b": (first, Path())}

    outcomes = fake_engine().process(find_videos([str(videos)], Path("none")), sinks)
    assert {outcome.error for outcome in outcomes} == {"the first reason"}


def test_an_output_already_published_goes_when_a_later_one_fails(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "1.mot.txt").mkdir(parents=True)  # a folder stands where the file should be
    summary = fake_engine().run([videos], tmp_path / "out")
    assert statuses(summary) == {"0.mp4": "ok", "1.mp4": "failed", "2.mp4": "ok", "3.mp4": "ok"}
    assert "1.mot.txt can't be written" in summary["videos"][1]["error"]
    assert not (tmp_path / "out" / "1.tracks.jsonl").exists()
    assert left_over(tmp_path / "out") == []


def _dies(after: int, error: BaseException) -> Callable[..., Iterator[Any]]:
    original = Source.packets

    def packets(self: Source) -> Iterator[Any]:
        for count, packet in enumerate(original(self)):
            if count == after and self.path.endswith("1.mp4"):
                raise error
            yield packet

    return packets


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (SourceError("reading stopped: the cable is out"), "partial"),
        (RuntimeError("a bug"), "failed"),
        (MemoryError(), "failed"),
        (SystemExit(1), "failed"),
    ],
)
@pytest.mark.parametrize("window", [1, 8])
def test_a_reader_dies(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: str, window: int
) -> None:
    monkeypatch.setattr(Source, "packets", _dies(20, error))
    summary = fake_engine(window=window).run([videos], tmp_path / "out")
    assert statuses(summary) == {"0.mp4": "ok", "1.mp4": status, "2.mp4": "ok", "3.mp4": "ok"}
    assert summary["videos"][1]["error"]
    if status == "partial":
        assert summary["videos"][1]["frames"] == 20  # also what the decoder still held


@pytest.mark.parametrize("method", ["open", "packets", "close"])
def test_a_source_with_a_bug(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def raises(self: Source, *_: object) -> Any:
        raise AttributeError("no such thing")

    monkeypatch.setattr(Source, method, raises)
    summary = fake_engine().run([videos], tmp_path / "out")
    assert len(summary["videos"]) == 4
    if method != "close":
        assert {video["error"] for video in summary["videos"]} == {"AttributeError: no such thing"}


def test_a_decoder_dies(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Decoder.decode

    def decode(self: Decoder, packet: Any) -> Iterator[Any]:
        if self.packets == 10:
            raise ValueError("an impossible picture")
        yield from original(self, packet)

    monkeypatch.setattr(Decoder, "decode", decode)
    summary = fake_engine(window=3).run([videos], tmp_path / "out")
    assert {video["error"] for video in summary["videos"]} == {"ValueError: an impossible picture"}
    assert left_over(tmp_path / "out") == []


@pytest.mark.parametrize("stage", ["track", "postprocess", "preprocess"])
def test_a_shared_stage_dies(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """A bug in what all streams share ends the run; nothing waits, everything is reported."""
    engine = fake_engine(window=2, streams=3)
    calls = 0

    def process(*_: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 5:
            raise RuntimeError("a bug")
        return original(*_)

    kind: Any = {"track": Track, "postprocess": Postprocess, "preprocess": Preprocess}[stage]
    original = kind.process
    monkeypatch.setattr(kind, "process", process)
    summary = engine.run([videos], tmp_path / "out")
    assert set(statuses(summary).values()) == {"failed"}
    assert {video["error"] for video in summary["videos"]} == {"RuntimeError: a bug"}


def test_a_sink_factory_that_fails(videos: Path) -> None:
    def sinks(video: Video) -> dict[str, Any]:
        if video.path.endswith("1.mp4"):
            raise ValueError("no sink for this one")
        return {"callback": (CallbackSink(lambda tracks: None), Path())}

    outcomes = fake_engine(streams=1).process(find_videos([str(videos)], Path("none")), sinks)
    assert [outcome.status for outcome in outcomes] == ["ok", "failed", "ok", "ok"]


def test_threads_that_cannot_start(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name == "decode-1":
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start"):
        fake_engine(streams=2).run([videos], tmp_path / "out")
    assert engine_threads() == []


@pytest.mark.parametrize("error", [ZeroDivisionError(), KeyboardInterrupt()])
def test_the_progress_callback_raises(videos: Path, tmp_path: Path, error: BaseException) -> None:
    """It is the caller's: the run ends and the caller gets it; as from a Ctrl-C without a handler."""

    def progress(_: list[Progress]) -> None:
        raise error

    with pytest.raises(type(error)):
        fake_engine(delay_s=0.05).run([videos], tmp_path / "out", progress=progress)
    assert engine_threads() == []
    assert left_over(tmp_path / "out") == []


def test_stop_from_inside_progress(videos: Path, tmp_path: Path) -> None:
    """What a signal handler does: it runs on the thread that may hold the pipeline's lock."""
    engine = fake_engine(delay_s=0.02, streams=2)
    original = StreamRun.progress

    def progress(run: Any) -> Progress:
        engine.stop()
        return original(run)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamRun, "progress", progress)
        summary = engine.run([videos], tmp_path / "out", progress=lambda _: None)
    assert "ok" not in statuses(summary).values()
    assert engine.interrupted


# -- Engine.stream ----------------------------------------------------------------------------------------------------


def test_stream_gives_every_frame_with_its_picture(videos: Path) -> None:
    found = list(fake_engine(window=3).stream(videos / "0.mp4"))
    assert [tracks.frame.index for tracks in found] == list(range(40))
    assert all(tracks.frame.image is not None for tracks in found)


@pytest.mark.parametrize("taken", [0, 1, 7])
@pytest.mark.parametrize("how", ["break", "close", "forget", "throw"])
def test_a_caller_of_stream_stops_early(videos: Path, taken: int, how: str) -> None:
    iterator = fake_engine(window=2).stream(videos / "0.mp4")
    for _ in range(taken):
        next(iterator)
    if how == "break":
        for _ in iterator:
            break
        iterator.close()  # type: ignore[attr-defined]
    elif how == "close":
        iterator.close()  # type: ignore[attr-defined]
    elif how == "throw":
        with pytest.raises(KeyboardInterrupt):
            iterator.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    del iterator
    gc.collect()
    assert engine_threads() == []


def test_two_streams_of_one_engine_do_not_stop_each_other(videos: Path) -> None:
    engine = fake_engine(window=2)
    first, second = engine.stream(videos / "0.mp4"), engine.stream(videos / "1.mp4")
    next(first)
    next(second)
    first.close()  # type: ignore[attr-defined]
    assert sum(1 for _ in second) == 39


def test_stream_of_a_broken_video(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(VideoError, match=r"x\.mp4 can't be opened"):
        list(fake_engine().stream(tmp_path / "x.mp4"))


def test_stream_when_inference_fails(videos: Path) -> None:
    seen: list[Tracks] = []
    with pytest.raises(VideoError, match="told to fail"):
        seen.extend(fake_engine(fail_after=5, window=2).stream(videos / "0.mp4"))
    assert len(seen) <= 5
