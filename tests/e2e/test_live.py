"""Sources behind a network, on 127.0.0.1: live MPEG-TS that breaks off, servers that fall silent, files over http."""

from __future__ import annotations

import contextlib
import http.server
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.media.inputs import find_videos
from engine.records import Tracks
from engine.sinks.memory import CallbackSink
from engine.text.masks import in_text, without_password
from tests.e2e.damage import cut
from tests.e2e.runs import clip, engine_threads, fake_engine, rows
from tests.waiting import until

pytestmark = pytest.mark.timeout(40)

Answer = Callable[[http.server.BaseHTTPRequestHandler, int], None]


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    """Serves http on a free port. `answer` gets the request and its number, from 0."""
    count = 0
    lock = threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal count
            with lock:
                number, count = count, count + 1
            with contextlib.suppress(OSError):  # the client went away
                answer(self, number)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def head(request: http.server.BaseHTTPRequestHandler, kind: str = "video/mp2t", size: int | None = None) -> None:
    request.send_response(200)
    request.send_header("Content-Type", kind)
    if size is not None:
        request.send_header("Content-Length", str(size))
    request.end_headers()


def _slowly(request: http.server.BaseHTTPRequestHandler, data: bytes, seconds: float) -> None:
    pieces = 20
    for start in range(0, len(data), -(-len(data) // pieces)):
        request.wfile.write(data[start : start + -(-len(data) // pieces)])
        request.wfile.flush()
        time.sleep(seconds / pieces)


@pytest.fixture(scope="module")
def ts(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return clip(tmp_path_factory.mktemp("ts") / "a.ts", 50, codec="libx264").read_bytes()


def _settings(**more: Any) -> dict[str, Any]:
    return {"open_timeout_s": 2.0, "read_timeout_s": 1.0, "reconnect_attempts": 2, **more}


def test_a_cut_connection_is_opened_again(ts: bytes, tmp_path: Path) -> None:
    """Twice a stream, the first cut half-way; then the server is gone."""

    def answer(request: http.server.BaseHTTPRequestHandler, number: int) -> None:
        if number == 0:
            head(request)
            _slowly(request, ts[: len(ts) // 2], 0.5)
        elif number == 1:
            head(request)
            _slowly(request, ts, 0.5)
        else:
            request.send_error(503)

    with served(answer) as url:
        summary = fake_engine(**_settings()).run([f"{url}/cam"], tmp_path)
    video = summary["videos"][0]
    assert video["status"] == "partial"
    assert "could not be opened again" in video["error"] or "reading stopped" in video["error"]
    assert 60 < video["frames"] + video.get("dropped_frames", 0) <= 100
    pts = [row["pts"] for row in rows(Path(video["outputs"]["tracks"]))]
    assert pts == sorted(set(pts))
    assert engine_threads() == []


def test_a_server_that_falls_silent(ts: bytes, tmp_path: Path) -> None:
    done = threading.Event()

    def answer(request: http.server.BaseHTTPRequestHandler, number: int) -> None:
        if number == 0:
            head(request)
            request.wfile.write(ts)
            request.wfile.flush()
        done.wait(20)

    start = time.monotonic()
    with served(answer) as url:
        summary = fake_engine(**_settings()).run([f"{url}/cam"], tmp_path)
        done.set()
    video = summary["videos"][0]
    assert video["status"] == "partial"
    assert "no data within the timeout" in video["error"]
    assert video["frames"] + video.get("dropped_frames", 0) >= 45
    assert time.monotonic() - start < 1 + 2 * (2 + 0.5) + 4


@pytest.mark.parametrize("scheme", ["http", "rtsp", "rtmp"])
def test_a_refused_connection(tmp_path: Path, scheme: str, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    caplog.set_level(logging.DEBUG)
    url = f"{scheme}://user:s3cret@127.0.0.1:{port}/cam?token=s3cret"
    summary = fake_engine(**_settings()).run([url], tmp_path)
    video = summary["videos"][0]
    assert video["status"] == "failed"
    assert video["error"].startswith("can't be opened: ")
    assert "s3cret" not in json.dumps(summary) + (tmp_path / "manifest.json").read_text() + caplog.text


def test_a_password_is_never_shown(ts: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither when it works, nor when the server refuses it, nor when it breaks off."""

    def answer(request: http.server.BaseHTTPRequestHandler, number: int) -> None:
        if "denied" in request.path:
            request.send_error(403)
        elif number < 3:
            head(request)
            request.wfile.write(ts)
        else:
            request.send_error(401)

    caplog.set_level(logging.DEBUG)
    with served(answer) as url:
        address = url.replace("://", "://user:s3cret@")
        signed = "X-Amz-Credential=s3cret&X-Amz-Signature=s3cret"
        named = [f"{address}/cam", f"{address}/denied?password=s3cret", f"{address}/denied?{signed}#s3cret"]
        summary = fake_engine(**_settings(reconnect_attempts=1)).run(named, tmp_path)
    told = json.dumps(summary) + caplog.text + (tmp_path / "manifest.json").read_text()
    assert "s3cret" not in told
    assert summary["videos"][1]["status"] == "failed"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://u:p@h/x", "rtsp://***@h/x"),
        ("rtsp://u:p@h:554/x?a=1", "rtsp://***@h:554/x?a=1"),
        ("rtsp://u:p/w@h/x", "rtsp://***@h/x"),
        ("rtsp://u:12/w@h/x", "rtsp://***@h/x"),
        ("http://u:p?w@h/x", "http://***@h/x"),
        ("http://u:p#w@h/x", "http://***@h/x"),
        ("http://u:p@h", "http://***@h"),
        ("http://h:80/a@b", "http://h:80/a@b"),
        ("http://h/x?user=me&password=pw&c=1", "http://h/x?user=***&password=***&c=1"),
        ("http://h/x?access_token=t#f", "http://h/x?access_token=***#***"),
        ("http://h/x#access_token=t", "http://h/x#***"),
        ("http://h/x?a=1#", "http://h/x?a=1"),
        ("http://h/x?X-Amz-Credential=AKIA/1/s3&X-Amz-Date=2", "http://h/x?X-Amz-Credential=***&X-Amz-Date=2"),
        (
            "http://h/x?X-Amz-Signature=9&X-Amz-Security-Token=8",
            "http://h/x?X-Amz-Signature=***&X-Amz-Security-Token=***",
        ),
        ("http://h/x?AWSAccessKeyId=A&Signature=b&Expires=1", "http://h/x?AWSAccessKeyId=***&Signature=***&Expires=1"),
        ("http://h/x?Policy=A&Key-Pair-Id=b", "http://h/x?Policy=***&Key-Pair-Id=***"),
        ("http://h/x?sv=2024&sig=abc%3D&se=2026", "http://h/x?sv=2024&sig=***&se=2026"),
        ("http://h/x?hdnts=exp=1~acl=/*~hmac=1f", "http://h/x?hdnts=***"),
        ("http://h/x?X%2DAmz%2DCre%64ential=a", "http://h/x?X%2DAmz%2DCre%64ential=***"),
        ("http://h/x;token=a?b=1", "http://h/x;token=***?b=1"),
        ("http://h/x?v=0f9e8d7c6b5a40f9e8d7c6b5a4f3e2d1", "http://h/x?v=***"),
        ("http://h/x?0f9e8d7c6b5a40f9e8d7c6b5a4f3e2d1", "http://h/x?***"),
        ("http://h/x?next=http://u:p@i/", "http://h/x?next=***"),
        ("rtsp://h/user=a&password=b&channel=1&stream=0.sdp", "rtsp://h/user=***&password=***&channel=1&stream=0.sdp"),
        ("rtsp://h/user=a_password=b_c_channel=1_s=0.sdp?x", "rtsp://h/user=***_password=***_channel=1_s=0.sdp?x"),
        ("http://h/v.cgi?loginuse=a&loginpas=b&p=c&psw=d", "http://h/v.cgi?loginuse=***&loginpas=***&p=***&psw=***"),
        ("http://h/x?md5=a&expires=1", "http://h/x?md5=***&expires=1"),
        ("https://h/eyJhbGciOiJI.eyJzdWIi.x_y-z/a.mp4", "https://h/***/a.mp4"),
        ("rtmp://h/live/live_1234_0f9e8d7c6b5a40f9e8d7c6b5a4f3", "rtmp://h/live/***"),
        ("http://h/a=b/day=2026-01-02/c.mp4", "http://h/a=b/day=2026-01-02/c.mp4"),
        ("http://h/x?id=camera-12&t=3.5", "http://h/x?id=camera-12&t=3.5"),
        ("https://h/0f9e8d7c6b5a40f9e8d7c6b5a4f3e2d1.mp4", "https://h/0f9e8d7c6b5a40f9e8d7c6b5a4f3e2d1.mp4"),
        ("a/b@c.mp4", "a/b@c.mp4"),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str) -> None:
    assert without_password(url) == shown


def test_a_text_with_urls() -> None:
    text = "from 'http://h/x?sig=abc#t' and rtsp://u:p w/o s3cret@cam, (https://h/y?token=s3cret)"
    assert in_text(text) == "from 'http://h/x?sig=***#***' and rtsp://u:p w/o s3cret@cam, (https://h/y?token=***"
    assert in_text("a/b@c.mp4 and user@host") == "a/b@c.mp4 and user@host"


def test_a_slow_consumer_of_a_live_source(ts: bytes, tmp_path: Path) -> None:
    """The reader never waits: the oldest frames go and are counted, and every frame is accounted for."""
    sent_s: list[float] = []

    def answer(request: http.server.BaseHTTPRequestHandler, number: int) -> None:
        if number:
            request.send_error(404)
            return
        head(request)
        start = time.monotonic()
        _slowly(request, ts, 1.0)
        sent_s.append(time.monotonic() - start)

    with served(answer) as url:
        engine = fake_engine(delay_s=0.15, workers=1, window=3, **_settings(reconnect_attempts=0))
        video = engine.run([f"{url}/cam"], tmp_path)["videos"][0]
    assert sent_s[0] < 2
    assert video["dropped_frames"] > 10
    assert video["frames"] + video["dropped_frames"] == 50


def test_a_slow_callback_of_a_live_source(ts: bytes) -> None:
    def answer(request: http.server.BaseHTTPRequestHandler, number: int) -> None:
        head(request)
        _slowly(request, ts, 0.5)

    with served(answer) as url:
        videos = find_videos([f"{url}/cam"], Path("none"))
        engine = fake_engine(window=2, **_settings(reconnect_attempts=0))
        sink = CallbackSink(lambda tracks: time.sleep(0.1))
        outcome = engine.process(videos, lambda video: {"callback": (sink, Path())})[0]
    assert outcome.dropped > 10
    assert outcome.tally.frames + outcome.dropped == 50


def test_a_sink_that_stops_for_a_while_holds_no_live_source_up(ts: bytes) -> None:
    """What is dropped meanwhile waits for it, many times what is in flight."""

    def answer(request: http.server.BaseHTTPRequestHandler, number: int) -> None:
        head(request)
        _slowly(request, ts, 0.5)

    def waits(tracks: Tracks) -> None:
        until(lambda: engine.last_run is not None and engine.last_run.pipeline.queues()["results"] > 20)

    stops = iter([waits])
    with served(answer) as url:
        videos = find_videos([f"{url}/cam"], Path("none"))
        engine = fake_engine(window=2, **_settings(reconnect_attempts=0))
        sink = CallbackSink(lambda tracks: next(stops, lambda _: None)(tracks))
        outcome = engine.process(videos, lambda video: {"callback": (sink, Path())})[0]
    assert outcome.error is not None
    assert outcome.error.endswith("after 50 frames")  # and not that of the sink
    assert outcome.tally.frames + outcome.dropped == 50


@pytest.mark.parametrize("sized", [True, False])
def test_a_file_over_http_is_a_file(tmp_path: Path, sized: bool) -> None:
    """Nothing of it is dropped, however slow the consumer is."""
    data = cut(clip(tmp_path / "a.mp4", 60), tmp_path / "header-first.mp4", 60).read_bytes()

    def answer(request: http.server.BaseHTTPRequestHandler, number: int) -> None:
        head(request, "video/mp4", len(data) if sized else None)
        request.wfile.write(data)

    with served(answer) as url:
        video = fake_engine(delay_s=0.01, window=2, **_settings()).run([f"{url}/a.mp4"], tmp_path / "out")["videos"][0]
    assert (video["status"], video["frames"]) == ("ok", 60)
    assert "dropped_frames" not in video


def test_a_part_of_a_live_source(ts: bytes, tmp_path: Path) -> None:
    """--start passes over its first seconds, --duration leaves it: it is done then, and not opened again."""
    asked = []

    def answer(request: http.server.BaseHTTPRequestHandler, number: int) -> None:
        asked.append(number)
        head(request)
        for _ in range(20):  # far more than is wanted
            request.wfile.write(ts)

    with served(answer) as url:
        engine = fake_engine(**_settings(), start_s=0.4, duration_s=1.0, min_hits=0)
        (video,) = engine.run([f"{url}/cam"], tmp_path)["videos"]
    assert (video["status"], video["error"]) == ("ok", None)
    assert video["frames"] + video.get("dropped_frames", 0) == 25
    numbers = [row["frame"] for row in rows(Path(video["outputs"]["tracks"]))]
    assert numbers[-1] < video["frames"]  # as they stand in the recording
    (segment,) = video["segments"]
    assert segment["at_s"] >= 0.4
    assert segment["duration_s"] <= 1.0
    assert asked == [0]
    assert engine_threads() == []


def test_a_live_source_is_not_gated_and_that_is_said(
    ts: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At its beginning, too: it may go on for weeks."""

    def answer(request: http.server.BaseHTTPRequestHandler, number: int) -> None:
        head(request)
        request.wfile.write(ts)

    with served(answer) as url, caplog.at_level(logging.WARNING):
        summary = fake_engine(gate="motion", **_settings(reconnect_attempts=0)).run([f"{url}/cam"], tmp_path)
    video = summary["videos"][0]
    assert video["frames"] == video["inferred_frames"] > 0
    assert "gate" not in video
    assert "the gate is of files: every frame of a live source was inferred" in video["notes"]
    assert "the gate is of files: every frame of a live source is inferred" in caplog.text
