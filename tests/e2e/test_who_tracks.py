"""With a worker for each core, workers track and write as well; else each stream has a thread for it. The results are
the same."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.records import Tracks
from engine.sinks.jsonl import TracksJsonl
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
        assert (stages["track"], stages["sink tracks"], stages["tally"]) == (120, 120, 120)
        rows.append([path.read_bytes() for path in sorted(out.glob("*.tracks.jsonl"))])
    assert len(rows[0]) == 3
    assert all(each == rows[0] for each in rows)


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
