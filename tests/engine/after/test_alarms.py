"""Events told while a run is under way: no receiver delays or fails it, and what was given up is counted."""

import hashlib
import hmac
import json
import shlex
import socket
import sys
import time
from fractions import Fraction

import pytest

from engine import Engine, EngineConfig
from engine.alarms import Alarms, AlarmSettings, StreamWatch
from engine.analytics import Clock, ClockOrigin, Scene
from engine.errors import ConfigError
from engine.records import StreamInfo
from orchestrator.errors import RequestError
from orchestrator.job.job_config import JobConfig
from tests.e2e.clips import Shot, make
from tests.engine.after.mqtt_broker import Broker
from tests.engine.after.receivers import Receiver
from tests.engine.conftest import make_frame, make_tracks

QUICK = {"first_pause_s": 0.01, "longest_pause_s": 0.05, "timeout_s": 5.0, "close_s": 30.0}


def encoded(event):
    return json.dumps(event).encode()


def told(target, count=3, **settings):
    """What becomes of `count` events."""
    alarms = Alarms(AlarmSettings((target,), **{**QUICK, **settings}))
    try:
        for number in range(count):
            alarms.tell({"number": number}, encoded)
        (line,) = alarms.settle()
        return line
    finally:
        alarms.close()


def test_events_are_posted_in_order_and_signed():
    with Receiver() as receiver:
        line = told(receiver.url, secret=b"s3cret")
    assert line == {"target": receiver.url, "sent": 3, "given_up": 0}
    assert [event["number"] for event in receiver.events] == [0, 1, 2]
    for body, headers in zip(receiver.bodies, receiver.headers, strict=True):
        given = {key.lower(): value for key, value in headers.items()}
        signed = given["x-yolo-timestamp"].encode() + b"." + body
        assert given["x-yolo-signature"] == "sha256=" + hmac.new(b"s3cret", signed, hashlib.sha256).hexdigest()
        assert given["x-yolo-event"] == json.loads(body)["id"]


def test_a_receiver_that_is_down_half_of_the_time_gets_all():
    with Receiver(lambda number: (503, 200, 0, 200)[number % 4]) as receiver:
        line = told(receiver.url, 10)
    assert (line["sent"], line["given_up"]) == (10, 0)
    assert receiver.requests > 15
    assert [event["number"] for event in receiver.events] == list(range(10))
    assert len({event["id"] for event in receiver.events}) == 10


@pytest.mark.parametrize("status", [500, 302, 404])
def test_what_is_never_taken_is_given_up_and_counted(status):
    """A redirect is not followed: a receiver is who was named."""
    with Receiver(lambda number: status) as receiver:
        line = told(receiver.url, 2, tries=3)
    assert (line["sent"], line["given_up"]) == (0, 2)
    assert line["error"] == f"answered with status {status}"
    assert receiver.requests == 6


def test_nobody_listens():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://user:secret@127.0.0.1:{free.getsockname()[1]}/x"
    line = told(url, 2, tries=2)
    assert (line["sent"], line["given_up"]) == (0, 2)
    assert "secret" not in json.dumps(line)


def test_a_slow_receiver_keeps_nobody_waiting():
    """The queue has a bound: what finds no room is given up at once."""
    with Receiver(delay_s=0.5) as receiver:
        alarms = Alarms(AlarmSettings((receiver.url,), waiting=3, close_s=0.2, timeout_s=2.0))
        begun = time.thread_time()
        for number in range(200):
            alarms.tell({"number": number}, encoded)
        assert time.thread_time() - begun < 0.3
        (line,) = alarms.settle()
        alarms.close()
    assert line["sent"] + line["given_up"] == 200
    assert line["given_up"] >= 190


def test_one_receiver_never_delays_another():
    with Receiver() as good, Receiver(lambda number: 500) as bad:
        alarms = Alarms(AlarmSettings((bad.url, good.url), **QUICK))
        for number in range(5):
            alarms.tell({"number": number}, encoded)
        first, second = alarms.settle()
        alarms.close()
    assert (first["given_up"], second["sent"]) == (5, 5)


def command(tmp_path, body):
    script = tmp_path / "take it.py"
    script.write_text("import json, sys, time\n" + body)
    return shlex.join([sys.executable, str(script), str(tmp_path / "taken.jsonl")])


APPEND = "open(sys.argv[1], 'a').write(json.dumps([sys.argv[2:], json.load(sys.stdin)]) + chr(10))\n"


def test_a_command_gets_the_event_on_its_input_and_no_shell_sees_it(tmp_path):
    hostile = "$(touch /tmp/x); `id` \" ' | & \n\x1b[31m"
    alarms = Alarms(AlarmSettings((command(tmp_path, APPEND) + " '$HOME' ';' '|' '*'",), **{**QUICK, "timeout_s": 60}))
    alarms.tell({"class": hostile}, encoded)
    (line,) = alarms.settle()
    alarms.close()
    assert line["sent"] == 1, line
    assert str(tmp_path) not in line["target"]
    (taken,) = [json.loads(text) for text in (tmp_path / "taken.jsonl").read_text().splitlines()]
    assert taken[0] == ["$HOME", ";", "|", "*"]
    assert taken[1]["class"] == hostile


@pytest.mark.parametrize(
    ("target", "timeout_s", "error"),
    [("false", 30.0, "ended with status 1"), ("sleep 60", 0.2, "took longer than 0.2 s")],
)
def test_a_command_that_fails_or_hangs(target, timeout_s, error):
    line = told(target, 1, tries=2, timeout_s=timeout_s)
    assert (line["sent"], line["given_up"], line["error"]) == (0, 1, error)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("no-such-program-here --x", "there is no program 'no-such-program-here' here"),
        ("echo 'unclosed", "the command is not closed"),
        ("", "there is no program ''"),
        ("http:///path", "names no host"),
        ("ftp://host/x", "can't send to ftp://host/x"),
        ("mqtt://host", "must be mqtt://HOST"),
        ("mqtt://host/a/#", "must be mqtt://HOST"),
    ],
)
def test_what_is_no_receiver_is_told_before_the_run(target, message, tmp_path, run):
    with pytest.raises(ConfigError, match=message):
        Alarms(AlarmSettings((target,)))
    done = run("run", tmp_path, "--backend", "fake", "-o", tmp_path / "out", "--on-event", target)
    assert done.status == 2
    assert message in done.err


def test_mqtt_also_when_its_broker_dies_in_between():
    pytest.importorskip("paho.mqtt")
    with Broker(refuse=1) as broker:
        line = told(f"mqtt://127.0.0.1:{broker.port}/cams/north", 3, timeout_s=2.0)
    assert (line["sent"], line["given_up"]) == (3, 0)
    assert [topic for topic, _ in broker.taken] == ["cams/north"] * 3
    assert [json.loads(body)["number"] for _, body in broker.taken] == [0, 1, 2]


SCENE = {
    "line": [{"name": "kerb", "points": [[0.5, 0.0], [0.5, 1.0]], "anchor": "centre", "in": "home", "out": "away"}],
    "zone": [{"name": "left", "polygon": [[0, 0], [0.4, 0], [0.4, 1], [0, 1]], "anchor": "centre"}],
}


def events_of(scene, rows, kinds=(), live=False, frames=200):
    found = []
    watch = StreamWatch(
        "a.mp4",
        ("car", "person"),
        scene,
        kinds,
        lambda created: Clock(None, ClockOrigin.NONE),
        lambda event, encode: found.append(json.loads(encode(event))),
    )
    watch.open(StreamInfo(0, "a", (64, 48), Fraction(1, 1000), Fraction(25), None, None, live=live))
    for index in range(frames):
        watch.see(make_tracks(make_frame(index), rows(index)))
    watch.end()
    return found


def test_what_is_found_as_the_tracks_come():
    """A track walks from the left half to the right and stays there; the image is 64 by 48."""

    def rows(index):
        x = min(4 + index, 50)
        return [(7, 1, 0.9, (x, 10, x + 8, 20))] if index < 60 else []

    events = events_of(Scene.of_table(SCENE), rows)
    assert sorted((event["kind"], event["place"]) for event in events) == [("crossing", "kerb"), ("stay", "left")]
    crossing = next(event for event in events if event["kind"] == "crossing")
    assert crossing["video_s"] == pytest.approx(24 * 0.04, abs=0.05)
    assert (crossing["class"], crossing["track_id"], crossing["at"]) == ("person", 7, None)
    assert [event["kind"] for event in events_of(None, rows)] == ["track"]
    assert [event["kind"] for event in events_of(Scene.of_table(SCENE), rows, kinds=("track",))] == ["track"]
    assert events_of(None, rows, live=True)[0]["at"] is not None


def test_a_fault_in_the_watch_is_no_fault_of_the_video(caplog):
    assert events_of(None, lambda index: [(1, 9, 0.9, (1, 1, 5, 5))]) == []  # a class that has no name
    assert "no more events of it are told" in caplog.text


def test_a_run_tells_its_events_and_counts_what_was_given_up(tmp_path, run):
    (tmp_path / "in").mkdir()
    for name in "abc":
        make(tmp_path / "in", Shot(frames=30), name=name)
    with Receiver(lambda number: 200 if number % 2 else 503) as receiver:
        arguments = (
            "--backend",
            "fake",
            "--no-visualize",
            "--on-event",
            receiver.url,
            "--on-event",
            "mqtt://[::1]:9/x",
        )
        done = run("run", tmp_path / "in", "-o", tmp_path / "out", *arguments)
    assert done.status == 0, done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    good, bad = manifest["alarms"]
    tracks = sum(video["tracks"] for video in manifest["videos"])
    assert (good["sent"], good["given_up"]) == (tracks, 0)
    assert (bad["sent"], bad["given_up"]) == (0, tracks)
    assert sorted({event["video"] for event in receiver.events}) == ["a.mp4", "b.mp4", "c.mp4"]
    assert f"{tracks} events sent to {receiver.url}." in done.out
    assert f"0 events sent to mqtt://[::1]:9/x, {tracks} given up" in done.out


def test_a_receiver_that_never_answers_changes_no_result(tmp_path):
    (tmp_path / "in").mkdir()
    video = make(tmp_path / "in", Shot(frames=30)).path
    config = EngineConfig(backend="fake", visualize=False, min_hits=1)
    with Engine(config) as engine:
        plain = engine.run([video], tmp_path / "plain")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        with Engine(config, alarms=AlarmSettings((url,), timeout_s=30.0, close_s=0.5)) as engine:
            begun = time.monotonic()
            summary = engine.run([video], tmp_path / "told")
            assert time.monotonic() - begun < 25  # not the receiver's thirty seconds
    assert plain["success"]
    assert summary["success"]
    assert summary["alarms"][0]["given_up"] >= 1
    rows = [(tmp_path / name / "clip.tracks.jsonl").read_bytes() for name in ("plain", "told")]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("key", ["on_event", "event_kinds"])
def test_a_job_can_not_name_whom_to_tell(key):
    with pytest.raises(RequestError, match=f"Unknown key '{key}'"):
        JobConfig.parse({key: ["touch /tmp/x"]})
