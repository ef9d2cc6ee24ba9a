"""Hostile messages against a real worker and a real broker with the documented users, sent as the one that may submit.

Each is dropped and set aside, or answered; nothing is written outside the roots; and the worker that was there before
does the next job.
"""

import json
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.broker import keys
from orchestrator.broker.dropped import MAX_DEAD
from orchestrator.broker.local_server import client
from tests.e2e.runs import clip
from tests.orchestrator.hostile import NOTHING_FOLLOWS, POISON, message, spoilt
from tests.orchestrator.servers import Secured, client_app, process, secured_server
from tests.waiting import until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
]

CONFIG = {"backend": "fake", "min_hits": 1, "visualize": False}


@dataclass
class Place:
    """A worker at work, and what a stranger has."""

    broker: Secured
    worker: Any
    log: Path
    root: Path
    mallory: Any

    def send(self, raw: bytes | dict[str, Any], queue: str = "yolo-log") -> None:
        self.mallory.lpush(queue, raw if isinstance(raw, bytes) else json.dumps(raw))

    def dead(self) -> list[dict[str, Any]]:
        return [json.loads(raw) for raw in self.broker.admin.lrange(keys.DEAD, 0, -1)]

    def answer(self, name: str, *args: Any, within_s: float = 30, **kwargs: Any) -> Any:
        """What a task gives or raises, sent as the client."""
        with client_app(self.broker.urls["client"]) as app:
            return app.send_task(name, args=args, kwargs=kwargs).get(timeout=within_s)

    def works(self) -> None:
        """The worker of the beginning does a job."""
        assert self.worker.poll() is None, self.tail()
        config = {**CONFIG, "output_folder": str(self.root / "out" / f"{time.monotonic_ns()}")}
        assert self.answer("log_start_yolo", str(self.root / "in"), config)["total_videos"] == 1
        until(lambda: self.broker.admin.hlen("unacked") == 0)

    def looks_after_jobs(self) -> None:
        """Waits until the worker has looked for lost messages, from now on; there is a job of which it knows."""
        self.works()
        for _ in range(2):
            until(lambda: not self.broker.admin.exists("yolo:rescue"))
            until(lambda: self.broker.admin.exists("yolo:rescue"), 20)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("poison")
    for name in ("in", "out", "elsewhere"):
        (root / name).mkdir()
    clip(root / "in" / "a.mp4", 10)
    with secured_server() as broker:
        log = root / "worker.log"
        environment = {
            "CELERY_BROKER_URL": broker.urls["worker"],
            "YOLO_VIDEO_ROOTS": str(root / "in"),
            "YOLO_OUTPUT_ROOTS": str(root / "out"),
            "YOLO_STATE_DIR": str(root / "state"),
        }
        command = [sys.executable, "-m", "orchestrator.worker.server_cli", "--worker"]
        with process(*command, log=log, **environment) as running:
            until(lambda: b"ready." in log.read_bytes() or running.poll() is not None, 40)
            assert running.poll() is None, log.read_text()
            with client(broker.urls["client"]) as mallory:
                yield Place(broker, running, log, root, mallory)


@pytest.fixture(autouse=True)
def _nothing_of_before(place: Place) -> None:
    place.broker.admin.delete(keys.DEAD)


def test_poison_is_dropped_and_set_aside_and_the_worker_lives(place: Place) -> None:
    names = list(POISON)
    for start in range(0, len(names), MAX_DEAD):
        some = names[start : start + MAX_DEAD]
        place.broker.admin.delete(keys.DEAD)
        before = place.log.read_bytes().count(b"is dropped")
        for name in some:
            place.send(POISON[name])
        until(lambda some=some: len(place.dead()) == len(some) or place.worker.poll() is not None, 30)
        assert place.worker.poll() is None, place.tail()
        dead = place.dead()[::-1]
        assert [entry["bytes"] for entry in dead] == [len(POISON[name]) for name in some]
        assert all(
            entry["queue"] == "yolo-log" and entry["why"] and len(entry["message"]) <= 4 * 8192 for entry in dead
        )
        until(lambda before=before, some=some: place.log.read_bytes().count(b"is dropped") == before + len(some))
    assert b"Traceback" not in place.log.read_bytes()
    assert b"\x1b[31m" not in place.log.read_bytes()
    assert not os.path.exists("/tmp/yolo-pickled")
    place.works()
    assert len(place.dead()) <= MAX_DEAD, "nothing came back"
    assert place.broker.admin.llen("yolo-log") == 0


def test_what_is_set_aside_is_bounded(place: Place) -> None:
    for number in range(MAX_DEAD + 20):
        place.send(b"x" * 100_000 + str(number).encode())
    until(lambda: place.broker.admin.llen("yolo-log") == 0 and len(place.dead()) == MAX_DEAD)
    assert place.broker.admin.memory_usage(keys.DEAD, samples=0) < 2 << 20
    place.works()


@pytest.mark.parametrize("seed", [1, 2])
def test_messages_spoilt_at_random(place: Place, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(400):
        place.send(spoilt(chance), chance.choice(["yolo", "yolo-log"]))
    until(lambda: not place.broker.admin.exists("yolo", "yolo-log") or place.worker.poll() is not None, 60)
    assert place.worker.poll() is None, place.tail()
    place.broker.admin.delete("unacked", "unacked_index")  # what waits for its time, in the worker's hands
    place.works()
    assert sorted(path.name for path in place.root.iterdir()) == ["elsewhere", "in", "out", "state", "worker.log"]


def test_a_message_for_nobody_s_task_is_answered(place: Place) -> None:
    with pytest.raises(Exception, match="no_such_task"):
        place.answer("no_such_task")
    place.works()


ARGUMENTS: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "no argument": ("complete_pipeline", [], {}),
    "a folder that is a number": ("complete_pipeline", [7], {}),
    "a folder that is a list": ("log_start_yolo", [["/"]], {}),
    "a folder that is null": ("log_start_yolo", [None], {}),
    "a folder of half a character": ("log_start_yolo", ["/v\ud800"], {}),
    "a folder with NUL": ("log_start_yolo", ["/v\0/x"], {}),
    "too many arguments": ("log_end_yolo", ["/v", None, None, None, None, None], {}),
    "an unknown keyword": ("log_start_yolo", ["/v"], {"evil": 1}),
    "a configuration that is a list": ("log_start_yolo", ["/v", [1]], {}),
    "a configuration that is a text": ("process_videos_yolo", ["/v", "x"], {}),
    "workers a word": ("complete_pipeline", ["/v", None, "all"], {}),
    "workers true": ("complete_pipeline", ["/v", None, True], {}),
    "workers without end": ("complete_pipeline", ["/v", None, 10**9], {}),
    "a job that is a list": ("log_start_yolo", ["/v"], {"job": ["/x"]}),
    "a job that is no path": ("process_videos_yolo", ["/v"], {"job": "\0/.yolo-jobs/a"}),
    "a job elsewhere": ("process_videos_yolo", ["/v"], {"job": "/etc/.yolo-jobs/a"}),
    "a watched folder that is a list": ("sweep_yolo", [[]], {}),
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_wrong_arguments_are_answered_with_a_reason(place: Place, name: str) -> None:
    task, args, kwargs = ARGUMENTS[name]
    with pytest.raises(Exception, match=r"[a-z]") as raised:
        place.answer(task, *args, **kwargs)
    assert type(raised.value).__name__ in ("RequestError", "PathRefused"), repr(raised.value)
    assert str(raised.value).isprintable()
    assert place.worker.poll() is None


STEPS: list[Any] = [
    "/elsewhere/pwned",
    "../../../../elsewhere/pwned",
    "process-1/../../../../../elsewhere/pwned",
    "process-1\0",
    "process-1\n",
    "process-0",
    "process-01",
    "process-2",
    "process-1000000000",
    "process-١",
    "start",
    "",
    "process-1.done",
    7,
    ["process-1"],
    {"step": 1},
    None,
    True,
]


@pytest.mark.parametrize("step", STEPS, ids=repr)
def test_a_step_is_one_of_the_job_s_and_never_a_path(place: Place, step: Any, tmp_path: Path) -> None:
    config = {**CONFIG, "output_folder": str(place.root / "out" / "steps")}
    if not (place.root / "out" / "steps" / ".yolo-jobs").exists():
        place.answer("log_start_yolo", str(place.root / "in"), config)
    job = next((place.root / "out" / "steps" / ".yolo-jobs").iterdir())
    if isinstance(step, str):
        step = step.replace("/elsewhere", f"{place.root}/elsewhere", 1) if step.startswith("/") else step
    before = sorted(str(path) for path in place.root.rglob("*") if "state" not in path.parts)
    with pytest.raises(Exception, match="step") as raised:
        place.answer("process_videos_yolo", str(place.root / "in"), config, job=str(job), step=step)
    assert type(raised.value).__name__ == "RequestError", repr(raised.value)
    assert sorted(str(path) for path in place.root.rglob("*") if "state" not in path.parts) == before
    assert list((place.root / "elsewhere").iterdir()) == []


def test_a_message_that_has_run_out_cancels_nothing_elsewhere(place: Place) -> None:
    """Celery tells of it as of a step that was revoked, before any check of ours."""
    made = place.root / "out" / "theirs"
    place.answer("log_start_yolo", str(place.root / "in"), {**CONFIG, "output_folder": str(made)})
    job = next((made / ".yolo-jobs").iterdir())
    elsewhere = place.root / "elsewhere" / ".yolo-jobs" / job.name
    elsewhere.parent.mkdir()
    job.rename(elsewhere)
    job.mkdir()
    (job / "job.json").write_bytes((elsewhere / "job.json").read_bytes())
    for path in (elsewhere, job):
        place.send(
            message("/v", kwargs={"job": str(path)}, id=f"{job.name}.start", expires="2020-01-01T00:00:00+00:00")
        )
    place.works()
    assert not (elsewhere / "cancel.json").exists()
    assert not (job / "cancel.json").exists()


def test_what_a_client_announces_keeps_no_worker_from_its_duties(place: Place) -> None:
    """The thread that looks after announced jobs tells that the worker lives, too, and renews the messages it holds."""
    admin = place.broker.admin
    pipe = place.mallory.pipeline(transaction=False)
    for number, folder in enumerate(
        ("/x\0/.yolo-jobs/a", "/x/.yolo-jobs/a\0", "\ud800", "/" * 5000, "[" * 5000, "", "7")
    ):
        pipe.hset("yolo:jobs", f"a{number}\x1b[31m", folder.encode(errors="surrogatepass"))
        pipe.hset(
            "yolo:jobs", folder.rpartition("/")[2].encode(errors="surrogatepass"), folder.encode(errors="surrogatepass")
        )
    pipe.execute()
    lost = place.log.read_bytes().count(b"can't be reached")
    place.looks_after_jobs()
    nowhere = "/nowhere" + "/x" * 1500
    for number in range(20_000):
        pipe.hset("yolo:jobs", str(number), f"{nowhere}/.yolo-jobs/{number}")
    pipe.execute()
    key = next(admin.scan_iter(match="yolo:worker:*"))
    for _ in range(3):
        admin.delete(key)
        until(lambda: admin.exists(key), 8)
    assert place.log.read_bytes().count(b"can't be reached") == lost
    assert b"\x1b[31m" not in place.log.read_bytes()
    admin.delete("yolo:jobs")
    place.works()


def test_a_client_can_t_command_workers(place: Place) -> None:
    """Not by the channel, and not by a task that a worker would send on."""
    from kombu.exceptions import OperationalError

    with (
        client_app(place.broker.urls["client"]) as app,
        pytest.raises((OperationalError, Exception), match="permission"),
    ):
        app.control.shutdown()
    follower = {"task": "log_end_yolo", "args": [], "kwargs": {}, "subtask_type": None, "immutable": True}
    to_all = {**follower, "options": {"exchange": "celery.pidbox", "exchange_type": "fanout"}}
    place.send(message(str(place.root / "in"), embedded={**NOTHING_FOLLOWS, "chain": [to_all]}))
    until(lambda: len(place.dead()) == 1)
    place.works()


def test_no_password_stands_in_what_is_left(place: Place) -> None:
    """In records, results, logs and what the broker keeps; nor on a command line, which every user can read."""
    config = {**CONFIG, "output_folder": str(place.root / "out" / "secret")}
    assert place.answer("process_videos_yolo", str(place.root / "in"), config)["success"]
    left = [path.read_bytes() for path in place.root.rglob("*") if path.is_file()]
    admin = place.broker.admin
    left += [str(admin.get(key)).encode() for key in admin.scan_iter() if admin.type(key) == "string"]
    left += [str(admin.lrange(keys.DEAD, 0, -1)).encode()]
    left += [Path(f"/proc/{place.worker.pid}/cmdline").read_bytes()]
    assert len(left) > 20
    for secret in (b"p/worker", b"p%2Fworker", b"p/client", b"p%2Fclient"):
        assert not [one[:200] for one in left if secret in one]
