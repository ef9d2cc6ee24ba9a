"""Jobs take turns on a worker: a small one does not wait for a long one; and a worker that is drained."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.broker import keys, queues
from orchestrator.broker.heartbeats import live
from orchestrator.broker.local_server import client
from orchestrator.broker.publish import later_level, level_of, publish
from orchestrator.job.jobdir import Job
from orchestrator.job.records import JobSpec, Priority
from orchestrator.settings import Settings, settings
from orchestrator.worker import alive, keeper, ways
from orchestrator.worker import steps as jobs
from tests.assets import ROOT
from tests.chaos.farm import CONFIG, Farm
from tests.e2e.runs import clip, fake_engine
from tests.orchestrator import handmade as made
from tests.orchestrator.servers import client_app
from tests.waiting import until

pytestmark = pytest.mark.timeout(180)


def job_over(farm: Farm, name: str, frames: int, videos: int = 1, **spec: Any) -> Job:
    """A job over videos of its own, on the queue, with an output folder of its own."""
    folder = farm.folder / name
    for number in range(videos):
        clip(folder / f"{name}{number}.mp4", frames, seed=number)
    job = jobs.begin(str(folder), {**CONFIG, "visualize": False, "streams": 1, "workers": 1}, settings(),
                     output=str(farm.folder / f"{name}-out"), **spec)  # fmt: skip
    publish(farm.app, job, "start")
    return job


def happened(job: Job) -> list[tuple[str, float]]:
    """(what, when) of its log."""
    lines = map(json.loads, (job.folder / "events.jsonl").read_text().splitlines())
    return [(line["event"], datetime.fromisoformat(line["at"]).timestamp()) for line in lines]


def test_a_small_job_behind_a_long_one_waits_less_than_ten_seconds(tmp_path):
    """One worker with one slot, and the long job is in the middle of its only video."""
    with Farm(tmp_path / "f", CHAOS_DELAY_S="0.05") as farm:
        farm.worker()
        long = job_over(farm, "long", 1500)
        farm.at_work(long)
        until(lambda: any(told.videos and told.videos[0].frames > 100 for told in long.progress()), 60, farm.tail)
        submitted = time.time()
        small = job_over(farm, "small", 10)
        until(lambda: (small.folder / "videos" / "0000.1.json").exists(), 60, farm.tail)
        waited = (small.folder / "videos" / "0000.1.json").stat().st_mtime - submitted
        assert farm.wait(small).state == "completed"
        assert not long.ended
        assert waited < 10, f"{waited:.1f} s"
        assert farm.wait(long).state == "completed"
        assert "gave way" in [what for what, _ in happened(long)]
        summary = long.end_record().result.summary
        assert summary.videos[0].frames == 1500
        assert summary.videos[0].to_json()["resumed_from"] > 0, "it went on where it was"
        alone = farm.folder / "alone"
        with fake_engine() as engine:
            engine.run([farm.folder / "long"], alone)
        name = "long0.tracks.jsonl"
        assert (long.output / name).read_bytes() == (alone / name).read_bytes(), "and its rows are those of one go"


def test_two_long_jobs_take_turns_and_survive_a_kill(tmp_path):
    with Farm(tmp_path / "f", CHAOS_DELAY_S="0.03") as farm:
        settings_file = farm.folder / "settings.toml"
        settings_file.write_text("turn_s = 4.0\n")
        worker = farm.worker(YOLO_SETTINGS=str(settings_file))
        one, two = job_over(farm, "one", 700), job_over(farm, "two", 700)

        def turns(job: Job) -> int:
            return [what for what, _ in happened(job)].count("gave way")

        until(lambda: turns(one) and turns(two), 90, farm.tail)
        farm.kill(worker)
        farm.worker(YOLO_SETTINGS=str(settings_file))
        for job in (one, two):
            assert farm.wait(job, 150).state == "completed"
            (video,) = job.end_record().result.summary.videos
            assert (video.status, video.frames) == ("ok", 700)


# -- levels -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("priority", "new", "later"), [("high", 0, 3), ("normal", 0, 6), ("low", 9, 9)]
)  # fmt: skip
def test_where_the_steps_of_a_job_wait(tmp_path, valkey, priority, new, later):
    given = Settings(broker_url=valkey.url, state_dir=tmp_path / "state")
    job = made.make_job(tmp_path, given, priority=Priority(priority))
    assert (level_of(job, "start"), level_of(job, "end"), level_of(job, "process-1")) == (0, 0, new)
    valkey.client.flushall()
    with client_app(valkey.url) as app:
        publish(app, job, "process-1")
        made.hold(job, job.task_base("process-1"))
        assert level_of(job, "process-1") == later_level(job) == later
        publish(app, job, "process-1", again=1)
        waiting = queues.waiting(valkey.client, ["yolo"])
    assert {(message.id, message.level) for message in waiting} == {
        (f"{job.id}.process-1", new), (f"{job.id}.process-1.again-1", later)
    }  # fmt: skip
    valkey.client.flushall()


def test_a_priority_is_kept_and_is_normal_where_none_was_written(tmp_path):
    given = Settings(state_dir=tmp_path / "state")
    job = made.make_job(tmp_path, given, priority=Priority.LOW)
    assert Job.open(job.folder).spec.priority is Priority.LOW
    plain = made.make_job(tmp_path, given)
    value = json.loads((plain.folder / "job.json").read_text())
    assert "priority" not in value
    assert JobSpec.from_json(value).priority is Priority.NORMAL
    with pytest.raises(ValueError, match=r"priority must be high, normal or low\. Got 'urgent'"):
        JobSpec.from_json({**value, "priority": "urgent"})


@pytest.mark.parametrize(
    ("waits_at", "own", "worked_s", "gives"),
    [
        (0, 6, 2.9, False),  # each turn gets a job further
        (0, 6, 3.0, True),
        (6, 6, 59.0, False),
        (6, 6, 60.0, True),
        (9, 6, 1e6, False),
        (3, 3, 60.0, True),
        (6, 3, 1e6, False),
    ],
)
def test_when_a_task_gives_way(tmp_path, monkeypatch, waits_at, own, worked_s, gives):
    monkeypatch.setenv(alive.RUNTIME, str(tmp_path))
    ways.ask_for_way("task", waits_at)
    assert ways.gives_way("task", own, worked_s, 60.0) is gives
    assert not ways.gives_way("another", own, worked_s, 60.0)
    ways.ask_for_way("task", None)
    assert not ways.gives_way("task", own, worked_s, 60.0)


# -- what a worker asks of its tasks ----------------------------------------------------------------------------------


class Held(SimpleNamespace):
    """A message that a worker holds, as Celery has it."""

    def __hash__(self) -> int:
        return id(self)


@pytest.fixture
def shared(valkey, tmp_path, monkeypatch):
    """Makes keepers of workers that hold tasks, all without a free slot; the broker is empty."""
    valkey.client.flushall()
    monkeypatch.setenv(alive.RUNTIME, str(tmp_path / "runtime"))
    (tmp_path / "runtime").mkdir()
    given = Settings(broker_url=valkey.url, state_dir=tmp_path / "state")
    connected, clients = keeper.open_broker, []
    monkeypatch.setattr(keeper, "open_broker", lambda *at, **how: clients.append(connected(*at, **how)) or clients[-1])

    def make(name: str, *tasks: str) -> keeper.KeeperThread:
        consumer = SimpleNamespace(
            task_consumer=SimpleNamespace(queues=[SimpleNamespace(name=queue) for queue in ("yolo", "yolo-log")])
        )
        worker = SimpleNamespace(
            hostname=name, consumer=consumer, pool=SimpleNamespace(num_processes=len(tasks)), pool_cls=dict, app=None
        )
        thread = keeper.KeeperThread(worker, given)
        monkeypatch.setattr(thread, "requeue", lambda: None)
        monkeypatch.setattr(keeper, "told_to_stop", lambda: False)  # a worker in another test may have been
        held = [Held(id=task, message=None) for task in tasks]

        def tick() -> set[str]:
            monkeypatch.setattr(keeper.state, "reserved_requests", set())
            monkeypatch.setattr(keeper.state, "active_requests", set(held))
            thread.tick()
            return {task for task in tasks if ways.gives_way(task, 6, 5.0, 60.0)}

        thread.ask = tick
        return thread

    yield make, valkey.client
    for each in clients:
        each.close()
    valkey.client.flushall()


def put(connection, task_id: str, key: str = "yolo") -> None:
    connection.lpush(key, json.dumps({"headers": {"id": task_id}, "body": "", "properties": {}}))


def test_a_task_is_asked_for_a_job_that_waits_and_no_longer_than_that(shared):
    make, connection = shared
    worker = make("one@here", "aaaa.process-1")
    assert worker.ask() == set()
    put(connection, "aaaa.process-2")
    assert worker.ask() == set(), "its own job"
    put(connection, "bbbb.start", "yolo-log")
    assert worker.ask() == {"aaaa.process-1"}
    assert connection.get(f"{keys.WAYS}bbbb.start") == "one@here"
    connection.delete("yolo-log")
    assert worker.ask() == set()


def test_of_two_workers_one_makes_way_for_one_message(shared):
    make, connection = shared
    one, two = make("one@here", "aaaa.process-1"), make("two@here", "aaaa.process-2")
    put(connection, "bbbb.process-1")
    assert (one.ask(), two.ask()) == ({"aaaa.process-1"}, set())
    assert (one.ask(), two.ask()) == ({"aaaa.process-1"}, set())
    put(connection, "cccc.process-1")
    assert (one.ask(), two.ask()) == ({"aaaa.process-1"}, {"aaaa.process-2"})


def test_what_waits_in_front_is_asked_for_first(shared):
    make, connection = shared
    worker = make("one@here", "aaaa.process-1")
    put(connection, "bbbb.process-1", queues.parts_of("yolo")[2])
    assert worker.ask() == set(), "it has had its turn: not within five seconds"
    put(connection, "cccc.start", "yolo-log")
    assert worker.ask() == {"aaaa.process-1"}


def test_a_free_slot_is_taken_before_anybody_gives_way(shared):
    make, connection = shared
    worker = make("one@here", "aaaa.process-1")
    put(connection, "bbbb.process-1")
    assert worker.ask() == {"aaaa.process-1"}
    connection.delete(f"{keys.WAYS}bbbb.process-1")
    other = make("two@here", "aaaa.end")
    assert other.ask() == set(), "a short step gives no way"


# -- drain ------------------------------------------------------------------------------------------------------------


def drained(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orchestrator.worker.server_cli", "--drain", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def test_a_drained_worker_finishes_what_it_has_and_takes_nothing_more(tmp_path):
    with Farm(tmp_path / "f", CHAOS_DELAY_S="0.05", TMPDIR=str(tmp_path)) as farm:
        worker = farm.worker("--name", "tired")
        job = job_over(farm, "some", 150, videos=4)
        farm.at_work(job)
        done = drained("--name", "tired")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("tired@") == 2
        assert worker.wait(10) == 0
        farm.workers.remove(worker)
        found = len(job.done_indices())
        assert 1 <= found < 4, "what was in hand is done, and nothing else was begun"
        assert not list((job.output / ".yolo-engine").glob("*/*/*.part")), "nothing was broken off"
        assert not job.live(30)
        assert not live(client(farm.broker.url))
        farm.worker()
        assert farm.wait(job).state == "completed"
        assert [what for what, _ in happened(job)].count("crashed") == 0


def test_a_drained_worker_that_has_nothing_ends_at_once(tmp_path):
    with Farm(tmp_path / "f", TMPDIR=str(tmp_path)) as farm:
        worker = farm.worker()
        until(lambda: bool(live(client(farm.broker.url))), 30, farm.tail)
        assert drained().returncode == 0
        assert worker.wait(10) == 0
        farm.workers.remove(worker)


def test_there_is_nothing_to_drain(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / f"{ways.prefix()}{os.getpid()}-x").mkdir()
    (tmp_path / f"{ways.prefix()}1-link").symlink_to(Path("/"))
    done = drained("--name", "nobody")
    assert (done.returncode, "No worker of the name nobody of this user runs" in done.stderr) == (2, True), done.stderr
