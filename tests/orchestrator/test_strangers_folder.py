"""Commands are called where the videos are: Python files that lie there are not run, whatever they are called."""

import os
import sys

import pytest

from orchestrator.client import embedded
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs
from tests.e2e.runs import clip
from tests.orchestrator.servers import client_app, process, strangers_folder
from tests.waiting import until

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),
]

MODULES = (
    "orchestrator",
    "engine",
    "models",
    "engine_ext",
    "celery",
    "numpy",
    "av",
    "onnxruntime",
    "json",
    "fractions",
)
CONFIG = {"backend": "fake", "min_hits": 1, "visualize": False}


def test_an_engine_process_runs_none_of_them(tmp_path, monkeypatch):
    here = strangers_folder(tmp_path, *MODULES)
    monkeypatch.chdir(here)
    clip(here / "a.mp4", 10)
    given = Settings(state_dir=tmp_path / "state")
    job = jobs.begin(str(here), CONFIG, given, output=str(tmp_path / "out"))
    record = jobs.start(job, jobs.Context("w@here", given))
    assert record.refused is None
    assert len(record.videos) == 1
    assert jobs.process(job, "process-1", jobs.Context("w@here", given)).summary.success
    assert not (here / "ran").exists()


def test_a_worker_and_its_children_run_none_of_them(tmp_path, valkey):
    here = strangers_folder(tmp_path, *MODULES)
    clip(here / "a.mp4", 10)
    log = tmp_path / "worker.log"
    command = [*embedded.worker_command(1, "yolo")]
    environment = {"CELERY_BROKER_URL": valkey.url, "YOLO_STATE_DIR": str(tmp_path / "state")}
    with process(*command, log=log, cwd=here, **environment) as running, client_app(valkey.url) as app:
        until(lambda: b"ready." in log.read_bytes() or running.poll() is not None, 40)
        assert running.poll() is None, log.read_text()
        config = {**CONFIG, "output_folder": str(tmp_path / "out")}
        summary = app.send_task("process_videos_yolo", args=(str(here), config)).get(timeout=60)
        assert summary["success"], summary
    assert not (here / "ran").exists()
    valkey.client.flushall()


def test_the_test_can_fail(tmp_path):
    """Without -P they are run."""
    here = strangers_folder(tmp_path, *MODULES)
    command = [word for word in embedded.worker_command(1, "yolo") if word != "-P"]
    with process(*command, log=tmp_path / "log", cwd=here, PYTHONPATH=os.pathsep.join(sys.path[1:])) as running:
        running.wait(30)
    assert (here / "ran").exists()
