"""Events told while a run is under way: no receiver delays or fails it, and what was given up is counted."""

import hashlib
import hmac
import json
import shlex
import socket
import sys
import time
from fractions import Fraction
from pathlib import PurePosixPath

import numpy as np
import pytest

from engine import Engine, EngineConfig
from engine.alarms import Alarms, AlarmSettings, Notice, StreamWatch, WatchSettings
from engine.analytics import Clock, ClockOrigin, Scene
from engine.errors import ConfigError
from engine.records import StreamInfo
from engine.resume.attempts import peek
from orchestrator.errors import RequestError
from orchestrator.job.job_config import JobConfig
from tests.e2e.clips import Shot, make
from tests.e2e.runs import cli, ended, fake_engine
from tests.engine.after.mqtt_broker import Broker
from tests.engine.after.receivers import Receiver
from tests.engine.conftest import make_detections, make_frame, make_tracks
from tests.waiting import until

QUICK = {"first_pause_s": 0.01, "longest_pause_s": 0.05, "timeout_s": 5.0, "close_s": 30.0}


def notice(number, of="", **more):
    return Notice(f"id-{number}", json.dumps({"id": f"id-{number}", "number": number, **more}).encode(), of)


def told(target, count=3, **settings):
    """What becomes of `count` events."""
    alarms = Alarms(AlarmSettings((target,), **{**QUICK, **settings}))
    try:
        for number in range(count):
            alarms.tell(notice(number))
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
            alarms.tell(notice(number))
        assert time.thread_time() - begun < 0.3
        (line,) = alarms.settle()
        alarms.close()
    assert line["sent"] + line["given_up"] == 200
    assert line["given_up"] >= 190


def test_one_receiver_never_delays_another():
    with Receiver() as good, Receiver(lambda number: 500) as bad:
        alarms = Alarms(AlarmSettings((bad.url, good.url), **QUICK))
        for number in range(5):
            alarms.tell(notice(number))
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
    alarms.tell(notice(1, **{"class": hostile}))
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
        ("echo 'unclosed", "the command can't be parsed"),
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


class Kept:
    """An outbox from which nothing is ever sent; `on_way` are the events still on their way."""

    def __init__(self):
        self.events, self.on_way = [], []

    def tell(self, each):
        self.events.append(json.loads(each.body))
        self.on_way.append(each)

    def waiting(self, of):
        return [each for each in self.on_way if each.of == of]


def watch_of(scene, outbox, *, live=False, state=None, **settings):
    watch = StreamWatch(
        "a.mp4",
        ("car", "person"),
        scene,
        WatchSettings(gone_after=10, **settings),
        lambda created: Clock(None, ClockOrigin.NONE),
        outbox,
    )
    info = StreamInfo(0, "a", (64, 48), Fraction(1, 1000), Fraction(25), None, None, live=live)
    watch.open(info, None if live else "identity", state)
    return watch


def seen(index, rows):
    """The tracks of a frame in which the model looked."""
    return make_tracks(make_frame(index), rows, make_detections())


def events_of(scene, rows, kinds=(), live=False, frames=200, **settings):
    outbox = Kept()
    watch = watch_of(scene, outbox, live=live, kinds=kinds, **settings)
    for index in range(frames):
        watch.see(seen(index, rows(index)))
    watch.end()
    return outbox.events


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


@pytest.mark.parametrize(("held", "told"), [(True, 1), (False, 2)])
def test_a_track_begins_once_however_long_it_was_not_seen(held, told):
    """If its tracker has held it all the time; another one gives the id to something else."""
    outbox = Kept()
    watch = watch_of(None, outbox)
    for index in range(200):
        tracks = seen(index, [(7, 1, 0.9, (4, 10, 12, 20))] if index in (0, 1, 198, 199) else [])
        tracks.alive = np.array([7] * held, np.int64) if index % 64 == 63 else None
        watch.see(tracks)
        if index == 150:
            watch = watch_of(None, outbox, state=json.loads(json.dumps(watch.state())))
    watch.end()
    assert {event["kind"] for event in outbox.events} == {"track"}
    assert len({event["id"] for event in outbox.events}) == told  # what was still on its way is sent again


def strolling(index):
    """A person comes from the right (the zone reaches to 25.6), flickers over its edge by less than the margin, is not
    seen for a third of a second, stands for four seconds and leaves; another was inside from the beginning."""
    if index < 10:
        x = 60 - 3 * index
    elif index < 20:
        x = (20, 25.7)[index % 2]  # the margin is 0.48
    elif 40 <= index < 48:
        return [(2, 0, 0.9, (5, 5, 9, 9))]
    else:
        x = 20 if index < 120 else min(60, 20 + 3 * (index - 120))
    person = [(1, 1, 0.9, (x - 4, 20, x + 4, 30))] if index < 140 else []
    return [*person, (2, 0, 0.9, (5, 5, 9, 9))]


IN_ZONE = ("enter", "loiter", "stay")


def test_who_enters_and_who_still_stays_is_told_while_it_lasts():
    """Each once, however the box flickers, and a hole is no leave; in the order in which it is certain."""
    events = events_of(Scene.of_table(SCENE), strolling, kinds=IN_ZONE, loiter_s=2.5)
    told = [(event["kind"], event["track_id"], event["frame"], event["born_inside"]) for event in events]
    assert told == [
        ("enter", 2, 0, True),
        ("enter", 1, 10, False),
        ("loiter", 2, 0, True),
        ("loiter", 1, 10, False),
        ("stay", 1, 10, False),
        ("stay", 2, 0, True),
    ]
    dwells = {(event["kind"], event["track_id"]): event["dwell_s"] for event in events}
    assert dwells["enter", 1] is None
    assert dwells["loiter", 1] == dwells["loiter", 2] == pytest.approx(2.52)  # the first sample at 2.5 s or later
    assert dwells["stay", 1] == pytest.approx(0.04 * (121 - 10))
    assert len({event["id"] for event in events}) == len(events)


@pytest.mark.parametrize(
    ("zone_s", "given_s", "kinds", "told"),
    [
        (None, None, (), False),  # nobody says after how long
        (3.0, None, (), True),
        (None, 3.0, (), True),
        (3.0, 90.0, (), True),  # the zone's own wins
        (90.0, 3.0, (), False),
        (3.0, None, ("stay",), False),  # not asked for
    ],
)
def test_after_how_long_a_stay_is_told_of(zone_s, given_s, kinds, told):
    zone = {**SCENE["zone"][0], **({"loiter_s": zone_s} if zone_s else {})}
    events = events_of(Scene.of_table({"zone": [zone]}), strolling, kinds=kinds, loiter_s=given_s)
    assert (sum(event["kind"] == "loiter" for event in events) == 2) is told
    assert sum(event["kind"] == "stay" for event in events) == 2


def test_a_short_stay_is_no_loitering_and_a_second_stay_is_told_again():
    def rows(index):
        inside = index % 50 < (20 if index < 50 else 40)
        return [(1, 1, 0.9, (8, 20, 16, 30) if inside else (50, 20, 58, 30))]

    events = events_of(Scene.of_table(SCENE), rows, kinds=IN_ZONE, frames=150, loiter_s=1.0)
    assert [(event["kind"], event["frame"]) for event in events] == [
        ("enter", 0),
        ("stay", 0),
        ("enter", 50),
        ("loiter", 50),
        ("stay", 50),
        ("enter", 100),
        ("loiter", 100),
        ("stay", 100),
    ]


def test_events_are_told_as_early_as_they_are_certain():
    """A fifth of a second behind the frame, at most; a stay that a track's end ends, once the tracker can't find it."""
    outbox, at = Kept(), {}
    watch = watch_of(Scene.of_table(SCENE), outbox, kinds=("crossing", *IN_ZONE), loiter_s=2.5)
    for index in range(200):
        watch.see(seen(index, strolling(index)))
        for event in outbox.events:
            at.setdefault((event["kind"], event["track_id"]), index)
    assert 10 <= at["enter", 1] <= 15
    assert 73 <= at["loiter", 1] <= 78
    assert 122 <= at["stay", 1] <= 128
    assert at["crossing", 1] <= 15


@pytest.mark.parametrize("at", [1, 3, 11, 17, 44, 73, 74, 121, 139, 150, 199])
def test_a_watch_goes_on_where_it_was(at):
    """What is told before and after is what an undisturbed watch tells, under the same ids; what was still on its way
    is told again."""
    scene, settings = Scene.of_table(SCENE), {"kinds": ("crossing", "track", *IN_ZONE), "loiter_s": 2.5}
    whole = events_of(scene, strolling, **settings)
    before, after = Kept(), Kept()
    watch = watch_of(scene, before, **settings)
    for index in range(at):
        watch.see(seen(index, strolling(index)))
    before.on_way = before.on_way[-1:]
    state = json.loads(json.dumps(watch.state()))
    for index in range(at, min(at + 30, 200)):  # beyond the checkpoint, and killed
        watch.see(seen(index, strolling(index)))
    known = len(before.events)
    watch = watch_of(scene, after, state=state, **settings)
    for index in range(at, 200):
        watch.see(seen(index, strolling(index)))
    watch.end()
    told = {event["id"]: event for event in [*before.events, *after.events]}
    assert sorted(told) == sorted(event["id"] for event in whole)
    assert [told[event["id"]] for event in whole] == whole
    assert len(before.events) + len(after.events) <= len(whole) + 1 + known


@pytest.mark.parametrize("damage", [{"seen": 3}, {"lines": []}, {"first_s": "x"}, {"rows": [[1, 2]]}, {"more": 1}])
def test_a_damaged_state_is_no_fault_of_the_video(damage, caplog):
    """It looks on as if it began there."""
    scene, outbox = Scene.of_table(SCENE), Kept()
    watch = watch_of(scene, Kept())
    for index in range(12):
        watch.see(seen(index, strolling(index)))
    state = {**watch.state(), **damage} if "more" not in damage else damage
    watch = watch_of(scene, outbox, kinds=("stay",), state=state)
    for index in range(12, 200):
        watch.see(seen(index, strolling(index)))
    watch.end()
    stays = [(event["track_id"], event["frame"]) for event in outbox.events if event["kind"] == "stay"]
    assert stays == [(1, 12), (2, 12)]
    assert "the saved state of its events is damaged" in caplog.text


def test_a_scene_that_was_drawn_anew_begins_anew():
    scene, other = Scene.of_table(SCENE), Scene.of_table({"zone": [{**SCENE["zone"][0], "name": "elsewhere"}]})
    watch = watch_of(scene, Kept(), kinds=("enter", "track"))
    for index in range(30):
        watch.see(seen(index, strolling(index)))
    outbox = Kept()
    watch = watch_of(other, outbox, kinds=("enter", "track"), state=watch.state())
    outbox.events.clear()
    for index in range(30, 60):
        watch.see(seen(index, strolling(index)))
    assert {(event["kind"], event["place"]) for event in outbox.events} == {("enter", "elsewhere")}


def test_a_live_stream_has_ids_of_its_own():
    first, second = (events_of(None, strolling, live=True) for _ in range(2))
    assert {event["id"] for event in first}.isdisjoint(event["id"] for event in second)


def test_what_waits_for_a_receiver_is_known():
    with Receiver(delay_s=0.3) as receiver:
        alarms = Alarms(AlarmSettings((receiver.url, "http://127.0.0.1:9/x"), waiting=100, close_s=0.1, tries=2))
        for number in range(6):
            alarms.tell(notice(number, of="ab"[number % 2]))
        assert [each.id for each in alarms.waiting("b")] == ["id-1", "id-3", "id-5"]
        assert alarms.waiting("c") == []
        alarms.settle()
        alarms.close()


def zone_scene(**more):
    """A zone that is the left part of the picture of a clip, by the centre of the box."""
    return {"zone": [{"name": "left", "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]], "anchor": "centre", **more}]}


def told_by(receiver):
    return {event["id"]: {key: event[key] for key in event if key != "id"} for event in receiver.events}


def follow(video, folder, url, *, after=None, **alarms):
    """A run that tells of events in a zone; it ends in the middle after so many inferences."""
    given = {"scene": [zone_scene(loiter_s=1.0)], "workers": 1}
    settings = AlarmSettings((url,), ("enter", "loiter", "stay", "track"), **{**QUICK, "close_s": 1.0, **alarms})
    more = {"fail_after": after, "checkpoint_s": 0.03, "delay_s": 0.004} if after else {}
    with fake_engine(alarms=settings, **more, **given) as engine:
        return engine.run([video], folder)


def test_a_run_that_is_killed_and_goes_on_tells_everything_once_by_id(tmp_path):
    """Events that nobody had taken before the kill are told when the run goes on, and those since its checkpoint again:
    under the ids that they had."""
    video = make(tmp_path, Shot(frames=160)).path
    with Receiver() as receiver:
        follow(video, tmp_path / "whole", receiver.url)
        whole = sorted(json.dumps(event) for event in told_by(receiver).values())
    assert {json.loads(event)["kind"] for event in whole} == {"enter", "loiter", "stay", "track"}
    with Receiver() as receiver:
        for after in (40, 30):
            assert "told to fail" in follow(video, tmp_path / "out", receiver.url, after=after)["videos"][0]["error"]
        summary = follow(video, tmp_path / "out", receiver.url)
        assert summary["videos"][0]["resumed_from"]
        assert sorted(json.dumps(event) for event in told_by(receiver).values()) == whole
        assert len(receiver.events) < 2 * len(whole)


def test_a_receiver_that_was_dead_before_a_kill_gets_all_when_the_run_goes_on(tmp_path):
    video = make(tmp_path, Shot(frames=160)).path
    with Receiver() as receiver:
        follow(video, tmp_path / "whole", receiver.url)
        whole = sorted(json.dumps(event) for event in told_by(receiver).values())
    with Receiver(lambda number: 503) as dead:
        lines = follow(video, tmp_path / "out", dead.url, after=60, first_pause_s=30.0, close_s=0.1)["alarms"]
        assert lines[0]["sent"] == 0
    with Receiver() as receiver:
        assert follow(video, tmp_path / "out", receiver.url)["videos"][0]["resumed_from"]
        assert sorted(json.dumps(event) for event in told_by(receiver).values()) == whole


def kill_behind(frames, process, folder):
    """Kill a run once its checkpoint is so many frames further."""
    before = peek(folder, PurePosixPath("clip"))
    until(lambda: peek(folder, PurePosixPath("clip")) >= before + frames or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    process.kill()
    process.communicate()


def test_killed_processes_tell_everything_under_the_same_ids(tmp_path):
    """SIGKILL, three times, once while a receiver is down."""
    (tmp_path / "in").mkdir()
    make(tmp_path / "in", Shot(frames=160))
    (tmp_path / "s.toml").write_text(
        '[[zone]]\nname = "left"\npolygon = [[0,0],[0.5,0],[0.5,1],[0,1]]\nanchor = "centre"\nloiter_s = 1.0\n'
    )
    kinds = "enter,loiter,stay,track"
    options = ("--scene", tmp_path / "s.toml", "--no-visualize", "--workers", "1", "--event-kinds", kinds)

    def start(folder, url, delay_s):
        command = ("run", tmp_path / "in", "-o", folder, "--backend", "fake", "--min-hits", "1", *options)
        return cli(*command, "--on-event", url, delay_s=delay_s, checkpoint_s=0.05)

    with Receiver() as receiver:
        assert ended(start(tmp_path / "whole", receiver.url, 0.0))[0] == 0
        whole = sorted(json.dumps(event) for event in told_by(receiver).values())
    down = []
    with Receiver(lambda number: 503 if down else 200) as receiver:
        for number in range(3):
            kill_behind(30, start(tmp_path / "out", receiver.url, 0.02), tmp_path / "out")
            down[:] = [True] * (number == 0)
        status, _, errors = ended(start(tmp_path / "out", receiver.url, 0.0))
        assert status == 0, errors
        assert sorted(json.dumps(event) for event in told_by(receiver).values()) == whole
        by_id = {}
        for event in receiver.events:
            assert by_id.setdefault(event["id"], event) == event


def test_a_stop_tells_of_no_stay_that_goes_on(tmp_path):
    """The run that goes on tells when it ends."""
    video = make(tmp_path, Shot(frames=160)).path
    with Receiver() as receiver:
        settings = AlarmSettings((receiver.url,), ("stay",), **QUICK)
        with fake_engine(alarms=settings, scene=[zone_scene()], delay_s=0.01, workers=1) as engine:
            done = engine.run([video], tmp_path / "out", progress=lambda runs: stop_at(engine, runs, 20))
        assert done["videos"][0]["status"] == "partial"
        before = len(receiver.events)
        with fake_engine(alarms=settings, scene=[zone_scene()], workers=1) as engine:
            engine.run([video], tmp_path / "out")
        events = receiver.events
    with Receiver() as receiver:
        settings = AlarmSettings((receiver.url,), ("stay",), **QUICK)
        with fake_engine(alarms=settings, scene=[zone_scene()], workers=1) as engine:
            engine.run([video], tmp_path / "whole")
        assert before < len(receiver.events)
        assert [event["dwell_s"] for event in events] == [event["dwell_s"] for event in receiver.events]


def stop_at(engine, runs, frames):
    if any(run.frames >= frames for run in runs):
        engine.stop()


def test_loitering_needs_to_know_after_how_long(tmp_path, run):
    with pytest.raises(ConfigError, match="loiter need to know after how long"):
        fake_engine(alarms=AlarmSettings(("true",), ("loiter",)), scene=[zone_scene()])
    fake_engine(alarms=AlarmSettings(("true",), ("loiter",)), scene=[zone_scene(loiter_s=3)]).close()
    fake_engine(alarms=AlarmSettings(("true",), ("loiter",), 3.0), scene=[zone_scene()]).close()
    for wrong in ("soon", "-3", "0"):
        done = run("run", tmp_path, "--on-event", "true", "--loiter", wrong)
        assert done.status == 2
        assert "--loiter" in done.err


def test_a_fault_in_the_watch_is_no_fault_of_the_video(caplog):
    assert events_of(None, lambda index: [(1, 9, 0.9, (1, 1, 5, 5))]) == []  # a class that has no name
    assert "sends no more events" in caplog.text


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
