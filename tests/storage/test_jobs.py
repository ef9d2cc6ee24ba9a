"""Jobs over objects: their workers and engine processes read and write by URL."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import LeaseLost, OutputError
from engine.storage import stores
from engine.storage.outputs import StoredOutput
from engine.storage.shared_output import SharedOutput
from engine.storage.urls import place_of
from engine.storage.written import Foreign
from orchestrator.errors import EngineFailed
from orchestrator.job.jobdir import JOBS_FOLDER, Job
from orchestrator.job.records import How, JobState
from orchestrator.settings import Settings
from orchestrator.worker import steps
from tests.assets import ROOT
from tests.storage.faulty import Answer, cancelling, killing
from tests.waiting import until

MIB = 1 << 20
CONFIG = {"backend": "fake", "visualize": False, "min_hits": 1, "report": False}
SCENE = [{"line": [{"name": "middle", "points": [[0.5, 0.0], [0.5, 1.0]]}]}]

WORKER = """
import sys
from pathlib import Path
from orchestrator.job.jobdir import Job
from orchestrator.settings import Settings
from orchestrator.worker import steps
steps.process(Job.open(Path(sys.argv[1])), "process-1", steps.Context("worker-0", Settings(state_dir=sys.argv[2])))
"""


@pytest.fixture
def settings(tmp_path):
    return Settings(state_dir=tmp_path / "state", max_attempts=10)


def names(bucket, prefix="out/"):
    return sorted(each.key.removeprefix(prefix) for each in stores.store("s3", bucket.name).list(prefix))


def content(bucket, name):
    return stores.store("s3", bucket.name).get(f"out/{name}")


def begin(source, output, settings, **config) -> Job:
    return steps.begin(str(source), {**CONFIG, **config}, settings, output=str(output))


def go_on(job, settings, node="worker-1"):
    """Do all that is left of a job, as one worker; return its result."""
    context = steps.Context(node, settings)
    steps.start(job, context)
    with contextlib.suppress(EngineFailed):
        steps.process(job, "process-1", context)
    return steps.end(job, context)


def local(videos, settings, folder, **config):
    """The files of the same job with a folder for its output, by name."""
    go_on(begin(videos, folder, settings, **config), settings)
    files = (path for path in folder.rglob("*") if path.is_file())
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    return {name: data for name, data in found.items() if not name.startswith((".", "celery_result_", "manifest"))}


def test_workers_read_and_write_objects(bucket, cams, tmp_path, monkeypatch):
    """With a broker, through the command line."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "job.json").write_text(json.dumps(CONFIG))
    command = [sys.executable, "-m", "orchestrator.client.submit_cli", "--embedded", "--video-folder", cams]
    done = subprocess.run(
        [*command, "--output", f"{bucket.url}/out/", "--config", str(tmp_path / "job.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads(content(bucket, "manifest.json"))
    assert [video["path"] for video in manifest["videos"]] == [f"{cams}/a.mp4", f"{cams}/b.mp4"]
    assert all("etag" in video["input"] for video in manifest["videos"])
    assert f"outputs  {bucket.url}/out\n" in done.stdout
    assert "S3cretOfTheTest" not in done.stdout + done.stderr
    assert not any("S3cretOfTheTest" in file.read_text() for file in tmp_path.rglob("*.json"))


def test_all_is_there_and_nothing_is_kept_twice(bucket, cams, videos, settings, tmp_path):
    config = {"visualize": True, "tables": ["csv"], "scene": SCENE}
    job = begin(cams, f"{bucket.url}/out", settings, **config)
    result = go_on(job, settings)
    assert result.success, result.message
    expected, own = local(videos, settings, tmp_path / "here", **config), f"celery_result_{job.id}.json"
    assert {"a.mp4", "b.tracks.jsonl", "counts.csv"} <= expected.keys()
    assert names(bucket) == sorted([*expected, own, "manifest.json"])
    assert all(content(bucket, name) == data for name, data in expected.items() if not name.endswith(".csv"))
    manifest = json.loads(content(bucket, "manifest.json"))
    assert manifest["videos"][0]["outputs"]["tracks"] == f"{bucket.url}/out/a.tracks.jsonl"
    assert str(job.output).encode() not in content(bucket, "manifest.json") + content(bucket, own)
    puts = [each.path for each in bucket.proxy.asked("PUT") if "lock.json" not in each.path]
    assert puts[-1].endswith("/out/manifest.json")
    assert {path.name for path in job.output.iterdir()} == {JOBS_FOLDER}
    assert {path.name for path in (job.output / JOBS_FOLDER).iterdir()} == {job.id}


def test_another_worker_goes_on_where_one_was_killed(bucket, cams, videos, settings, tmp_path):
    job = begin(cams, f"{bucket.url}/out", settings, visualize=True, streams=1)
    steps.start(job, steps.Context("worker-0", settings))
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(job.folder), str(settings.state_dir)], cwd=ROOT)
    bucket.proxy.fault = killing(worker, "b.tracks")
    assert worker.wait(60) == -signal.SIGKILL
    bucket.proxy.fault = lambda request: None
    assert "manifest.json" not in names(bucket)
    result = go_on(job, settings)
    assert result.success, result.message
    assert [video.attempts for video in result.summary.videos] == [1, 2]
    for name, data in local(videos, settings, tmp_path / "here", visualize=True).items():
        assert content(bucket, name) == data, name


@pytest.mark.parametrize(
    "answer",
    [Answer(503, "SlowDown"), Answer(500, "InternalError"), Answer(break_after=0)],
    ids=lambda answer: answer.code or "broken",
)
def test_what_passes_is_waited_for(bucket, cams, settings, answer):
    seen = []

    def fault(request):
        if request.method == "PUT" and "lock" not in request.path:
            seen.append(request.path)
            return answer if len(seen) % 2 else None
        return None

    bucket.proxy.fault = fault
    result = go_on(begin(cams, f"{bucket.url}/out", settings), settings)
    assert result.success, result.message
    assert {"a.tracks.jsonl", "b.tracks.jsonl", "manifest.json"} <= set(names(bucket))


def test_the_next_job_sends_what_could_not_be_sent(bucket, cams, settings):
    bucket.proxy.fault = lambda request: (
        Answer(400, "ExpiredToken") if request.method == "PUT" and "b.tracks" in request.path else None
    )
    first = begin(cams, f"{bucket.url}/out", settings, visualize=True, streams=1)
    result = go_on(first, settings)
    assert not result.success
    assert "the credentials have expired" in result.message
    assert "submit the same folder again to go on" in result.message
    assert "manifest.json" not in names(bucket)
    before = content(bucket, "a.mp4")
    assert (first.output / "a.mp4").stat().st_blocks == 0  # on the disk it takes nothing any more
    bucket.proxy.fault = lambda request: None
    bucket.proxy.requests.clear()
    result = go_on(begin(cams, f"{bucket.url}/out", settings, visualize=True), settings)
    assert result.success, result.message
    assert content(bucket, "a.mp4") == before
    assert not bucket.proxy.asked("PUT", "a.mp4")
    assert content(bucket, "b.mp4")


def test_what_was_sent_and_is_gone_is_told(bucket, cams, settings):
    bucket.proxy.fault = lambda request: (
        Answer(403, "AccessDenied") if request.method == "PUT" and "b.tracks" in request.path else None
    )
    go_on(begin(cams, f"{bucket.url}/out", settings, visualize=True, streams=1), settings)
    bucket.proxy.fault = lambda request: None
    bucket.delete("out/a.mp4")
    result = go_on(begin(cams, f"{bucket.url}/out", settings, visualize=True), settings)
    assert "a.mp4 was sent and is not there any more" in result.message
    result = go_on(begin(cams, f"{bucket.url}/out", settings, visualize=True, resume=False), settings)
    assert result.success, result.message


def test_what_is_not_ours_is_left_alone(bucket, cams, settings):
    bucket.put("out/a.tracks.jsonl", b"of somebody else")
    result = go_on(begin(cams, f"{bucket.url}/out", settings), settings)
    assert "was not written by yolo-engine, and would be overwritten" in result.message
    assert names(bucket) == ["a.tracks.jsonl"]
    assert go_on(begin(cams, f"{bucket.url}/out", settings, overwrite=True), settings).success
    assert go_on(begin(cams, f"{bucket.url}/out", settings), settings).success  # by now it is ours


def test_runs_and_jobs_are_kept_apart(bucket, cams, settings, tmp_path):
    with StoredOutput(place_of(f"{bucket.url}/out"), root=tmp_path):
        result = go_on(begin(cams, f"{bucket.url}/out", settings), settings)
    assert "Another run writes to" in result.message
    assert names(bucket) == []
    job = begin(cams, f"{bucket.url}/out", settings)
    with (
        shared(bucket, tmp_path, job.id),
        pytest.raises(OutputError, match=rf"Another run writes to .* \(job {job.id}, "),
        StoredOutput(place_of(f"{bucket.url}/out"), root=tmp_path),
    ):
        pass
    assert go_on(job, settings).success  # whose worker was gone


def test_a_job_that_is_cancelled_leaves_what_is_done(bucket, cams, settings):
    job = begin(cams, f"{bucket.url}/out", settings, streams=1)
    context = steps.Context("worker", settings)
    steps.start(job, context)

    bucket.proxy.fault = cancelling(job, "a.tracks")
    assert steps.process(job, "process-1", context).how is How.CANCELLED
    assert steps.cancel(job, "a test", context) is JobState.CANCELLED
    there = names(bucket)
    assert {"a.tracks.jsonl", f"celery_result_{job.id}.json", "manifest.json"} <= set(there)
    assert ".yolo-engine/lock.json" not in there
    videos = json.loads(content(bucket, "manifest.json"))["videos"]
    assert [video["status"] == "ok" for video in videos] == [True, False]
    assert go_on(begin(cams, f"{bucket.url}/out", settings), settings).success


def test_a_job_that_was_never_started_leaves_nothing(bucket, cams, settings):
    bucket.put("out/manifest.json", b"{}")
    job = begin(cams, f"{bucket.url}/out", settings)
    assert steps.cancel(job, "a test", steps.Context("worker", settings)) is JobState.CANCELLED
    assert names(bucket) == ["manifest.json"]


def test_an_end_that_was_killed_is_made_up_for(bucket, cams, settings, monkeypatch):
    job = begin(cams, f"{bucket.url}/out", settings)
    context = steps.Context("worker", settings)
    steps.start(job, context)
    steps.process(job, "process-1", context)
    with monkeypatch.context() as patch:
        patch.setattr(steps, "write_once", lambda *_: exit_now())
        with pytest.raises(KeyboardInterrupt):
            steps.end(job, context)
    assert not job.ended
    assert "manifest.json" in names(bucket)
    before = content(bucket, "manifest.json")
    assert steps.end(job, context).success
    assert content(bucket, "manifest.json") == before


def exit_now():
    raise KeyboardInterrupt


def shared(bucket, folder: Path, job: str) -> SharedOutput:
    return SharedOutput(place_of(f"{bucket.url}/out"), folder, folder / "notes", job)


def test_a_worker_that_was_taken_over_does_not_write_over_its_successor(bucket, tmp_path):
    one, two = (tmp_path / name for name in ("one", "two"))
    for folder in (one, two):
        folder.mkdir()
        (folder / "a.tracks.jsonl").write_text(folder.name)
    taken_over = []

    def fence():
        if taken_over:
            raise LeaseLost("another worker has taken over this video")

    with shared(bucket, one, "job") as halted, shared(bucket, two, "job") as successor:
        halted.send_video("a", [], fence, lambda: None)
        looked = []

        def halt():  # between its look at its lease and its write
            fence()
            looked.append(1)
            if len(looked) == 2:  # the first is for the list of names
                successor.send_video("a", [two / "a.tracks.jsonl"], lambda: None, lambda: None)
                taken_over.append(1)

        with pytest.raises(LeaseLost):
            halted.send_video("a", [one / "a.tracks.jsonl"], halt, lambda: None)
    assert content(bucket, "a.tracks.jsonl") == b"two"


def test_a_job_that_was_ended_by_others_writes_nothing_more(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.storage.lock.RENEWED_EVERY_S", 0.02)
    (tmp_path / "a.tracks.jsonl").write_text("late")
    with shared(bucket, tmp_path, "job") as halted:
        stores.store("s3", bucket.name).put("out/.yolo-engine/lock.json", json.dumps({"job": "another"}).encode())
        until(lambda: not halted.held)
        with pytest.raises(OutputError, match="Another run has taken over"):
            halted.send_video("a", [tmp_path / "a.tracks.jsonl"], lambda: None, lambda: None)
    assert "a.tracks.jsonl" not in names(bucket)


def test_two_workers_hold_one_lock(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr("engine.storage.lock.RENEWED_EVERY_S", 0.05)
    with shared(bucket, tmp_path, "job") as one, shared(bucket, tmp_path, "job") as two:
        renewed = len(bucket.proxy.asked("PUT", "lock.json")) + 6
        until(lambda: len(bucket.proxy.asked("PUT", "lock.json")) > renewed)
        one.send_video("a", [], lambda: None, lambda: None)
        two.send_video("b", [], lambda: None, lambda: None)


def test_a_large_file_goes_in_parts_and_leaves_its_size(bucket, tmp_path):
    path, data = tmp_path / "a.mp4", os.urandom(MIB) * 33
    path.write_bytes(data)
    with shared(bucket, tmp_path, "job") as stored:
        stored.send_video("a", [path], lambda: None, lambda: None)
        stored.send_video("a", [path], lambda: None, lambda: None)  # by another attempt
    assert len(bucket.proxy.asked("PUT", "a.mp4?partNumber")) == 5
    assert content(bucket, "a.mp4") == data
    assert (path.stat().st_size, path.stat().st_blocks) == (len(data), 0)


def test_a_video_with_a_strangers_object_fails_alone(bucket, tmp_path):
    with shared(bucket, tmp_path, "job") as stored:
        bucket.put("out/a.tracks.jsonl", b"of somebody else")
        (tmp_path / "a.tracks.jsonl").write_text("ours")
        with pytest.raises(Foreign):
            stored.send_video("a", [tmp_path / "a.tracks.jsonl"], lambda: None, lambda: None)
    assert content(bucket, "a.tracks.jsonl") == b"of somebody else"
