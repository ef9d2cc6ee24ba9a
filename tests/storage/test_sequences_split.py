"""Jobs whose results go to storage, where videos depend on one another: files of one camera, and one video shared."""

import json
import os
import signal
import subprocess
import sys

import pytest

from orchestrator.job.records import How
from orchestrator.settings import Settings
from orchestrator.worker import steps
from tests.assets import ROOT
from tests.e2e.runs import clip
from tests.orchestrator.two_workers import Two
from tests.storage.test_jobs import WORKER, begin, content, go_on, local, names
from tests.waiting import until

SEQUENCE = {"camera": "folder", "max_age": 5, "tables": ["csv"], "visualize": True, "streams": 1}


@pytest.fixture
def settings(tmp_path):
    return Settings(state_dir=tmp_path / "state", max_attempts=10)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A folder with three files of one camera."""
    folder = tmp_path_factory.mktemp("in")
    for number in range(3):
        clip(folder / f"part{number}.mp4", 12, seed=number)
    return folder


@pytest.fixture
def cams(bucket, parts):
    """The URL of a prefix with the files."""
    for path in parts.iterdir():
        bucket.put(f"cam/{path.name}", path.read_bytes())
    return f"{bucket.url}/cam"


def assert_as_in_a_folder(bucket, parts, settings, folder):
    """What is in the bucket is what a job writes into a folder: rows, videos and each file's place in its sequence."""
    expected = local(parts, settings, folder, **SEQUENCE)
    assert {"part2.tracks.jsonl", "part2.mp4", "tracks.csv"} <= expected.keys()
    for name, data in expected.items():
        if not name.endswith(".csv"):  # the names of videos differ
            assert content(bucket, name) == data, name
    stored, alone = (
        json.loads(text) for text in (content(bucket, "manifest.json"), (folder / "manifest.json").read_bytes())
    )
    sequences = [[video["sequence"] for video in each["videos"]] for each in (stored, alone)]
    assert sequences[0] == sequences[1]
    assert [each["joined"] for each in sequences[0]] == [False, True, True]


def test_a_sequence(bucket, cams, parts, settings, tmp_path):
    result = go_on(begin(cams, f"{bucket.url}/out", settings, **SEQUENCE), settings)
    assert result.success, result.message
    assert_as_in_a_folder(bucket, parts, settings, tmp_path / "here")


@pytest.mark.parametrize("killed_at", ["part0.tracks", "part1.tracks"])
def test_a_sequence_goes_on_where_a_worker_was_killed(bucket, cams, parts, settings, tmp_path, killed_at):
    """What the next file needs of the one before is in the job's directory, not in the results that were sent."""
    job = begin(cams, f"{bucket.url}/out", settings, **SEQUENCE)
    steps.start(job, steps.Context("worker-0", settings))
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(job.folder), str(settings.state_dir)], cwd=ROOT)

    def kill(request):
        if request.method == "PUT" and killed_at in request.path and worker.poll() is None:
            worker.send_signal(signal.SIGKILL)
            worker.wait()

    bucket.proxy.fault = kill
    assert worker.wait(60) == -signal.SIGKILL
    bucket.proxy.fault = lambda request: None
    result = go_on(job, settings)
    assert result.success, result.message
    assert_as_in_a_folder(bucket, parts, settings, tmp_path / "here")


def fetched(bucket, folder):
    """A folder with what is in the bucket."""
    folder.mkdir()
    for name in names(bucket):
        if "/" not in name:
            (folder / name).write_bytes(content(bucket, name))
    return folder


@pytest.mark.parametrize("killed", [False, True])
def test_two_workers_share_a_video(bucket, tmp_path, monkeypatch, killed):
    two = Two(tmp_path, monkeypatch, output=f"{bucket.url}/out")
    two.both_until_one_draws(helper_s=0.005)
    if killed:
        for engine in two.engines():
            os.kill(engine, signal.SIGKILL)
        until(lambda: len(two.events("crashed")) == 2, 20, two.tail)
    two.held.unlink()
    two.end()
    assert two.hows["process-1"] == How.EXHAUSTED
    result = steps.end(two.job, two.context("process-1"))
    assert result.success, result.message
    assert two.job.done(0).attempt == 1 + killed
    assert not [name for name in names(bucket) if "pieces" in name]
    two.judge(fetched(bucket, tmp_path / "fetched"))
