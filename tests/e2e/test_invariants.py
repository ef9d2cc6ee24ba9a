"""How videos share a run never changes a result, and a long run keeps nothing of the videos behind it."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import psutil
import pytest

from engine.pipeline import pipeline as pipeline_module
from engine.pipeline.channel import Handoff
from engine.pipeline.stream import StreamRun
from engine.profiling.metrics import Clock
from engine.records import EndOfStream, Tracks
from tests.e2e.runs import clip, engine_threads, fake_engine, statuses

pytestmark = pytest.mark.timeout(60)

SIZES = [(64, 48), (48, 64), (64, 48), (160, 32), (96, 96)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of several shapes and lengths, one of a single frame."""
    folder = tmp_path_factory.mktemp("mixed")
    for number, (size_wh, frames) in enumerate(zip(SIZES, (30, 17, 1, 9, 25), strict=True)):
        clip(folder / f"{number}.mp4", frames, size_wh, seed=number)
    return folder


@pytest.fixture(scope="module")
def alone(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What each clip gives in a run of its own, one frame at a time."""
    output = tmp_path_factory.mktemp("alone")
    for path in sorted(mixed.iterdir()):
        fake_engine(batch=1, workers=1, streams=1, window=1).run([path], output)
    return {path.name: path.read_bytes() for path in output.glob("*.tracks.jsonl")}


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize("window", [1, 2, 64])
def test_neighbours_never_change_a_result(
    mixed: Path, alone: dict[str, bytes], tmp_path: Path, batch: int, workers: int, streams: int, window: int
) -> None:
    engine = fake_engine(batch=batch, workers=workers, streams=streams, window=window)
    summary = engine.run([mixed], tmp_path)
    assert set(statuses(summary).values()) == {"ok"}
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.tracks.jsonl")} == alone


@pytest.mark.parametrize("capacity", [1, 2])
def test_tiny_queues(
    mixed: Path, alone: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capacity: int
) -> None:
    """Queues may be smaller than the windows: whoever waits is woken."""
    monkeypatch.setattr(pipeline_module, "Handoff", lambda name, _: Handoff(name, capacity))
    fake_engine(batch=3, workers=3, streams=3, window=16).run([mixed], tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.tracks.jsonl")} == alone


def test_the_end_is_last_and_frames_are_in_order(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[int, list[int | str]] = {}
    write, finish = StreamRun.write, StreamRun.finish

    def noted_write(run: StreamRun, tracks: Tracks, clock: Clock) -> None:
        seen.setdefault(run.key, []).append(tracks.frame.index)
        write(run, tracks, clock)

    def noted_finish(run: StreamRun, end: EndOfStream) -> None:
        seen.setdefault(run.key, []).append("end")
        finish(run, end)

    monkeypatch.setattr(StreamRun, "write", noted_write)
    monkeypatch.setattr(StreamRun, "finish", noted_finish)
    fake_engine(batch=4, workers=4, streams=3).run([mixed], tmp_path)
    assert seen == {key: [*range(frames), "end"] for key, frames in enumerate((30, 17, 1, 9, 25))}


def test_a_lone_shape_is_not_held_up(tmp_path: Path) -> None:
    """Frames of one shape that never fill a batch don't wait for the end of a long video of another."""
    long = clip(tmp_path / "in" / "long.mp4", 400, (64, 48))
    short = clip(tmp_path / "in" / "short.mp4", 6, (48, 64))
    order: list[str] = []
    engine = fake_engine(batch=8, workers=1, streams=2, window=4, delay_s=0.01)
    with pytest.MonkeyPatch.context() as patch:
        finish = StreamRun.finish

        def noted(run: StreamRun, end: EndOfStream) -> None:
            order.append(Path(run.video.path).name)
            finish(run, end)

        patch.setattr(StreamRun, "finish", noted)
        engine.run([long, short], tmp_path / "out")
    assert order == ["short.mp4", "long.mp4"]


@pytest.mark.slow
def test_sixty_clips_leave_nothing_behind(tmp_path: Path) -> None:
    for number in range(60):
        clip(tmp_path / "in" / f"{number:02}.mp4", 8, (320, 240), seed=number)
    process = psutil.Process()
    files: list[int] = []
    threads: list[int] = []
    memory: list[int] = []

    def watch(_: object) -> None:
        files.append(len(os.listdir("/proc/self/fd")))
        threads.append(threading.active_count())

    engine = fake_engine(visualize=True, video_preset="ultrafast", streams=2, workers=2, window=4)
    engine.run([tmp_path / "in"], tmp_path / "warm")
    gc.collect()
    before = len(os.listdir("/proc/self/fd")), process.memory_info().rss
    for round_ in range(2):
        summary = engine.run([tmp_path / "in"], tmp_path / f"out{round_}", progress=watch)
        assert set(statuses(summary).values()) == {"ok"}
        gc.collect()
        memory.append(process.memory_info().rss)
    assert engine_threads() == []
    assert len(os.listdir("/proc/self/fd")) <= before[0]
    assert max(files) - before[0] < 40
    assert max(threads) < 40
    assert memory[-1] - before[1] < 40_000_000, [before[1], *memory]
