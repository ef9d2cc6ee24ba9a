"""docs/redis: each of its users can do its work on a real server, and nothing else."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import redis

from orchestrator.broker.health import check_health
from orchestrator.broker.local_server import client, preflight, server_program
from orchestrator.errors import BrokerUnreachable
from tests.orchestrator.servers import ROOT, client_app, secured_server, worker

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
]

DOCS = ROOT / "docs" / "redis"


@pytest.fixture(scope="module")
def secured():
    with secured_server() as made:
        yield made


@pytest.fixture(scope="module")
def running(secured):
    """With a worker that is ready."""
    with worker(secured.urls["worker"], secured.folder):
        yield secured


def denied(secured, name):
    """What the server denied this user since the log was reset."""
    log = secured.admin.acl_log()
    return [(entry["reason"], entry["object"]) for entry in log if entry["username"] == name]


def test_the_file_as_it_is_starts_no_server(tmp_path):
    """A password that everybody knows would be none."""
    socket = ("--port", "0", "--unixsocket", str(tmp_path / "s.sock"))
    command = [server_program(), *socket, "--dir", str(tmp_path), "--aclfile", str(DOCS / "users.acl")]
    found = subprocess.run(command, capture_output=True, text=True, timeout=10)
    assert found.returncode == 1
    assert "password hash must be exactly 64 characters" in found.stdout


def test_the_documented_commands_fill_it(tmp_path):
    shutil.copy(DOCS / "users.acl", tmp_path / "users.acl")
    lines = [line[1:].strip() for line in (DOCS / "redis.conf").read_text().splitlines()]
    start = next(index for index, line in enumerate(lines) if line.startswith("password="))
    script = "\n".join(lines[start : start + 4]).replace("/etc/redis", str(tmp_path))
    told = subprocess.check_output(["sh", "-ec", script], text=True, env=os.environ)
    password = told.partition("redis://worker:")[2].partition("@")[0]
    assert (
        f"user worker reset on #{hashlib.sha256(password.encode()).hexdigest()} "
        in (tmp_path / "users.acl").read_text()
    )


def test_the_settings_are_the_recommended_ones(secured):
    with client(secured.urls["operator"]) as operator:
        found = operator.config_get("*")
    assert (found["appendonly"], found["appendfsync"]) == ("yes", "everysec")
    assert (found["maxmemory"], found["maxmemory-policy"]) == (str(256 << 20), "noeviction")
    assert found["bind"] == "127.0.0.1 -::1"


def test_nobody_gets_in_without_a_password(secured):
    with pytest.raises(BrokerUnreachable, match="authentication required"):
        preflight(secured.url)
    with pytest.raises(BrokerUnreachable, match="wrong user or password"):
        preflight(secured.urls["client"].replace("p%2F", ""))


def test_a_client_submits_and_a_worker_works(running):
    running.admin.acl_log_reset()
    preflight(running.urls["client"])
    with client_app(running.urls["client"]) as app:
        sent = app.send_task("add", (2, 3), task_id="one")
        assert sent.get(timeout=20) == 5
        chained = app.signature("add", (1, 1), queue="yolo-log") | app.signature("add", (5,), queue="yolo")
        assert chained.apply_async().get(timeout=20) == 7
        assert (app.AsyncResult("one").state, app.AsyncResult("other").state) == ("SUCCESS", "PENDING")
    assert denied(running, "client") == []
    assert denied(running, "worker") == []


def test_a_worker_s_keys(running):
    """What the job system keeps beside Celery's own."""
    running.admin.acl_log_reset()
    with client(running.urls["worker"]) as own:
        own.set("yolo:worker:a@b", "{}", ex=30)
        own.zadd("unacked_index", {"none": 1}, xx=True)
        own.hset("yolo:jobs", "id", "folder")
        assert own.hgetall("yolo:jobs") == {"id": "folder"}
        assert list(own.scan_iter(match="yolo:worker:*")) == ["yolo:worker:a@b"]
        assert own.lrange("yolo", 0, -1) == []
        own.delete("yolo:worker:a@b", "yolo:jobs")
    assert denied(running, "worker") == []


def test_an_operator_inspects_and_purges(running):
    running.admin.acl_log_reset()
    with client_app(running.urls["operator"]) as app:
        assert list(app.control.inspect(timeout=2).ping()) == ["tiny@test"]
        assert app.control.purge() == 0
    assert denied(running, "operator") == []


@pytest.mark.parametrize("name", ["client", "operator"])
def test_health(running, name):
    now = running.admin.time()[0]
    beat = {"node": "w", "host": "h", "queues": ["yolo"], "concurrency": 1, "busy": 0, "time": now}
    running.admin.set("yolo:worker:w@h", json.dumps(beat), ex=30)
    url = running.urls[name]
    checks = {one.name: one.state for one in check_health(url, url, queues=["yolo"], model=None, output=Path())}
    not_told = {"memory", "persistence"} if name == "client" else set()
    assert {key for key, state in checks.items() if state != "ok"} == not_told
    running.admin.delete("yolo:worker:w@h")


@pytest.fixture
def others(secured):
    """What a client must not touch: a job that waits on a queue of no worker, one that is being worked on, a result."""
    admin = secured.admin
    admin.lpush("yolo-gpu", "message")
    admin.hset("unacked", "tag", "message")
    admin.set("celery-task-meta-other", "result")
    admin.set("yolo:worker:other", "{}", ex=30)
    yield
    assert admin.lrange("yolo-gpu", 0, -1) == ["message"]
    assert admin.hgetall("unacked")["tag"] == "message"
    assert admin.get("celery-task-meta-other") == "result"
    assert admin.get("yolo:worker:other") == "{}"
    admin.delete("yolo-gpu", "celery-task-meta-other", "yolo:worker:other")
    admin.hdel("unacked", "tag")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(words.split(), id=f"{why}: {words}")
        for words, why in (
            ("FLUSHALL", "destroys"),
            ("FLUSHDB", "destroys"),
            ("CONFIG GET dir", "settings"),
            ("CONFIG SET dir /tmp", "writes files"),
            ("KEYS *", "stops the server"),
            ("INFO", "settings"),
            ("SHUTDOWN", "ends"),
            ("ACL LIST", "others' rights"),
            ("MONITOR", "reads all"),
            ("EVAL return(1) 0", "runs code"),
            ("LRANGE yolo-gpu 0 -1", "reads jobs"),
            ("RPOP yolo-gpu", "steals jobs"),
            ("BRPOP yolo-gpu 1", "steals jobs"),
            ("LPUSH yolo-gpu\x06\x163 x", "a queue of no worker"),
            ("DEL yolo-gpu", "removes jobs"),
            ("SET yolo-gpu x", "removes jobs"),
            ("HGETALL unacked", "reads jobs"),
            ("ZADD unacked_index 0 tag", "has jobs done twice"),
            ("SET celery-task-meta-other x", "forges results"),
            ("DEL celery-task-meta-other", "removes results"),
            ("PUBLISH celery-task-meta-other x", "forges results"),
            ("SET yolo:worker:other x", "forges workers"),
            ("DEL yolo:worker:other", "removes workers"),
            ("HGETALL yolo:jobs", "reads jobs"),
            ("PUBLISH /0.celery.pidbox x", "commands workers"),
            ("LRANGE yolo:dead 0 -1", "reads others' messages"),
            ("LPUSH yolo:dead x", "forges what was set aside"),
            ("SUBSCRIBE /0.celeryev/task.sent", "reads jobs"),
            ("PSUBSCRIBE *", "reads all"),
            ("SADD _kombu.binding.celery.pidbox x", "diverts messages"),
            ("GET other", "other programs"),
            ("SET other x", "other programs"),
        )
    ],
)
def test_what_a_client_is_denied(secured, others, command):
    with client(secured.urls["client"]) as connection, pytest.raises(redis.exceptions.NoPermissionError):
        connection.execute_command(*command)


@pytest.mark.parametrize(
    "command",
    ["FLUSHALL", "CONFIG GET dir", "KEYS *", "SHUTDOWN", "ACL LIST", "GET other", "SET other x"],
)
def test_what_a_worker_is_denied(secured, command):
    with client(secured.urls["worker"]) as connection, pytest.raises(redis.exceptions.NoPermissionError):
        connection.execute_command(*command.split())


@pytest.mark.parametrize("command", ["FLUSHALL", "CONFIG SET dir /tmp", "SHUTDOWN", "ACL DELUSER client"])
def test_what_an_operator_is_denied(secured, command):
    with client(secured.urls["operator"]) as connection, pytest.raises(redis.exceptions.NoPermissionError):
        connection.execute_command(*command.split())
