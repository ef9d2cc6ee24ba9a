"""Events of a camera over RTSP, told to a receiver over HTTP while the stream goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.alarms import AlarmSettings
from tests.e2e.rtsp_server import Camera, Play
from tests.e2e.runs import cli, clip, engine_threads, fake_engine
from tests.engine.after.receivers import Receiver
from tests.waiting import until

pytestmark = pytest.mark.timeout(60)

ROUND = 50
CROSSES = 25  # the picture of a round in which the square's centre is beyond the line by the margin
LOITERS_S = 0.8
SCENE = {
    "line": [{"name": "kerb", "points": [[0.5, 0.0], [0.5, 1.0]], "anchor": "centre"}],
    "zone": [{"name": "yard", "polygon": [[0, 0], [1, 0], [1, 1], [0, 1]], "anchor": "centre", "loiter_s": LOITERS_S}],
}


@pytest.fixture(scope="module")
def ts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A square that goes to the right for 32 pictures, and once more, from the left edge, for 18."""
    return clip(tmp_path_factory.mktemp("ts") / "a.ts", ROUND, codec="libx264")


def _told(receiver: Receiver, kind: str) -> list[tuple[dict[str, Any], float]]:
    return [each for each in zip(receiver.events, receiver.at, strict=True) if each[0]["kind"] == kind]


def test_a_camera_tells_what_happens_while_it_happens_over_a_reconnection(ts: Path, tmp_path: Path) -> None:
    """Two rounds, a cut connection, two rounds more. Each crossing and each stay is told once, within two seconds."""
    plays = (Play(2 * ROUND, "cut", gap_s=0.04), Play(2 * ROUND, "bye", gap_s=0.04))
    kinds = ("crossing", "enter", "loiter", "stay")
    with Receiver() as receiver, Camera(ts, *plays) as camera:
        settings = {"open_timeout_s": 5.0, "read_timeout_s": 3.0, "reconnect_attempts": 1, "window": 200}
        alarms = AlarmSettings((receiver.url,), kinds)
        with fake_engine(alarms=alarms, scene=[SCENE], **settings) as engine:
            summary = engine.run([camera.url], tmp_path)
    assert engine_threads() == []
    assert summary["videos"][0]["frames"] == 4 * ROUND
    assert camera.requests.count("PLAY") == 2
    assert (summary["alarms"][0]["sent"], summary["alarms"][0]["given_up"]) == (len(receiver.events), 0)

    crossings = _told(receiver, "crossing")
    assert [event["direction"] for event, _ in crossings] == ["out"] * 4
    for number, (event, at) in enumerate(crossings):
        late_s = at - camera.sent[number * ROUND + CROSSES]
        assert 0 < late_s < 2, (event, late_s)
        assert at < camera.sent[-1], "the stream went on"

    # The square begins anew twice a round, and a track of it each time.
    enters, loiters, stays = (_told(receiver, kind) for kind in ("enter", "loiter", "stay"))
    assert len({event["track_id"] for event, _ in enters}) == len(enters)
    by_track = {event["track_id"]: at for event, at in stays}
    assert loiters
    for event, at in loiters:
        assert LOITERS_S <= event["dwell_s"] < LOITERS_S + 0.1
        assert at < by_track[event["track_id"]], "told before the stay has ended"
    assert len({event["id"] for event in receiver.events}) == len(receiver.events)


@pytest.mark.parametrize("answer", [503, 0])
def test_a_camera_waits_for_no_receiver(answer: int, ts: Path, tmp_path: Path) -> None:
    """One that is slow and takes nothing: no frame is dropped, and the run ends with the camera."""
    with Receiver(lambda number: answer, delay_s=0.5) as receiver, Camera(ts, Play(2 * ROUND)) as camera:
        settings = {"read_timeout_s": 3.0, "reconnect_attempts": 0, "window": 200}
        alarms = AlarmSettings((receiver.url,), ("crossing", "track"), close_s=0.5)
        with fake_engine(alarms=alarms, scene=[SCENE], **settings) as engine:
            summary = engine.run([camera.url], tmp_path)
    (video,), (line,) = summary["videos"], summary["alarms"]
    assert (video["status"], video["frames"]) == ("ok", 2 * ROUND)
    assert "dropped_frames" not in video
    assert (line["sent"], line["given_up"] > 0) == (0, True)


def test_what_waits_for_a_receiver_outlives_a_kill(ts: Path, tmp_path: Path) -> None:
    """The stream does not come again; the next run tells it, under the same ids, and keeps it until it is taken."""
    out, kept = tmp_path / "out", tmp_path / "out" / ".yolo-engine" / "events-waiting.json"

    def waiting() -> list[str]:
        try:
            return [event_id for event_id, _ in json.loads(kept.read_text())["waiting"]]
        except FileNotFoundError:
            return []

    with Receiver(lambda number: 503) as dead, Camera(ts, Play(100_000, gap_s=0.02)) as camera:
        options = ("--backend", "fake", "--min-hits", "1", "--no-visualize", "--on-event", dead.url)
        process = cli("run", camera.url, "-o", out, *options)
        until(lambda: len(waiting()) >= 2 or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
    left = waiting()
    settings = {"read_timeout_s": 3.0, "reconnect_attempts": 0, "window": 200}
    with Receiver() as receiver, Camera(ts, Play(ROUND)) as camera:
        with fake_engine(alarms=AlarmSettings((receiver.url,)), **settings) as engine:
            summary = engine.run([camera.url], out)
        assert [event["id"] for event in receiver.events][: len(left)] == left
        assert summary["alarms"][0]["sent"] == len(receiver.events) > len(left)
    assert not kept.parent.exists()


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"[", b'{"schema": 2, "waiting": []}', b'{"schema": 1, "waiting": [[1, "a"]]}']
)
def test_a_damaged_file_of_events_is_told_and_stops_nothing(
    text: bytes, ts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".yolo-engine").mkdir()
    (tmp_path / ".yolo-engine" / "events-waiting.json").write_bytes(text)
    with Receiver() as receiver, fake_engine(alarms=AlarmSettings((receiver.url,))) as engine:
        assert engine.run([clip(tmp_path / "in" / "a.mp4", 5)], tmp_path)["success"]
    assert "events-waiting.json is damaged" in caplog.text
