"""Jobs whose results go to storage, where videos depend on one another: files of one camera, and one video shared."""

import json
import os
import signal
import subprocess
import sys

import pytest

from orchestrator.job.events import Events
from orchestrator.job.leases import latest
from orchestrator.job.records import How
from orchestrator.settings import Settings
from orchestrator.worker import steps
from tests.assets import ROOT
from tests.e2e.runs import clip
from tests.orchestrator.two_workers import CONFIG as SPLIT
from tests.orchestrator.two_workers import FRAMES, Two, same_as_alone
from tests.storage.faulty import Answer, killing
from tests.storage.machines import LEASE_S, go_on, working
from tests.storage.test_jobs import SCENE, WORKER, begin, content, local, names
from tests.waiting import until

SEQUENCE = {"camera": "folder", "max_age": 5, "tables": ["csv"], "visualize": True, "streams": 1}


@pytest.fixture
def settings(tmp_path):
    return Settings(state_dir=tmp_path / "state", max_attempts=10)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A folder with three files of one camera, which is called after it."""
    folder = tmp_path_factory.mktemp("in") / "cam"
    folder.mkdir()
    for number in range(3):
        clip(folder / f"part{number}.mp4", 12, seed=number)
    return folder


@pytest.fixture
def cams(bucket, parts):
    """The URL of a prefix with the files."""
    for path in parts.iterdir():
        bucket.put(f"cam/{path.name}", path.read_bytes())
    return f"{bucket.url}/cam"


def assert_as_in_a_folder(bucket, parts, settings, folder, **config):
    """What is in the bucket is what a job writes into a folder: rows, videos and each file's place in its sequence."""
    expected = local(parts, settings, folder, **{**SEQUENCE, **config})
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


# -- without a shared folder ------------------------------------------------------------------------------------------


def test_a_sequence_goes_on_on_another_machine(bucket, cams, parts, machine, tmp_path):
    """What the next file needs is in the job's directory: its tracker, its heatmap, its counts."""
    more = {"heatmap": True, "scene": SCENE}
    settings = machine("one", bucket)
    job = begin(cams, f"{bucket.url}/out", settings, **SEQUENCE, **more)
    assert job.apart
    steps.start(job, steps.Context("worker-0", settings))
    worker = working(job, settings, "process-1")
    bucket.proxy.fault = killing(worker, "part1.tracks")
    assert worker.wait(100) == -signal.SIGKILL
    bucket.proxy.fault = lambda request: None
    until(lambda: not job.live(LEASE_S))
    assert job.done_indices() == {0}
    result = go_on(job, machine("two", bucket))
    assert result.success, result.message
    assert not list((tmp_path / "two").rglob("part0.journal*"))
    assert_as_in_a_folder(bucket, parts, settings, tmp_path / "here", **more)


def test_a_file_waits_for_what_the_one_before_left(bucket, cams, parts, machine, tmp_path):
    """Storage fails as the second file begins: it is begun again, and does not do without."""
    left = []

    def fault(request):
        if request.method == "GET" and "/carried/" in request.path and len(left) < 1:
            left.append(request.path)
            return Answer(403, "AccessDenied")
        return None

    settings = machine("one", bucket)
    job = begin(cams, f"{bucket.url}/out", settings, **SEQUENCE)
    bucket.proxy.fault = fault
    result = go_on(job, settings)
    assert result.success, result.message
    assert left
    assert_as_in_a_folder(bucket, parts, settings, tmp_path / "here")


@pytest.mark.parametrize("killed", [False, True])
def test_two_machines_share_a_video(bucket, tmp_path, machine, killed):
    """The first tracks, and hardly infers until it has pieces of the second, which then draws some, too. At that point
    both may be killed; whoever follows uses what they have made."""
    settings, source = machine("client", bucket), tmp_path / "videos"
    video = clip(source / "long.mp4", FRAMES, codec="libx264", options={"g": "25", "bf": "2"})
    bucket.put("cam/long.mp4", video.read_bytes())
    given = {**SPLIT, "split_s": 1.0, "workers": 1}
    job = steps.begin(f"{bucket.url}/cam", given, settings, output=f"{bucket.url}/out", workers=2)
    steps.start(job, steps.Context("client", settings))
    held = [tmp_path / name for name in ("held", "draw-held")]
    for each in held:
        each.touch()
    faults = {"PYTHONPATH": str(ROOT / "tests" / "orchestrator" / "faults")}
    slow = faults | {"FAULT_HOLD": str(held[0]), "FAULT_DRAW_HOLD": str(held[1])}

    def fetched_by(name):
        return len(list((tmp_path / name).rglob("0000-*.bin"))) > 2

    workers = [working(job, machine("tracker", bucket), "process-1", **slow)]
    until(lambda: latest(job.video_base(0)) is not None, 60)
    workers.append(working(job, machine("helper", bucket), "process-2", **faults))
    until(lambda: fetched_by("tracker"), 60)
    held[0].unlink()
    until(lambda: events(job, "piece drawn"), 60)
    if killed:
        for worker in workers:
            worker.kill()
            worker.wait()
        until(lambda: not job.live(LEASE_S), 60)
        held[0].touch()
        workers = [working(job, machine("next", bucket), "process-1", **slow)]
        until(lambda: fetched_by("next"), 60)
        held[0].unlink()
    held[1].unlink()
    assert {worker.wait(100) for worker in workers} == {0}
    result = go_on(job, machine("last", bucket))
    assert result.success, result.message
    (known,) = events(job, "known ahead")
    assert known["frames"] > FRAMES / 3
    assert job.done(0).attempt == 1 + killed
    assert not [name for name in names(bucket, "") if "/pieces/" in name]
    same_as_alone(source, tmp_path / "alone", fetched(bucket, tmp_path / "fetched"))


def events(job, name):
    return [event.facts for event in Events(job.folder).new() if event.facts["event"] == name]
