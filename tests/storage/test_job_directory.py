"""Jobs whose directory is in storage: their workers share a bucket, and no folder."""

import json
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from orchestrator.errors import RequestError, StorageAway
from orchestrator.job import atomic_json
from orchestrator.job.events import Events
from orchestrator.job.files import any_path, file_at, names_in
from orchestrator.job.jobdir import Job, jobs_in
from orchestrator.job.leases import Owner, age_of, latest, take
from orchestrator.job.outcomes import state_of
from orchestrator.job.records import JobState
from orchestrator.job.registry import find_job, open_jobs
from orchestrator.worker import steps
from tests.assets import ROOT
from tests.storage.faulty import Answer, cancelling, killing
from tests.storage.machines import LEASE_S, go_on, working
from tests.storage.test_jobs import CONFIG, SCENE, content, local, names
from tests.waiting import until


def begin(source, bucket, settings, **config) -> Job:
    return steps.begin(str(source), {**CONFIG, **config}, settings, output=f"{bucket.url}/out")


def of_job(bucket):
    return [name for name in names(bucket, "") if name.startswith("jobs/")]


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(bucket):
    return any_path(f"{bucket.url}/jobs/one")


def test_of_two_that_create_a_file_one_wins(folder):
    wins, barrier = [], threading.Barrier(8)

    def race(who):
        for number in range(5):
            barrier.wait()
            if atomic_json.write_once(folder / f"{number}.json", who):
                wins.append((number, who))

    with ThreadPoolExecutor(8) as racers:
        assert all(each is None for each in racers.map(race, range(8)))
    assert sorted(number for number, _ in wins) == list(range(5))
    assert all(atomic_json.read_json(folder / f"{number}.json") == who for number, who in wins)


@pytest.mark.parametrize("answer", [Answer(503, "SlowDown"), Answer(break_after=0)], ids=["throttled", "broken"])
def test_who_repeats_a_request_knows_its_own_file(bucket, folder, answer):
    """The answer to the first is lost: the second finds the file, and it is its own."""
    answers = [answer]
    bucket.proxy.fault = lambda request: answers.pop() if request.method == "PUT" and answers else None
    assert atomic_json.write_once(folder / "a.json", "ours")
    assert not atomic_json.write_once(folder / "a.json", "another's")
    assert not answers


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Answer(400, "ExpiredToken"), "the credentials have expired .* Renew them, and set AWS_ACCESS_KEY_ID"),
        (Answer(403, "AccessDenied"), "access is denied .* Check AWS_ACCESS_KEY_ID"),
        (Answer(404, "NoSuchBucket"), "there is no bucket"),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
def test_what_does_not_pass_is_told_with_a_remedy(bucket, folder, answer, why):
    bucket.proxy.fault = lambda request: answer
    with pytest.raises(StorageAway, match=why):
        atomic_json.write_once(folder / "a.json", 1)


def test_files_are_named_read_and_removed(folder):
    assert names_in(folder) == []
    assert atomic_json.read_json(folder / "a.json") is None
    for name in ("b.json", "a.json", ".hidden"):
        atomic_json.write_quick(folder / name, {"name": name})
    atomic_json.write_json(folder / "inner" / "c.json", 1)
    assert names_in(folder) == ["a.json", "b.json", "inner"]
    assert atomic_json.object_in(folder / "a.json") == {"name": "a.json"}
    with pytest.raises(ValueError, match="more than 3"):
        atomic_json.read_json(folder / "a.json", 3)
    file_at(folder / "a.json").remove()
    file_at(folder / "a.json").remove()
    assert not atomic_json.there(folder / "a.json")


def test_the_age_of_a_file_is_by_the_clock_of_its_server(folder, monkeypatch):
    atomic_json.write_json(folder / "a.json", 1)
    monkeypatch.setattr(time, "time", lambda: 0.0)  # this machine's says 1970
    assert age_of(folder / "a.json") < 5
    until(lambda: age_of(folder / "a.json") > 2)
    file_at(folder / "a.json").touch()
    assert age_of(folder / "a.json") < 2
    assert atomic_json.read_json(folder / "a.json") == 1
    assert age_of(folder / "b.json") is None


def test_a_lease_expires_and_is_taken_over_once(folder):
    one, two = (Owner(f"worker-{number}", "elsewhere", "boot", 1, number) for number in (1, 2))
    lease = take(folder / "0001", one, 2.0)
    assert take(folder / "0001", two, 2.0) is None
    until(lambda: not lease.held(2.0))
    lease.touch()
    assert lease.held(2.0)
    until(lambda: not lease.held(2.0))
    assert take(folder / "0001", two, 2.0).number == 2
    assert lease.lost
    assert latest(folder / "0001").number == 2


def test_lines_of_several_writers_are_all_there(folder):
    def write(who):
        for number in range(10):
            file_at(folder / "events.jsonl").append(json.dumps({"event": f"{who}-{number}"}).encode() + b"\n")

    events = Events(folder)
    with ThreadPoolExecutor(3) as writers:
        assert all(each is None for each in writers.map(write, range(3)))
    found = list(events.new())
    assert [event.number for event in found] == list(range(1, 31))
    assert {event.facts["event"] for event in found} == {f"{who}-{n}" for who in range(3) for n in range(10)}
    assert list(events.new()) == []


# -- jobs -------------------------------------------------------------------------------------------------------------


def test_nothing_of_a_job_needs_a_shared_folder(bucket, cams, videos, machine, tmp_path):
    config = {"visualize": True, "tables": ["csv"], "scene": SCENE, "report": True}
    settings = machine("client", bucket)
    job = begin(cams, bucket, settings, **config)
    assert job.apart
    assert not list((tmp_path / "client").rglob("*.mp4"))
    worker = machine("worker", bucket)
    result = go_on(job, worker)
    assert result.success, result.message
    expected, own = local(videos, settings, tmp_path / "here", **config), f"celery_result_{job.id}.json"
    assert {name for name in names(bucket) if not name.startswith("report")} == {
        *(name for name in expected if not name.startswith("report")),
        own,
        "manifest.json",
    }
    assert all(content(bucket, name) == expected[name] for name in expected if name.endswith((".jsonl", ".mp4")))
    texts = b"".join(content(bucket, name) or b"" for name in names(bucket) if name.endswith((".json", ".html")))
    texts += b"".join(bucket.get(name) for name in of_job(bucket))
    assert str(tmp_path).encode() not in texts
    machine("client", bucket)
    assert state_of(job, LEASE_S) is JobState.COMPLETED
    assert [event.facts["event"] for event in Events(job.folder).new()][-1] == "ended"
    assert not list((tmp_path / "worker" / "cache").rglob("*.jsonl"))


def test_a_worker_that_is_killed_is_followed_by_one_elsewhere(bucket, cams, videos, machine, tmp_path):
    """Its first video is done and sent; the second is begun anew, with the same bytes."""
    config = {"visualize": True, "streams": 1, "tables": ["csv"], "scene": SCENE}
    settings = machine("one", bucket)
    job = begin(cams, bucket, settings, **config)
    steps.start(job, steps.Context("worker-0", settings))
    worker = working(job, settings, "process-1")
    bucket.proxy.fault = killing(worker, "b.tracks")
    assert worker.wait(100) == -signal.SIGKILL
    bucket.proxy.fault = lambda request: None
    assert names_in(job.folder / "videos") == ["0000.1.end.json", "0000.1.json", "0000.done.json", "0001.1.json"]
    other = machine("two", bucket)
    until(lambda: not job.live(LEASE_S))
    result = go_on(job, other)
    assert result.success, result.message
    assert [video.attempts for video in result.summary.videos] == [1, 2]
    for name, data in local(videos, settings, tmp_path / "here", **config).items():
        assert content(bucket, name) == data or name.endswith(".csv"), name
    assert content(bucket, "counts.csv")


def test_two_workers_share_the_videos(bucket, cams, videos, machine, tmp_path):
    settings = machine("one", bucket)
    job = steps.begin(cams, {**CONFIG, "streams": 1}, settings, output=f"{bucket.url}/out", workers=2)
    steps.start(job, steps.Context("worker-0", settings))
    workers = []
    for number in (1, 2):
        workers.append(working(job, machine(f"machine-{number}", bucket), f"process-{number}"))
    assert [worker.wait(100) for worker in workers] == [0, 0]
    assert len(job.done_indices()) == 2
    result = go_on(job, machine("three", bucket))
    assert result.success, result.message
    assert result.summary.workers <= ("process-1", "process-2")
    for name, data in local(videos, settings, tmp_path / "here").items():
        assert content(bucket, name) == data, name


def test_throttling_is_waited_for(bucket, cams, machine):
    seen = []

    def fault(request):
        if request.method in ("PUT", "GET") and "/jobs/" in request.path:
            seen.append(request.path)
            return Answer(503, "SlowDown") if len(seen) % 5 == 0 else None
        return None

    bucket.proxy.fault = fault
    settings = machine("one", bucket)
    result = go_on(begin(cams, bucket, settings), settings)
    assert result.success, result.message


def test_a_job_can_not_begin_with_expired_credentials(bucket, cams, machine):
    settings = machine("one", bucket)
    bucket.proxy.fault = lambda request: Answer(400, "ExpiredToken") if "/jobs/" in request.path else None
    with pytest.raises(RequestError, match=r"can't be written: the credentials have expired .* Renew them"):
        begin(cams, bucket, settings)


def test_a_cancelled_job_is_ended_elsewhere_with_what_is_done(bucket, cams, machine):
    one = machine("one", bucket)
    job = begin(cams, bucket, one, streams=1)
    context = steps.Context("worker-1", one)
    steps.start(job, context)

    bucket.proxy.fault = cancelling(job, "a.tracks")
    steps.process(job, "process-1", context)
    assert steps.cancel(job, "a test", steps.Context("client", machine("two", bucket))) is not JobState.CANCELLING
    manifest = json.loads(content(bucket, "manifest.json"))
    assert manifest["videos"][0]["status"] == "ok"
    assert manifest["videos"][0]["outputs"]["tracks"] == f"{bucket.url}/out/a.tracks.jsonl"
    assert ".yolo-engine/lock.json" not in names(bucket)


def test_what_is_left_of_a_failed_job_is_gone_on_with(bucket, cams, machine):
    bucket.proxy.fault = lambda request: (
        Answer(400, "ExpiredToken") if request.method == "PUT" and "/out/b.tracks" in request.path else None
    )
    settings = machine("one", bucket)
    result = go_on(begin(cams, bucket, settings, visualize=True, streams=1), settings)
    assert not result.success
    assert "the credentials have expired" in result.message
    bucket.proxy.fault = lambda request: None
    bucket.proxy.requests.clear()
    job = begin(cams, bucket, settings, visualize=True)
    result = go_on(job, settings)
    assert result.success, result.message
    assert not bucket.proxy.asked("PUT", "out/a.mp4")
    assert not list(job.output.rglob("*.mp4"))


def test_other_machines_tidy_up_once_it_has_completed(bucket, cams, machine, tmp_path):
    one = machine("one", bucket)
    job = begin(cams, bucket, one, streams=1)
    context = steps.Context("worker-1", one)
    steps.start(job, context)
    steps.process(job, "process-1", context)
    assert list((tmp_path / "one" / "cache").rglob("a.tracks.jsonl"))
    assert go_on(job, machine("two", bucket)).success
    assert list((tmp_path / "one" / "cache").rglob("a.tracks.jsonl"))
    assert open_jobs(machine("one", bucket)) == []
    assert not list((tmp_path / "one" / "cache").rglob("a.tracks.jsonl"))


def test_the_command_line(bucket, cams, tmp_path, monkeypatch):
    """A job with a broker and a worker, and what is asked about it on a machine that does not know it."""

    def on(machine: str, *arguments: str) -> str:
        for variable in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
            monkeypatch.setenv(variable, str(tmp_path / machine / variable))
        command = [sys.executable, "-m", "orchestrator.client.submit_cli", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (tmp_path / "job.json").write_text(json.dumps(CONFIG))
    place = ["--output", f"{bucket.url}/out", "--jobs-dir", f"{bucket.url}/jobs"]
    told = on("one", "--embedded", "--video-folder", cams, "--config", str(tmp_path / "job.json"), *place)
    assert f"outputs  {bucket.url}/out\n" in told
    (job_id,) = {name.split("/")[3] for name in of_job(bucket) if "/.yolo-jobs/" in name}
    assert "completed" in on("two", "--status", job_id[:8], *place)
    events = [json.loads(line) for line in on("two", "--follow", job_id, *place).splitlines()]
    assert [events[0]["event"], events[-1]["event"]] == ["created", "ended"]
    assert [event["n"] for event in events] == list(range(1, len(events) + 1))
    assert "completed" in on("two", "--cancel", job_id, *place)  # it had ended
    assert "Jobs removed: 1" in on("two", "--prune", "--keep", "0", "--yes", *place)
    assert [name for name in of_job(bucket) if job_id in name] == []
    assert {"a.tracks.jsonl", "b.tracks.jsonl", "manifest.json"} <= set(names(bucket))


def test_a_job_is_found_cancelled_and_listed_from_another_machine(bucket, cams, machine):
    job = begin(cams, bucket, machine("one", bucket))
    other = machine("two", bucket)
    found = find_job(job.id[:8], other, job.home)
    assert found.id == job.id
    assert [each.id for each in jobs_in(job.home)] == [job.id]
    assert steps.cancel(found, "a test", steps.Context("client", other)) is JobState.CANCELLED
    assert job.ended
