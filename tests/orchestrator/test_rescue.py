"""Lost messages are found and sent again; what waits, is held, or is nobody's business is left alone."""

import json
import os
import random
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from orchestrator.broker import keys, queues
from orchestrator.broker.publish import announce, publish, queue_of, task_id, withdraw
from orchestrator.broker.queues import message_ids
from orchestrator.broker.redis_broker import RedisBroker
from orchestrator.errors import RequestError
from orchestrator.job.jobdir import Job
from orchestrator.job.turns import Turns, next_waiting, waits
from orchestrator.settings import Settings
from orchestrator.worker import requeue as module
from orchestrator.worker.requeue import messages_held, requeue_lost
from tests.orchestrator import handmade as made
from tests.orchestrator.servers import client_app


class Server:
    """As much of a server as a look for lost messages asks for. Newest message first, as Celery pushes them."""

    def __init__(self) -> None:
        self.lists: dict[str, list[str]] = {}
        self.keys: dict[str, str] = {}
        self.hashes: dict[str, dict[str, str]] = {}

    def lrange(self, name, first, last):
        return self.lists.get(name, [])[first : last + 1]

    def scan_iter(self, match, count):
        return [key for key in self.keys if key.startswith(match.rstrip("*"))]

    def mget(self, keys):
        return [self.keys.get(key) for key in keys]

    def get(self, key):
        return self.keys.get(key)

    def set(self, key, value, ex=None, nx=False, px=None):
        if not nx:  # the lock that lets one look at a time is always free here
            self.keys[key] = value
        return True

    def hrandfield(self, name, count):
        found = self.hashes.get(name, {})
        return random.sample(sorted(found), min(count, len(found)))

    def hmget(self, name, keys):
        return [self.hashes.get(name, {}).get(key) for key in keys]

    def hset(self, name, key, value):
        self.hashes.setdefault(name, {})[key] = value

    def hdel(self, name, key):
        self.hashes.get(name, {}).pop(key, None)


class App:
    """Puts what is sent on the server's queues."""

    def __init__(self, server: Server, settings: Settings) -> None:
        self.server = server
        self.conf = SimpleNamespace(broker_url="redis://x", task_queues=dict.fromkeys(settings.known_queues))
        self.sent: list[tuple[str, str, str, dict]] = []

    def send_task(self, name, *, args, kwargs, task_id, queue, priority):
        self.sent.append((name, task_id, queue, kwargs))
        self.server.lists.setdefault(queue, []).insert(0, message(task_id))


def message(message_id: str) -> str:
    return json.dumps({"headers": {"id": message_id}, "body": "[]"})


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def app(server, settings) -> App:
    return App(server, settings)


@pytest.fixture
def job(tmp_path, settings) -> Job:
    return made.make_job(tmp_path, settings, workers=2)


def long_ago(job: Job, key: str) -> None:
    """The message of a step was sent a while ago."""
    path = job.folder / "tasks" / f"{key}.sent.json"
    path.write_text(json.dumps({"again": 0}))
    os.utime(path, (time.time() - 60,) * 2)


def test_sent_anew(app, server, job, settings):
    long_ago(job, "start")
    assert requeue_lost(app, RedisBroker(server), settings) == [f"{job.id}.start.again-1"]
    assert app.sent == [("log_start_yolo", f"{job.id}.start.again-1", "yolo-log", {"job": str(job.folder)})]
    assert requeue_lost(app, RedisBroker(server), settings) == [], "it waits now"
    server.lists.clear()
    assert requeue_lost(app, RedisBroker(server), settings) == [], "it was sent a moment ago"
    os.utime(job.folder / "tasks" / "start.sent.json", (1, 1))
    assert requeue_lost(app, RedisBroker(server), settings) == [f"{job.id}.start.again-2"]


@pytest.mark.parametrize(
    ("name", "sends"),
    [
        ("nothing", 2),
        ("both wait", 0),
        ("one waits", 1),
        ("one waits, sent again", 1),
        ("one is held by a live worker", 1),
        ("one is held by a dead worker", 2),
        ("one is worked on", 1),
        ("one's worker died", 2),
        ("sent a moment ago", 0),
        ("died, sent a moment ago", 1),
        ("sent in the future", 2),
    ],
)
def test_what_is_on_its_way(app, server, job, settings, name, sends):
    made.start(job)
    for key in ("process-1", "process-2"):
        long_ago(job, key)
    first, second = task_id(job, "process-1"), task_id(job, "process-2")
    if name == "both wait":
        server.lists["yolo"] = [message(first), message(second)]
    elif name == "one waits":
        server.lists["yolo-gpu"] = [message(first)]
    elif name == "one waits, sent again":
        server.lists["yolo"] = [message(f"{first}.again-7")]
    elif name.startswith("one is held"):
        who = made.dead_owner() if "dead" in name else None
        made.heartbeat(server, "w@here", tasks=[first], who=who)
    elif name == "one is worked on":
        made.hold(job, job.task_base("process-1"))
    elif name == "one's worker died":
        made.hold(job, job.task_base("process-1"), made.dead_owner())
    elif name == "sent a moment ago":
        for key in ("process-1", "process-2"):
            os.utime(job.folder / "tasks" / f"{key}.sent.json")
    elif name == "died, sent a moment ago":
        made.hold(job, job.task_base("process-1"), made.dead_owner())
        for key in ("process-1", "process-2"):
            os.utime(job.folder / "tasks" / f"{key}.sent.json")
    elif name == "sent in the future":
        os.utime(job.folder / "tasks" / "process-1.sent.json", (time.time() + 3600,) * 2)
    assert len(requeue_lost(app, RedisBroker(server), settings)) == sends
    assert len(app.sent) == sends


def test_the_first_message_is_the_whole_pipeline_s(app, server, job, settings):
    long_ago(job, "start")
    server.lists["yolo-log"] = [message(job.id)]
    assert requeue_lost(app, RedisBroker(server), settings) == []


def test_what_needs_nothing(app, server, job, settings):
    made.end(job, settings)
    assert requeue_lost(app, RedisBroker(server), settings) == []


def test_a_queue_that_is_too_long_to_look_through_is_left_alone(app, server, job, settings, monkeypatch):
    """What can't be seen may be there: to send it again and again would make the queue longer still."""
    long_ago(job, "start")
    monkeypatch.setattr(queues, "MAX_LOOKED_THROUGH", 10)
    server.lists["yolo-log"] = [message(f"other-{number}") for number in range(10)]
    server.lists["yolo-log"].append(message(task_id(job, "start")))
    assert requeue_lost(app, RedisBroker(server), settings) == []
    server.lists["yolo-log"].pop()
    assert len(requeue_lost(app, RedisBroker(server), settings)) == 1


def test_jobs_of_other_machines(app, server, tmp_path, job, settings):
    """They are announced at the broker, and checked as a stranger's."""
    (settings.state_dir / "jobs" / f"{job.id}.json").unlink()
    long_ago(job, "start")
    assert requeue_lost(app, RedisBroker(server), settings) == []
    announce(RedisBroker(server), job)
    for name, folder in (("a", "/etc"), ("b", ""), ("c", "x" * 5000), ("d", "/dev/zero/.yolo-jobs/d"), ("e", "a\0b")):
        server.hset(keys.JOBS, name, folder)
    assert requeue_lost(app, RedisBroker(server), settings) == [f"{job.id}.start.again-1"]
    made.end(job, settings)
    assert requeue_lost(app, RedisBroker(server), settings) == []
    assert job.id not in server.hashes[keys.JOBS], "nobody need look after it any more"
    withdraw(RedisBroker(server), "a")
    assert "a" not in server.hashes[keys.JOBS]


@pytest.mark.parametrize("kind", ["garbage", "another queue", "damaged", "removed", "disk away"])
def test_one_strange_job_does_not_stop_the_others(app, server, tmp_path, job, settings, monkeypatch, kind):
    strange = made.make_job(tmp_path, settings, job_id="zzz", output="out2")
    for each in (job, strange):
        long_ago(each, "start")
    if kind == "garbage":
        (strange.folder / "job.json").write_text('{"schema": 1}')
    elif kind == "another queue":
        spec = {**strange.spec.to_json(), "queue": "mine"}
        (strange.folder / "job.json").write_text(json.dumps(spec))
    elif kind == "damaged":
        (strange.folder / "tasks" / "start.sent.json").write_text('{"again": "x"}')
        (strange.folder / "tasks" / "start.1.json").write_text("[]")
    elif kind == "removed":
        (strange.folder / "job.json").unlink()
    elif kind == "disk away":
        real = module.jobs.next_step

        def away(job, lease_s):
            if job.id == "zzz":
                raise OSError("stale file handle")
            return real(job, lease_s)

        monkeypatch.setattr(module.jobs, "next_step", away)
    assert f"{job.id}.start.again-1" in requeue_lost(app, RedisBroker(server), settings)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"owner": 1}', '{"owner": {}, "tasks": ["x"]}', '{"node": "w"}'])
def test_heartbeats_that_are_none(server, text):
    made.heartbeat(server, "w@here", tasks=["a"])
    server.set("yolo:worker:other", text)
    assert messages_held(RedisBroker(server)) == {"a"}


@pytest.mark.parametrize("raw", ["", "{", "[]", "null", '{"headers": []}', '{"headers": {"id": null}}', "\x00"])
def test_messages_that_are_none(server, settings, raw):
    server.lists["yolo"] = [raw, message("a")]
    assert "a" in message_ids(server, settings.known_queues)


def test_a_purge_by_celery_itself_only_delays(valkey, tmp_path):
    """It takes messages away and knows of no jobs. `yolo-submit --purge` ends them."""
    valkey.client.flushall()
    settings = Settings(broker_url=valkey.url, state_dir=tmp_path / "state")
    job = made.make_job(tmp_path, settings)
    with client_app(valkey.url) as app:
        publish(app, job, "start")
        assert app.control.purge() == 1
        assert valkey.client.llen("yolo-log") == 0
        long_ago(job, "start")
        assert requeue_lost(app, RedisBroker(valkey.client), settings) == [f"{job.id}.start.again-1"]
        assert valkey.client.llen("yolo-log") == 1
    valkey.client.flushall()


def test_a_step_that_waits_for_its_folder_is_sent_when_that_is_free(app, server, tmp_path, job, settings):
    made.start(job)
    younger = made.make_job(tmp_path, settings, job_id="zzz")
    made.start(younger)
    made.hold(job, job.task_base("process-1"))
    made.hold(job, job.task_base("process-2"))
    assert Turns(30).must_wait(younger, "process-1").id == job.id
    long_ago(younger, "process-1")
    assert requeue_lost(app, RedisBroker(server), settings) == [], "the other is at work"
    for key in ("process-1", "process-2"):
        job.leases("tasks")[key].release("exhausted")
    for index in range(2):
        made.finish(job, index)
    made.end(job, settings)
    assert next_waiting(younger.output, 30)[0].id == younger.id
    assert requeue_lost(app, RedisBroker(server), settings) == ["zzz.process-1.again-1"]
    assert not waits(younger, "process-1")
    assert next_waiting(younger.output, 30) is None


# -- publish ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "queue", "expected"),
    [
        ({}, None, "yolo"),
        ({"device": "cpu"}, None, "yolo"),
        ({"device": "cuda:1"}, None, "yolo-gpu"),
        ({"backend": "tensorrt"}, None, "yolo-gpu"),
        ({"backend": "onnxruntime-tensorrt"}, None, "yolo-gpu"),
        ({"model": "/models/a.plan"}, None, "yolo-gpu"),
        ({"device": "cuda"}, "yolo", "yolo"),
    ],
)
def test_queues(job, config, queue, expected):
    assert queue_of(Job(job.folder, replace(job.spec, config=config, queue=queue))) == expected


@pytest.mark.parametrize(
    ("key", "name", "queue"),
    [
        ("start", "log_start_yolo", "yolo-log"),
        ("process-2", "process_videos_yolo", "yolo"),
        ("end", "log_end_yolo", "yolo-log"),
    ],
)
def test_messages(app, job, key, name, queue):
    assert publish(app, job, key) == f"{job.id}.{key}"
    extra = {"step": key} if key.startswith("process") else {}
    assert app.sent == [(name, f"{job.id}.{key}", queue, {"job": str(job.folder), **extra})]
    assert json.loads((job.folder / "tasks" / f"{key}.sent.json").read_text())["queue"] == queue


def test_a_queue_that_this_machine_does_not_know(app, job):
    other = Job(job.folder, replace(job.spec, queue="mine"))
    with pytest.raises(RequestError, match=r'queues = \["mine"\]'):
        publish(app, other, "process-1")
    publish(app, other, "end")
