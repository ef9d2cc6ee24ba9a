"""`yolo-submit --embedded`: nothing outlives it. The worker is a stand-in; the broker is a real one."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from orchestrator.broker.local_server import EmbeddedBroker
from orchestrator.job.jobdir import Job
from orchestrator.settings import Settings
from tests.assets import ROOT
from tests.orchestrator import handmade as made
from tests.waiting import until

# A worker that does what its first argument says with the job; its child ignores whatever it can.
WORKER = """
import os, signal, subprocess, sys
from pathlib import Path
from orchestrator.job.jobdir import Job
from orchestrator.settings import Settings
from tests.orchestrator import handmade as made
from tests.waiting import until

what, output = sys.argv[1], Path(sys.argv[2])
Path(os.environ["TMPDIR"], "scratch").touch()
stubborn = "import signal; signal.signal(15, signal.SIG_IGN); signal.pause()"
child = subprocess.Popen([sys.executable, "-c", stubborn])
print("the child is", child.pid, flush=True)
with open(output / "pids", "a") as pids:
    pids.write(f"{os.getpid()} {child.pid} ")
job = Job.open(next(path for path in (output / ".yolo-jobs").iterdir() if not (path / "end.json").exists()))
if what == "dies":
    sys.exit("no room for a worker here")
if what == "does":
    made.start(job, 1)
    made.finish(job, 0)
    made.end(job, Settings())
    signal.pause()
if what == "waits":
    made.start(job, 2)
    lease = made.hold(job, job.task_base("process-1"))
    made.finish(job, 0)
    until(lambda: job.cancelled, 60)
    lease.release("cancelled")
    signal.pause()
"""

PROGRAM = """
import sys
from orchestrator.client import embedded, submit_cli
from pathlib import Path

what = sys.argv.pop()
embedded.RESTART_PAUSE_S = 0.05
embedded.worker_command = lambda concurrency, queue: [sys.executable, "-c", Path("worker.py").read_text(), what, "out"]
submit_cli.main()
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Starts it; at the end nothing of it may be left, on the process table and in the temporary folder."""
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    (tmp_path / "fake.json").write_text('{"backend": "fake"}')
    (tmp_path / "worker.py").write_text(WORKER)
    scratch = Path(tempfile.mkdtemp(prefix="y-", dir="/tmp"))  # short: a socket lies in it
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(scratch),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_RUNTIME_DIR": str(scratch / "run"),
    }
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "YOLO_STATE_DIR", "YOLO_SETTINGS"):
        environment.pop(name, None)
    started = []

    def start(what, *options):
        command = [
            sys.executable,
            "-c",
            PROGRAM,
            "--video-folder",
            "videos",
            "--config",
            "fake.json",
            "--output",
            "out",
        ]
        process = subprocess.Popen(
            [*command, "--embedded", *options, what],
            cwd=tmp_path,
            env={**environment, **getattr(start, "environment", {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        started.append(process)
        return process

    start.folder = tmp_path
    start.scratch = scratch
    try:
        yield start
    finally:
        for process in started:
            process.kill()
            process.communicate()
        pids = (tmp_path / "out" / "pids").read_text().split() if (tmp_path / "out" / "pids").exists() else []
        until(lambda: not left_of(pids, scratch), about=lambda: left_of(pids, scratch))
        (scratch / "run").exists() and (scratch / "run").rmdir()
        scratch.rmdir()


def left_of(pids, scratch):
    return [pid for pid in pids if runs(int(pid))] + [path.name for path in scratch.iterdir() if path.name != "run"]


def runs(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def the_job(run, name):
    """Waits for this file in the directory of the job."""
    jobs = run.folder / "out" / ".yolo-jobs"
    until(lambda: list(jobs.glob(f"*/{name}")), about=lambda: f"no {name}")
    return next(jobs.glob(f"*/{name}"))


def test_success(run):
    out, err = run("does", "--json").communicate(timeout=30)
    value = json.loads(out)
    assert value["success"] is True, err
    job = run.folder / "out" / ".yolo-jobs" / value["id"]
    assert "the child is" in (job / "worker.log").read_text()
    # Another terminal finds the job later.
    assert (run.folder / "state" / "yolo-engine" / "jobs" / "ended" / f"{value['id']}.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_cancels_the_job(run, number):
    process = run("waits", "--json")
    until(Job.open(the_job(run, "start.json").parent).done_indices)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "is cancelled: 1 of 2 videos done" in err
    assert "submit the same folder again to resume" in err
    assert json.loads(out)["state"] == "cancelled"


def test_killed(run):
    """Even then: the guard ends the worker, cancels the job and removes the broker's folder."""
    process = run("waits")
    the_job(run, "start.json")
    process.kill()
    process.wait()
    assert json.loads(the_job(run, "end.json").read_text())["state"] == "cancelled"


def test_a_worker_that_does_not_stay_up(run):
    process = run("dies")
    _, err = process.communicate(timeout=40)
    assert process.returncode == 1
    assert err.count("is restarted") == 5
    assert "no room for a worker here" in err
    assert "Error: The worker ended with status 1, after 5 restarts. Its log is " in err
    (job,) = (run.folder / "out" / ".yolo-jobs").iterdir()
    assert json.loads((job / "end.json").read_text())["state"] == "cancelled"


def test_a_broker_that_runs_already_is_used(run):
    state = run.folder / "state" / "yolo-engine" / "broker"
    with EmbeddedBroker(run.scratch / "run", state=state) as broker:
        process = run("does")
        told = [process.stderr.readline()]
        while not told[-1].startswith("Job "):  # it is on its queue, and followed from here on
            told.append(process.stderr.readline())
            assert told[-1], told
        process.send_signal(signal.SIGINT)
        err = "".join(told) + process.communicate(timeout=30)[1]
        assert process.returncode == 130
        assert f"using it: {broker.url}" in err
        assert "The job continues" in err
        assert broker.alive()


def test_a_job_that_nobody_here_goes_on_with(run):
    first = made.make_job(run.folder, Settings(state_dir=run.folder / "state"))
    made.start(first, 1)
    process = run("does")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"Job {first.id} has started writing to" in err
    assert f"`yolo-submit --cancel {first.id}`" in err
    assert not first.ended
