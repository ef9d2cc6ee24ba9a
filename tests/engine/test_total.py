"""How far a run is: what is done, under way and waiting, and how long it will go on."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from engine.media.inputs import Video
from engine.pipeline.stream import Progress
from engine.pipeline.total import Totals, span
from tests.e2e.runs import clip, fake_engine


@pytest.fixture
def videos(tmp_path: Path) -> list[Video]:
    """Three files of 1000, 1000 and 2000 bytes."""
    for name, size in (("a", 1000), ("b", 1000), ("c", 2000)):
        (tmp_path / name).write_bytes(bytes(size))
    return [Video(str(tmp_path / name), PurePosixPath(name)) for name in "abc"]


def _at(name: str, frames: int, total: int | None, resumed_from: int = 0) -> Progress:
    return Progress(name, frames, total, 1.0, name, 0, resumed_from)


def _now(totals: Totals, *active: Progress, elapsed_s: float = 10.0) -> Any:
    totals._started -= elapsed_s
    return totals.now(active)


def test_what_is_not_open_is_guessed_by_its_size(videos: list[Video]) -> None:
    totals = Totals(videos)
    assert _now(totals, elapsed_s=0.0).frames_total is None
    assert totals.now([_at("a", 0, None)]).left_s is None
    total = _now(totals, _at("a", 50, 100))
    assert (total.videos, total.done, total.frames, total.frames_total) == (3, 0, 50, 400)
    assert total.fps == pytest.approx(5, rel=0.01)
    assert total.left_s == pytest.approx(70, rel=0.01)
    totals.ended("a", 100)
    total = totals.now([_at("b", 100, 300), _at("a", 100, 100)])
    assert (total.done, total.frames, total.frames_total) == (1, 200, 800)
    for name, frames in (("b", 300), ("c", 500)):
        totals.ended(name, frames)
    total = totals.now([])
    assert (total.done, total.frames, total.frames_total, total.left_s) == (3, 900, 900, 0)


def test_what_was_done_before_does_not_make_this_run_fast(videos: list[Video]) -> None:
    totals = Totals(videos, [(videos[0], 100)])
    total = _now(totals, _at("b", 90, 100, resumed_from=40))
    assert (total.done, total.frames, total.frames_total) == (1, 190, 400)
    assert total.fps == pytest.approx(5, rel=0.01)


def test_a_failed_video_teaches_nothing(videos: list[Video]) -> None:
    totals = Totals(videos)
    totals.ended("a", 0)
    assert _now(totals, _at("b", 10, 100)).frames_total == 300


def test_a_live_source_has_no_end(videos: list[Video]) -> None:
    totals = Totals([*videos, Video("rtsp://camera/1", PurePosixPath("1"))])
    total = _now(totals, _at("a", 50, 100))
    assert (total.videos, total.frames_total, total.left_s) == (4, None, None)
    assert total.line() == "0 of 4 videos done, 50 frames, 5 fps"


def test_of_a_run(tmp_path: Path) -> None:
    for number in range(3):
        clip(tmp_path / "in" / f"{number}.mp4", 30, seed=number)
    engine = fake_engine(delay_s=0.01, streams=1)
    seen: list[Any] = []
    engine.run([tmp_path / "in"], tmp_path / "out", progress=lambda streams: seen.append(engine.total(streams)))
    assert all(total.videos == 3 and total.frames <= 90 for total in seen)
    assert [total.done for total in seen] == sorted(total.done for total in seen)
    last = engine.total([])
    assert last is not None
    assert (last.done, last.frames, last.frames_total) == (3, 90, 90)


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00:00"), (59.6, "0:01:00"), (3725, "1:02:05"), (360000, "100:00:00")]
)
def test_span(seconds: float, shown: str) -> None:
    assert span(seconds) == shown
