"""The health check tells a system that runs jobs from one that does not, quickly, also where nothing answers."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import namedtuple
from pathlib import Path

import pytest

from orchestrator.broker import doctor, health, heartbeats
from orchestrator.broker.health import Check, as_json, check_health, exit_status
from orchestrator.settings import settings
from tests.orchestrator import handmade as made
from tests.orchestrator.fake_server import fake_server

pytestmark = pytest.mark.timeout(30)

QUEUES = ("yolo", "yolo-log")


@pytest.fixture
def server(valkey):
    """Empty, and emptied."""
    valkey.client.flushall()
    yield valkey
    valkey.client.flushall()


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"x")
    return str(path)


def beat(server, node="a@here", *, expires_s=30.0, **values):
    """A worker says that it lives; `expires_s` below 30 makes it older."""
    seconds, micros = server.client.time()
    value = {
        "node": node,
        "host": socket.gethostname(),
        "pid": 1,
        "pool": "prefork",
        "concurrency": 1,
        "queues": list(QUEUES),
        "busy": 0,
        "jobs": [],
        "version": "0.1.0",
        "started_at": 0.0,
        "time": seconds + micros / 1e6 - (30 - expires_s),
    } | values
    server.client.set(f"yolo:worker:{node}", json.dumps(value), px=int(expires_s * 1000))


def check(url, *, result_url=None, queues=QUEUES, model=None, output=Path("out")) -> dict[str, Check]:
    checks = check_health(url, result_url or url, queues=queues, model=model, output=output)
    assert json.loads(json.dumps(as_json(checks)))["healthy"] == (exit_status(checks) == 0)
    found = {one.name: one for one in checks}
    assert len(found) == len(checks)
    return found


def states(checks: dict[str, Check]) -> dict[str, str]:
    return {name: one.state for name, one in checks.items() if one.state != "ok"}


def test_all_is_well(server, model, tmp_path):
    beat(server, busy=1, expires_s=25.0)
    started = time.monotonic()
    checks = check(server.url, model=model, output=tmp_path / "not" / "yet")
    assert time.monotonic() - started < 3
    assert states(checks) == {}
    assert list(checks) == [
        *("broker", "memory", "persistence", "clock", "workers", "queue yolo", "queue yolo-log"),
        *("results", "disk", "model"),
    ]
    assert exit_status(checks.values()) == 0
    assert "Valkey 9" in checks["broker"].detail
    assert checks["workers"].detail == "1 alive: a@here (1 of 1 busy)"
    assert all(server.client.pttl(key) <= 1000 for key in server.client.keys("yolo:probe:*"))


def test_no_engine_is_loaded():
    code = (
        "import sys; from pathlib import Path; from orchestrator.broker.health import check_health;"
        "url = 'redis://127.0.0.1:1'; check_health(url, url, queues=['q'], model='yolox-nano', output=Path('o'));"
        "print({'av', 'onnxruntime', 'celery', 'engine.config', 'engine.engine'} & set(sys.modules))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


# Workers and queues


def test_no_worker(server):
    checks = check(server.url)
    assert states(checks) == {"workers": "failed", "queue yolo": "warning", "queue yolo-log": "warning"}
    assert checks["workers"].remedy == "Start one: `yolo-server --worker`."


def test_a_worker_that_was_killed_is_none(server):
    """Its last heartbeat stays for a while, and names a process that is no more."""
    beat(server, owner=made.dead_owner().to_json())
    assert states(check(server.url))["workers"] == "failed"
    beat(server, owner=made.owner().to_json())
    assert "workers" not in states(check(server.url))


def test_jobs_that_nobody_takes(server):
    beat(server, queues=["yolo-log"])
    server.client.lpush("yolo", "job", "job")
    server.client.lpush("yolo\x06\x169", "job of another priority")
    found = check(server.url)
    assert states(found) == {"queue yolo": "failed"}
    assert found["queue yolo"].detail == "3 waiting, and no worker consumes it"
    assert "`yolo-server --worker`" in found["queue yolo"].remedy


def test_jobs_that_wait_for_busy_workers(server):
    beat(server, busy=1)
    server.client.lpush("yolo", "job")
    found = check(server.url)
    assert states(found) == {}
    assert found["queue yolo"].detail == "1 waiting, 1 worker"


def test_a_worker_that_has_gone_deaf(server):
    beat(server)
    server.client.lpush("yolo", "job")
    found = check(server.url)
    assert states(found) == {"queue yolo": "warning"}
    assert "though a@here is idle" in found["queue yolo"].detail


def test_a_job_that_is_just_being_fetched(server, monkeypatch):
    beat(server)
    server.client.lpush("yolo", "job")
    monkeypatch.setattr(health.time, "sleep", lambda _: server.client.delete("yolo"))
    assert states(check(server.url)) == {}


def test_many_workers_among_many_keys(server):
    fill = server.client.pipeline()
    for index in range(20_000):
        fill.set(f"celery-task-meta-{index}", "{}")
    fill.execute()
    for index in range(7):
        beat(server, f"w{index}@here")
    started = time.monotonic()
    found = check(server.url)["workers"]
    assert time.monotonic() - started < 3
    assert (found.state, found.detail[:7], found.detail[-10:]) == ("ok", "7 alive", "and 2 more")


def test_too_many_keys_to_see_all(server, monkeypatch):
    fill = server.client.pipeline()
    for index in range(20_000):
        fill.set(f"celery-task-meta-{index}", "{}")
    fill.execute()
    monkeypatch.setattr(heartbeats, "MAX_SCAN_S", 0.0)
    found = check(server.url, queues=())["workers"]
    assert (found.state, "too many keys" in found.detail) == ("warning", True)


@pytest.mark.parametrize("text", ["", "no json", "[]", '{"node": "a"}', '{"node": "a", "queues": 5}'])
def test_heartbeats_that_are_none(server, text):
    server.client.set("yolo:worker:odd", text, ex=30)
    beat(server)
    checks = check(server.url)
    assert states(checks) == {"workers": "warning"}
    assert checks["workers"].detail == "1 of 2 heartbeats can't be read"


# Clocks


@pytest.mark.parametrize(
    ("ahead_s", "state"), [(0.0, "ok"), (-1.5, "ok"), (5.0, "warning"), (-5.0, "warning"), (40.0, "failed")]
)
def test_a_worker_s_clock(server, ahead_s, state):
    beat(server, expires_s=22.0)
    value = json.loads(server.client.get("yolo:worker:a@here"))
    beat(server, expires_s=22.0, time=value["time"] + ahead_s)
    found = check(server.url)["clock"]
    assert found.state == state
    if state != "ok":
        assert (
            f"worker a@here: its clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'}"
            in found.detail
        )


@pytest.mark.parametrize(("ahead_s", "state"), [(10.0, "warning"), (-100.0, "failed")])
def test_this_machine_s_clock(server, monkeypatch, ahead_s, state):
    beat(server)
    real = time.time
    monkeypatch.setattr(health.time, "time", lambda: real() + ahead_s)
    found = check(server.url)["clock"]
    assert (found.state, found.detail.startswith("this machine")) == (state, True)


# The server's settings


@pytest.mark.parametrize(
    ("settings", "name", "state", "words"),
    [
        ({"maxmemory": "0"}, "memory", "warning", "no limit"),
        ({"maxmemory": "nearly full"}, "memory", "warning", "when it is full"),
        ({"maxmemory-policy": "allkeys-lru"}, "memory", "failed", "throws waiting jobs away"),
        ({"maxmemory-policy": "volatile-ttl"}, "memory", "warning", "throws results away"),
        ({"appendonly": "no"}, "persistence", "warning", "a restart loses the queue"),
        ({"appendonly": "no", "save": "60 1"}, "persistence", "warning", "snapshots only"),
    ],
)
def test_settings(fresh_valkey, settings, name, state, words):
    beat(fresh_valkey)
    for key, value in settings.items():
        if value == "nearly full":
            fresh_valkey.client.setrange("key", 20 << 20, "x")  # without a buffer of as much that goes later
            value = str(int(fresh_valkey.client.info("memory")["used_memory"] * 1.1))
        fresh_valkey.client.config_set(key, value)
    found = check(fresh_valkey.url)
    assert states(found) == {name: state}
    assert words in found[name].detail
    assert "redis-cli" in found[name].remedy


@pytest.mark.parametrize(
    ("changed", "name", "state", "words"),
    [
        ({"redis_version": "5.0.14", "valkey_version": "5.0.14"}, "broker", "warning", "Valkey 5.0.14"),
        ({"aof_last_write_status": "err"}, "persistence", "failed", "could not be written"),
        ({"rdb_last_bgsave_status": "err"}, "persistence", "failed", "could not be written"),
    ],
)
def test_what_the_server_tells_of_itself(server, monkeypatch, changed, name, state, words):
    beat(server)
    told = server.client.info() | changed
    monkeypatch.setattr(health.redis.Redis, "info", lambda *_: told)
    found = check(server.url)
    assert states(found) == {name: state}
    assert words in found[name].detail


def test_a_user_who_may_not_ask_is_warned(server):
    beat(server)
    client = server.client
    client.execute_command("ACL", "SETUSER", "guest", "on", ">g", "+ping")
    url = server.url.replace("://", "://guest:g@")
    try:
        checks = check(url)
        assert states(checks) == dict.fromkeys(
            ["memory", "persistence", "clock", "workers", "queues", "results"], "warning"
        )
        assert "guest" not in json.dumps(as_json(checks.values()))
        client.execute_command("ACL", "SETUSER", "guest", "~*", "+@all", "-config")
        assert states(check(url)) == {}
    finally:
        client.execute_command("ACL", "DELUSER", "guest")


# Nothing answers


def quickly(url, result_url=None):
    started = time.monotonic()
    checks = check(url, result_url=result_url)
    assert time.monotonic() - started < 5
    return checks


def test_a_broker_that_is_down_refuses_or_is_silent(fresh_valkey):
    with fake_server() as silent, fake_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as other:
        for url, words in (
            ("redis://:secret@127.0.0.1:1/0", "redis://***@127.0.0.1:1/0: refused"),
            (silent, "no answer in time"),
            (other, "not a Redis"),
            ("rediss://host", "ssl_cert_reqs=required"),
        ):
            checks = quickly(url)
            assert list(checks) == ["broker", "results", "disk"]
            assert states(checks) == {"broker": "failed", "results": "failed"}
            assert words in checks["broker"].detail
    fresh_valkey.freeze()
    assert states(quickly(fresh_valkey.url)) == {"broker": "failed", "results": "failed"}


def test_a_server_that_dies_while_it_is_asked(fresh_valkey, monkeypatch):
    beat(fresh_valkey)
    monkeypatch.setattr(health.time, "perf_counter", lambda: fresh_valkey.freeze() or 0.0)
    checks = quickly(fresh_valkey.url)
    assert "while it was being asked: no answer in time" in checks["broker"].detail


def test_a_result_store_of_its_own(server):
    beat(server)
    checks = quickly(server.url, "redis://127.0.0.1:1/0")
    assert states(checks) == {"results": "failed"}
    assert "CELERY_RESULT_BACKEND" in checks["results"].remedy


def test_a_check_that_breaks_or_hangs_hides_no_other(server, monkeypatch):
    def broken(_):
        raise RuntimeError("odd")

    beat(server)
    hangs = threading.Event()
    monkeypatch.setattr(health, "check_results", broken)
    monkeypatch.setattr(health, "check_disk", lambda _: hangs.wait(60))
    monkeypatch.setattr(health, "DEADLINE_S", 0.5)
    checks = check(server.url)
    hangs.set()
    assert states(checks) == {"results": "failed", "disk": "failed"}
    assert (checks["results"].detail, checks["disk"].detail) == (
        "the check itself failed: RuntimeError: odd",
        "no answer in time",
    )


# Disk and model


@pytest.mark.parametrize(("free", "state"), [(6 << 30, "ok"), (1 << 30, "warning"), (1 << 20, "failed")])
def test_disk_space(monkeypatch, tmp_path, free, state):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(free))
    assert health.check_disk(tmp_path / "a" / "b").state == state


def test_output_folders_that_are_none(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    assert "is not a folder" in health.check_disk(tmp_path / "file" / "out").detail
    monkeypatch.setattr(health.os, "access", lambda *_: False)
    assert "can't be written" in health.check_disk(tmp_path).detail


def test_models(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("YOLO_ENGINE_MODELS", str(tmp_path))
    assert health.check_model("yolox-nano").remedy == "Get it: `yolo-engine models pull yolox-nano`."
    assert "neither a model of the zoo nor a file" in health.check_model("other").detail
    (tmp_path / "mine.onnx").write_bytes(b"a model")
    assert health.check_model("mine.onnx").detail == f"mine.onnx: {tmp_path / 'mine.onnx'}"
    (tmp_path / "yolox_nano.onnx").write_bytes(b"damaged")
    found = health.check_model("yolox-nano")
    assert (found.state, "SHA-256" in found.detail) == ("failed", True)


def test_what_is_missing_here_may_be_on_the_workers_machines(server):
    beat(server, host="elsewhere")
    found = check(server.url, model="none.onnx")["model"]
    assert (found.state, found.detail[:5]) == ("warning", "here:")


# What `yolo-engine doctor` says of the broker


@pytest.fixture
def named(monkeypatch):
    """Names the broker of this process."""

    def name(url: str) -> None:
        monkeypatch.setenv("CELERY_BROKER_URL", url)
        settings.cache_clear()

    yield name
    settings.cache_clear()


def test_the_doctor_finds_a_broker_that_serves_us(named, server):
    named(server.url)
    assert (doctor.check().state, doctor.check().detail) == ("ok", f"{server.url} answers")


@pytest.mark.parametrize(
    ("url", "state", "said"),
    [
        ("redis://user:secret@127.0.0.1:1/0", "absent", "redis://***@127.0.0.1:1/0: refused"),
        ("redis+socket:///nowhere.sock", "absent", "there is no such socket"),
        ("redis://user:secret@localhost:many/0", "broken", "host or port can't be read"),
        ("http://localhost", "broken", "a broker's URL must start with redis://"),
    ],
)
def test_the_doctor_says_what_is_wrong(named, url, state, said):
    named(url)
    found = doctor.check()
    assert found.state == state
    assert said in found.detail
    assert "secret" not in found.detail
    assert state == "broken" or found.detail.endswith("only needed for jobs, not for `run`")


def test_what_is_no_broker_does_not_answer_the_doctor(named):
    with fake_server(b"HTTP/1.1 400 Bad Request\r\n\r\n") as url:
        named(url)
        assert "it is not a Redis" in doctor.check().detail
