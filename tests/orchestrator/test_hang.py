"""A process that hangs while its worker lives: its work goes to another worker, and whoever waits takes no slot."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from orchestrator.broker.heartbeats import live
from orchestrator.broker.local_server import client
from orchestrator.broker.publish import publish
from orchestrator.client import commands_jobs, submission
from orchestrator.client.options import SubmitOptions
from orchestrator.job.jobdir import Job
from orchestrator.settings import settings
from orchestrator.worker import alive
from orchestrator.worker import steps as jobs
from tests.chaos.farm import CONFIG, Farm
from tests.e2e.runs import clip
from tests.orchestrator import handmade as made
from tests.waiting import until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
]


def farm_with(tmp_path: Path, lease_s: float, **environment: str) -> Farm:
    settings_file = tmp_path / "settings.toml"
    settings_file.write_text(f"lease_s = {lease_s}\nstall_s = {lease_s}\n")
    return Farm(tmp_path / "f", YOLO_SETTINGS=str(settings_file), **environment)


def send(farm: Farm, job: Job) -> None:
    publish(farm.app, job, "start")


def test_a_hanging_child_s_video_goes_to_another_worker(tmp_path: Path) -> None:
    """Pool child and engine halt; the worker's parent lives and beats."""
    with farm_with(tmp_path, 5.0) as farm:

        def beat():
            return next(found for found in live(client(farm.broker.url)) if found.node.startswith("hanging"))

        farm.clips(1, frames=300)
        job = farm.submit()
        hanging = farm.worker("--name", "hanging")
        farm.at_work(job)
        halted = farm.below(hanging.pid)
        assert len(halted) >= 2
        for pid in halted:
            os.kill(pid, signal.SIGSTOP)
        try:
            farm.worker("--name", "other")
            until(lambda: (lease := job.leases("videos").get("0000")) is not None and lease.number > 1, 40, farm.tail)
            assert hanging.poll() is None
            until(lambda: beat().tasks == (), about=lambda: "it tells that it works on it")
            record = farm.wait(job, 60)
        finally:
            for pid in halted:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        assert record.state == "completed"
        assert "no sign of life" in farm.log.read_text()
        until(lambda: beat().busy == 0, 30, farm.tail)  # it wakes, finds that it was replaced, and is free again
        farm.judge(job, ok=1)


def test_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(alive.RUNTIME, str(tmp_path / "run"))
    listener = alive.Listener(0.2)
    alive.show("a")
    alive.show("../../strange\ud800")
    assert listener.silent(["a", "b"]) == set()
    # One that gives none at all is silent as well.
    until(lambda: alive.show("a") or listener.silent(["a", "b"]) == {"b"})
    alive.show("b")
    assert listener.silent(["a", "b"]) == set()
    alive.forget("a")
    alive.forget("a")
    assert len(list((tmp_path / "run").iterdir())) == 2
    monkeypatch.delenv(alive.RUNTIME)
    alive.show("a")  # outside a worker


def test_jobs_that_wait_for_a_folder_take_no_slot(tmp_path: Path) -> None:
    """Eight jobs into one folder behind one that takes its time, and one of another folder, on a single worker."""
    with farm_with(tmp_path, 120.0, CHAOS_DELAY_S="0") as farm:
        clip(farm.videos / "a.mp4", 5)
        many = [
            jobs.begin(str(farm.videos), {**CONFIG, "visualize": False}, settings(), output=str(farm.output))
            for _ in range(8)
        ]
        # One that is at work, elsewhere: all others wait for it.
        first = many[0]
        jobs.start(first, jobs.Context("here", settings()))
        step = made.hold(first, first.task_base("process-1"))
        for job in many[1:]:
            send(farm, job)
        other = jobs.begin(str(farm.videos), CONFIG, settings(), output=str(farm.folder / "other"))
        send(farm, other)
        farm.worker()
        farm.wait(other, 40)
        until(lambda: all(job.start_record() for job in many), 40, farm.tail)
        assert not any(job.ended for job in many)
        begun = time.monotonic()
        step.release("cancelled")
        submission.cancel(first, "me", settings())
        for job in many[1:]:
            assert farm.wait(job, 60).state == "completed"
        assert time.monotonic() - begun < 45, "seven jobs of a second or two each"
        assert client(farm.broker.url).llen("yolo") == 0


def test_the_folder_disappears_while_the_job_runs(tmp_path: Path) -> None:
    """As when its disk is unmounted: the job ends with what was done and the reason."""
    with farm_with(tmp_path, 30.0) as farm:
        farm.clips(4, frames=60)
        job = farm.submit(streams=1)
        farm.worker()
        until(lambda: len(job.done_indices()) >= 1, 60, farm.tail)
        shutil.move(farm.videos, farm.folder / "moved")
        record = farm.wait(job, 40)
        videos = record.result.to_json()["processing_result"]["videos"]
        statuses = [video["status"] for video in videos]
        assert record.state == "failed"
        assert statuses.count("ok") >= 1
        assert "not begun" in statuses
        assert "can't be read any more: no such file" in record.result.message
        assert commands_jobs.status(SubmitOptions(job_id=job.id[:8], monitor=True, as_json=True)) == 1, (
            "the monitor returns"
        )
        shutil.move(farm.folder / "moved", farm.videos)


def test_the_folder_disappears_before_the_start(tmp_path: Path) -> None:
    with farm_with(tmp_path, 30.0) as farm:
        farm.clips(1, frames=20)
        job = farm.submit()
        shutil.rmtree(farm.videos)
        farm.worker()
        record = farm.wait(job, 40)
        assert record.state == "failed"
        assert "does not exist" in record.result.message


def test_a_killed_worker_leaves_only_what_the_next_one_clears_away(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    with farm_with(tmp_path, 30.0) as farm:
        connection = client(farm.broker.url)
        for _ in range(2):
            doomed = farm.worker(TMPDIR=str(tmp_path / "tmp"))
            until(lambda: bool(live(connection)), 30, farm.tail)
            farm.kill(doomed)
            connection.flushall()
            (left,) = (tmp_path / "tmp").iterdir()
            assert left.name.startswith("yolo-worker-")
