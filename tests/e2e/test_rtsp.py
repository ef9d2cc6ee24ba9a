"""A camera over RTSP, on 127.0.0.1: read, cut off, silent, not there, asking for a password, stopped."""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.media.source import Source
from tests.e2e.rtsp_server import Camera, Play, access_units, payloads
from tests.e2e.runs import clip, engine_threads, fake_engine, frames_in, left_over, rows

pytestmark = pytest.mark.timeout(60)

TICK = 3600  # 1/25 s at 90 kHz
PAUSE = 22_500  # 1/4 s before the first reconnection


@pytest.fixture(scope="module")
def ts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("ts") / "a.ts", 50, codec="libx264")


@pytest.fixture(scope="module")
def reordered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With B-frames."""
    options = {"preset": "veryfast", "bf": "2", "b_strategy": "0"}
    return clip(tmp_path_factory.mktemp("b") / "b.ts", 50, codec="libx264", options=options)


def _run(url: str, output: Path, **settings: Any) -> dict[str, Any]:
    """The result of one camera. The window is wide enough that nothing is dropped."""
    settings = {"open_timeout_s": 5.0, "read_timeout_s": 3.0, "reconnect_attempts": 0, "window": 200, **settings}
    summary = fake_engine(**settings).run([url], output)
    assert engine_threads() == []
    return dict(summary["videos"][0])


def _pts(video: dict[str, Any]) -> list[int]:
    """Of the frames with a track, checked to grow."""
    found = [row["pts"] for row in rows(Path(video["outputs"]["tracks"]))]
    assert found == sorted(found)
    seen = sorted(set(found))
    assert all(late - early >= TICK for early, late in pairwise(seen)), seen
    return seen


def _check_seams(pts: list[int], *, seams: int, frames: int) -> None:
    """Between connections lies the time that passed, at least the pause before the next one; elsewhere the pace."""
    off_pace = [late - early for early, late in pairwise(pts) if (late - early) % TICK]
    assert len(off_pace) <= seams
    assert pts[-1] >= (frames - 1) * TICK + seams * (PAUSE - TICK)


@pytest.mark.parametrize(("kind", "in_band"), [("ts", True), ("ts", False), ("reordered", True)])
def test_a_camera(kind: str, in_band: bool, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Every frame, in order, at the camera's own times, although its clock and its packets' numbers run over."""
    source: Path = request.getfixturevalue(kind)
    shown = [pts for pts, _ in access_units(source)]
    assert (shown != sorted(shown)) == (kind == "reordered")
    with Camera(source, Play(100, gap_s=0.015), in_band=in_band) as camera:
        video = _run(camera.url, tmp_path)
    assert (video["status"], video["error"], video["frames"]) == ("ok", None, 100)
    assert "dropped_frames" not in video
    assert video["tracks"] >= 1
    pts = _pts(video)
    assert len(pts) > 80
    assert {time % TICK for time in pts} == {pts[0] % TICK}
    assert pts[-1] - pts[0] <= 99 * TICK
    assert camera.fragments > 5
    assert camera.requests[:4] == ["OPTIONS", "DESCRIBE", "SETUP", "PLAY"]
    assert camera.requests[-1] == "TEARDOWN"
    assert "GET_PARAMETER" in camera.requests


def test_a_cut_connection_is_opened_again(ts: Path, tmp_path: Path) -> None:
    """Twice; then nobody answers. No two frames are closer than the camera's pace, over the seams either."""
    with Camera(ts, Play(40, "cut"), Play(40, "cut"), Play(50, "bye")) as camera:
        video = _run(camera.url, tmp_path, reconnect_attempts=2)
    assert video["status"] == "partial"
    assert video["error"] == "the stream ended after 130 frames and could not be opened again"
    assert video["frames"] == 130
    assert camera.requests.count("PLAY") == 3
    _check_seams(_pts(video), seams=2, frames=130)


@pytest.mark.parametrize("then", ["silent", "reports"])
def test_a_camera_that_falls_silent(then: str, ts: Path, tmp_path: Path) -> None:
    """Also one that goes on saying that it is there."""
    with Camera(ts, Play(60, then)) as camera:
        start = time.monotonic()
        video = _run(camera.url, tmp_path, read_timeout_s=1.0)
        took_s = time.monotonic() - start
    assert video["status"] == "partial"
    # FFmpeg gives either error, depending on where in its reading the time ran out.
    assert re.fullmatch(
        r"reading stopped: (no data within the timeout|input/output error) after 60 frames", video["error"]
    )
    assert video["frames"] == 60
    assert took_s < 1 + 9
    _pts(video)


def test_a_silent_camera_is_asked_again(ts: Path, tmp_path: Path) -> None:
    with Camera(ts, Play(40, "silent"), Play(40)) as camera:
        video = _run(camera.url, tmp_path, read_timeout_s=1.0, reconnect_attempts=1)
    assert (video["status"], video["frames"]) == ("partial", 80)
    _check_seams(_pts(video), seams=1, frames=80)


def test_a_camera_that_never_begins(ts: Path, tmp_path: Path) -> None:
    with Camera(ts, Play(0, "silent")) as camera:
        start = time.monotonic()
        video = _run(camera.url, tmp_path, open_timeout_s=0.5, read_timeout_s=0.5)
        took_s = time.monotonic() - start
    assert video["status"] == "failed"
    assert video["error"]
    assert took_s < 10
    assert video["outputs"] == {}


def test_a_camera_that_begins_late(ts: Path, tmp_path: Path) -> None:
    """It answers in time but sends nothing before the time for opening is over: its size is learnt from its frames."""
    with Camera(ts, Play(30, late_s=1.2)) as camera:
        video = _run(camera.url, tmp_path, open_timeout_s=0.6, read_timeout_s=5.0, visualize=True)
    assert (video["status"], video["frames"]) == ("ok", 30)
    assert frames_in(Path(video["outputs"]["video"])) == 30


def test_a_wrong_path(ts: Path, tmp_path: Path) -> None:
    with Camera(ts, Play()) as camera:
        video = _run(camera.url.replace("/cam", "/door"), tmp_path)
    assert video["status"] == "failed"
    assert video["error"].startswith("can't be opened: ")
    assert "404" in video["error"]
    assert "PLAY" not in camera.requests


@pytest.mark.parametrize(
    ("wanted", "status"),
    [(None, "partial"), ("s3cret", "partial"), ("another", "failed")],
    ids=["not asked for", "right", "wrong"],
)
def test_a_password_is_never_shown(
    wanted: str | None,
    status: str,
    ts: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Neither while it works, nor when the camera is cut off and gone, nor when the password is wrong."""
    caplog.set_level(logging.DEBUG)
    with Camera(ts, Play(30, "cut"), password=wanted) as camera:
        url = camera.url.replace("://", "://user:s3cret@") + "?token=s3cret"
        engine = fake_engine(open_timeout_s=5.0, read_timeout_s=3.0, reconnect_attempts=1, window=200)
        summary = engine.run([url], tmp_path)
    assert summary["videos"][0]["status"] == status
    assert "/cam" in caplog.text
    told = json.dumps(summary) + caplog.text + "".join(capfd.readouterr())
    names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    assert names
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "s3cret" not in told + "".join(names) + written


@pytest.mark.parametrize("then", ["sends", "silent", "gone"])
def test_a_stop_keeps_what_is_complete(then: str, ts: Path, tmp_path: Path) -> None:
    """While pictures come, while it waits for one, and while it tries to reach a camera that is gone."""
    play = Play(100_000) if then == "sends" else Play(60, "silent" if then == "silent" else "cut")
    engine = fake_engine(open_timeout_s=5.0, read_timeout_s=1.5, reconnect_attempts=50, window=200, visualize=True)
    summaries: list[dict[str, Any]] = []
    seen = threading.Event()

    def progress(runs: list[Any]) -> None:
        if any(run.frames >= 40 for run in runs):
            seen.set()

    with Camera(ts, play) as camera:
        runner = threading.Thread(
            target=lambda: summaries.append(engine.run([camera.url], tmp_path, progress=progress)), daemon=True
        )
        runner.start()
        assert seen.wait(30)
        assert then == "sends" or camera.sent_all.wait(30)
        start = time.monotonic()
        engine.stop()
        runner.join(20)
        assert not runner.is_alive()
        assert time.monotonic() - start < 10
    assert engine_threads() == []
    assert left_over(tmp_path) == []
    video = summaries[0]["videos"][0]
    assert video["status"] == "partial"
    assert f"interrupted after {video['frames']} frames" in video["error"]
    assert video["frames"] >= 40
    assert not any(".partial." in path for path in video["outputs"].values())  # a segment that ended is complete
    assert frames_in(Path(video["outputs"]["video"])) == video["frames"]
    assert _pts(video)[-1] <= (video["frames"] - 1) * TICK


def test_what_the_source_says_of_a_camera(ts: Path) -> None:
    with Camera(ts, Play()) as camera:
        source = Source(camera.url)
        info = source.open(3)
        source.close()
    assert (info.key, info.live, info.size_wh, info.frames, info.duration_s) == (3, True, (64, 48), None, None)


def test_fragments_of_a_picture() -> None:
    """The camera of these tests follows RFC 6184, 5.8: the first and the last are marked, together they are the NAL."""
    assert payloads(b"\x65" + b"a" * 100) == [b"\x65" + b"a" * 100]
    pieces = payloads(b"\x65" + b"abc" * 100)
    assert [piece[:2] for piece in pieces] == [b"\x7c\x85", b"\x7c\x05", b"\x7c\x45"]
    assert b"".join(piece[2:] for piece in pieces) == b"abc" * 100
