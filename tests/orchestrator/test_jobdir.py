"""A job's directory: opened whole or refused, and read without a surprise however damaged it is."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import JobError, RequestError, UnknownJob
from orchestrator.job import jobdir
from orchestrator.job.atomic_json import write_json
from orchestrator.job.jobdir import JOBS_FOLDER, Job, is_id, jobs_in
from orchestrator.job.records import Progress
from orchestrator.job.registry import find_job, known_jobs, open_jobs, remember, settle
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs
from tests.orchestrator import handmade as made


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
def job(tmp_path, settings) -> Job:
    return made.make_job(tmp_path, settings)


def change(job: Job, **facts) -> None:
    """Writes the job file anew; a value of None takes the key away."""
    spec = {**job.spec.to_json(), **facts}
    write_json(job.folder / "job.json", {key: value for key, value in spec.items() if value is not None})


# -- making and opening -----------------------------------------------------------------------------------------------


def test_made_and_opened(job):
    opened = Job.open(job.folder)
    assert (opened.id, opened.output, opened.workers) == (job.id, job.output, 1)
    assert opened.config == {"backend": "fake", "output_folder": str(job.output), "report": False}
    assert job.folder == job.output / JOBS_FOLDER / job.id
    assert not opened.ended
    assert not opened.cancelled
    assert (opened.start_record(), opened.end_record(), opened.done(0)) == (None, None, None)
    assert opened.done_indices() == set()
    assert opened.progress() == opened.live(30) == []


def test_an_id_that_is_taken_opens_the_job_that_has_it(tmp_path, settings, job):
    again = made.make_job(tmp_path, settings, job_id=job.id, workers=5)
    assert again.spec == job.spec


def test_an_output_folder_that_can_not_be_made(tmp_path, job):
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="can't be written: not a directory"):
        Job.create(replace(job.spec, id="a", output=str(tmp_path / "file")))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"schema": 2}, "made by another version"),
        ({"schema": None}, "made by another version"),
        ({"id": "other"}, "id must be the name of its folder"),
        ({"id": "../../x"}, "id must be the name of its folder"),
        ({"id": 7}, "id must be a text. Got 7"),
        ({"id": None}, "id is missing"),
        ({"task": None}, "task is missing"),
        ({"task": 1}, "task must be"),
        ({"inputs": None}, "inputs is missing"),
        ({"inputs": []}, "inputs must be a list of paths"),
        ({"inputs": "/etc"}, "inputs must be a list of paths"),
        ({"inputs": [1]}, "inputs must be a list of paths"),
        ({"inputs": ["a\0b"]}, "inputs must be a list of paths"),
        ({"inputs": ["x" * 10**6]}, "inputs must be a list of paths"),
        ({"only": "a"}, "only must be"),
        ({"only": [{}]}, "only must be"),
        ({"config": []}, "config must be a dictionary"),
        ({"config": None}, "config is missing"),
        ({"workers": 0}, r"workers must be in \[1, 1000\]. Got 0"),
        ({"workers": 10**12}, "workers must be"),
        ({"workers": "1"}, "workers must be"),
        ({"workers": True}, "workers must be"),
        ({"workers": 1e300}, "workers must be"),
        ({"queue": 1}, "queue must be"),
        ({"output": 1}, "output must be"),
        ({"video_folder": {}}, "video_folder must be"),
        ({"created_at": 5}, "created_at must be"),
        ({"created_at": "yesterday"}, "created_at must be"),
        ({"created_at": "2026-01-01T00:00:00"}, "created_at must be a time with its zone"),
    ],
)
def test_a_strange_job_file_is_refused(job, facts, said):
    change(job, **facts)
    with pytest.raises(JobError, match=said):
        Job.open(job.folder)
    assert jobs_in(job.output) == []


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"7", b'"x"', b"\xff", b"[" * 100_000, b"\0" * 10])
def test_a_damaged_job_file_is_refused(job, content):
    (job.folder / "job.json").write_bytes(content)
    with pytest.raises(JobError, match=r"can't be read|There is no job"):
        Job.open(job.folder)


@pytest.mark.parametrize("kind", ["fifo", "zero", "folder", "loop"])
def test_a_job_file_that_is_none(job, kind):
    path = job.folder / "job.json"
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "zero" else path)
    with pytest.raises(JobError, match="can't be read"):
        Job.open(job.folder)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("1b4e28ba-2fa1-11d2-883f-0016d3cca427", True),
        ("a_b", True),
        ("", False),
        ("..", False),
        ("a/b", False),
        ("a.b", False),
        ("a\n", False),
        ("é", False),
        ("x" * 100, True),
        ("x" * 101, False),
        (None, False),
        (7, False),
    ],
)
def test_ids(text, good):
    assert is_id(text) is good


# -- damaged records --------------------------------------------------------------------------------------------------


def rows(**facts):
    return [{"index": 0, "path": "/v/a.mp4", "stem": "a", "size_bytes": 1, **facts}]


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"videos": None}, "videos must be a list"),
        ({"videos": [1]}, r"videos\[0\]: it must be a dictionary"),
        ({"videos": rows() * 2}, "two have the same index"),
        ({"videos": rows() + rows(index=1)}, "two have the same stem"),
        ({"videos": rows(index=-1)}, "index must be"),
        ({"videos": rows(index=1.5)}, "index must be"),
        ({"videos": rows(index="0")}, "index must be"),
        ({"videos": rows(index=10**9)}, "index must be"),
        ({"videos": rows(path=None)}, "path must be"),
        ({"videos": rows(stem="../../.ssh/keys")}, "stem must be a path below the output folder"),
        ({"videos": rows(stem="/etc/cron.d/x")}, "stem must be"),
        ({"videos": rows(stem="a/../../b")}, "stem must be"),
        ({"videos": rows(stem="")}, "stem must be"),
        ({"videos": rows(stem=".")}, "stem must be"),
        ({"videos": rows(stem="a\0b")}, "stem must be"),
        ({"videos": rows(size_bytes="1")}, "size_bytes must be"),
        ({"videos": rows(frames=-1)}, "frames must be"),
        ({"videos": rows(frames=10**30)}, "frames must be"),
        ({"videos": rows(duration_s=10**30)}, "duration_s must be"),
        ({"videos": rows(duration_s="long")}, "duration_s must be"),
        ({"refused": 1}, "refused must be"),
        ({"model": []}, "model must be"),
        ({"warnings": "none"}, "warnings must be"),
        ({"started_at": "2026-01-01T00:00:00"}, "started_at must be"),
    ],
)
def test_a_strange_start_record_refuses_the_job(job, facts, said):
    made.start(job, 1)
    assert job.start_record().refused is None
    write_json(job.start_path, {**job.start_record().to_json(), **facts})
    record = job.start_record()
    assert record.videos == ()
    assert "start.json is damaged" in record.refused
    assert re.search(said, record.refused)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\0\0", b'{"total_frames": NaN}', b"\xff", b"[" * 10**6])
def test_a_damaged_start_record_refuses_the_job(job, content):
    job.start_path.write_bytes(content)
    assert "start.json" in job.start_record().refused


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"entry": {}, "attempt": 1, "worker": "w"},
        {"entry": {"path": "a", "status": "fine", "error": None, "frames": 1, "detections": 1, "tracks": 1}},
        {
            "entry": {"path": "a", "status": "ok", "error": None, "frames": "1", "detections": 1, "tracks": 1},
            "attempt": 1,
            "worker": "w",
        },
    ],
)
def test_a_damaged_result_is_none(job, value):
    job.done_path(0).write_text(json.dumps(value))
    assert job.done(0) is None
    assert job.done_indices() == {0}, "but it ends all work on its video"


@pytest.mark.parametrize(
    "value", [None, {}, {"state": "completed", "ended_at": jobdir.now(), "result": {}}, {"state": "fine", "result": {}}]
)
def test_a_damaged_end_record_is_none_and_still_the_end(job, value):
    (job.folder / "end.json").write_text(json.dumps(value))
    assert job.end_record() is None
    assert job.ended


def test_names_that_are_not_ours(job):
    for name in ("x.done.json", ".done.json", "٣٣٣٣.done.json", "0001.done.json.part", ".0002.done.json.1f", "1.json"):
        (job.folder / "videos" / name).touch()
    for name in ("0003.x.json", "0003.0.json", "0003.1.end.json", ".0003.1.json.aa", "0003.².json"):
        (job.folder / "videos" / name).touch()
    assert job.done_indices() == set()
    assert job.leases("videos") == {}
    assert job.live(30) == []


@pytest.mark.parametrize(
    "facts", [{"worker": 1}, {"at": "now"}, {"videos": None}, {"videos": [{}]}, {"videos": [{"index": "0"}]}]
)
def test_damaged_progress_is_left_out(job, facts):
    made.tell(job, (0, 5))
    assert len(job.progress()) == 1
    made.tell(job, (0, 5), **facts)
    assert job.progress() == []


# -- leases and notes -------------------------------------------------------------------------------------------------


def test_the_last_lease_of_each(job):
    first = made.hold(job, job.video_base(3))
    first.release("crashed")
    made.hold(job, job.video_base(3))
    made.hold(job, job.video_base(12345), made.dead_owner())
    made.hold(job, job.task_base("process-1"))
    found = job.leases("videos")
    assert {base: lease.number for base, lease in found.items()} == {"0003": 2, "12345": 1}
    assert [lease.path.name for lease in job.live(30)] == ["process-1.1.json", "0003.2.json"]
    made.finish(job, 3)
    assert [lease.path.name for lease in job.live(30)] == ["process-1.1.json"], "nobody works on what is done"


def test_cancelled_once(job):
    assert job.cancel("me") is True
    assert job.cancel("you") is False
    assert json.loads((job.folder / "cancel.json").read_text())["by"] == "me"


def test_a_note_that_can_not_be_made_harms_nobody(job):
    (job.folder / "events.jsonl").unlink()
    os.mkfifo(job.folder / "events.jsonl")
    job.note("anything")
    shutil.rmtree(job.folder)
    job.note("anything")
    job.tell_progress(Progress("process-1", "w@here", "processing", 0.0, jobdir.now()))
    assert (job.done_indices(), job.leases("videos"), job.progress(), job.live(30)) == (set(), {}, [], [])


def test_jobs_in_a_folder(tmp_path, settings):
    assert jobs_in(tmp_path / "out") == []
    made_jobs = [made.make_job(tmp_path, settings, job_id=name) for name in ("b", "a", "c")]
    for job, second in zip(made_jobs, (3, 1, 2), strict=True):
        change(job, created_at=f"2026-01-01T00:00:0{second}+00:00")
    (tmp_path / "out" / JOBS_FOLDER / "sweep.lock").touch()
    (tmp_path / "out" / JOBS_FOLDER / "empty").mkdir()
    assert [job.id for job in jobs_in(tmp_path / "out")] == ["a", "c", "b"]


# -- what a machine remembers -----------------------------------------------------------------------------------------


def ids(found) -> list[str]:
    return [job.id for job in found]


def test_jobs_of_another_broker_are_left_to_its_workers(job, settings):
    other = settings.model_copy(update={"broker_url": "redis://elsewhere:6379/0"})
    assert ids(open_jobs(settings)) == [job.id]
    assert ids(open_jobs(other)) == []
    assert ids(known_jobs(other)) == [job.id]
    kept = (settings.state_dir / "jobs" / f"{job.id}.json").read_text()
    assert settings.broker_url not in kept


def test_remembered_and_found(job, settings):
    assert ids(known_jobs(settings)) == ids(open_jobs(settings)) == [job.id]
    assert find_job(job.id, settings).folder == job.folder
    (settings.state_dir / "jobs" / f"{job.id}.json").unlink()
    assert ids(known_jobs(settings)) == []
    with pytest.raises(UnknownJob, match="No job"):
        find_job(job.id, settings)
    assert find_job(job.id, settings, job.output).folder == job.folder


def test_a_job_is_not_in_a_folder_that_can_t_be_looked_at(settings):
    with pytest.raises(UnknownJob):
        find_job("20260101-000000-abcdef", settings, Path(f"/{'x' * 300}"))


def test_who_looks_for_what_is_left_to_do_passes_over_what_has_ended(tmp_path, job, settings):
    other = made.make_job(tmp_path, settings)
    made.end(other, settings)
    (job.folder / "end.json").touch()  # by another machine
    assert ids(open_jobs(settings)) == [job.id], "its results are not there yet"
    job.kept_manifest.touch()
    assert sorted(ids(known_jobs(settings))) == sorted([job.id, other.id])
    assert ids(open_jobs(settings)) == []
    assert list((settings.state_dir / "jobs").glob("*.json")) == [], "they need not even be opened"
    for each in (job, other):
        settle(each.id, settings)
        remember(each, settings)
        assert find_job(each.id, settings).folder == each.folder
    assert sorted(ids(known_jobs(settings))) == sorted([job.id, other.id])
    assert ids(open_jobs(settings)) == []


@pytest.mark.parametrize("job_id", ["", "../../etc/passwd", "a b", "a\0", "x" * 300, "*"])
def test_ids_that_are_none(settings, tmp_path, job_id):
    with pytest.raises(UnknownJob, match="letters, digits and dashes"):
        find_job(job_id, settings, tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"folder": 1, "created_at": 2}', b'{"folder": "a\\u0000", "created_at": "x"}']
)
def test_what_is_remembered_may_be_damaged(job, settings, content):
    (settings.state_dir / "jobs" / "other.json").write_bytes(content)
    assert [known.id for known in known_jobs(settings)] == [job.id]
    with pytest.raises(JobError):
        find_job("other", settings)


def test_a_job_that_can_not_be_remembered_still_runs(job, settings, tmp_path):
    (tmp_path / "file").touch()
    remember(job, settings.model_copy(update={"state_dir": tmp_path / "file"}))


def test_the_beginning_of_an_id(tmp_path, settings):
    """As with git: where it is that of one job, remembered here or in an output folder that was named."""
    job = made.make_job(tmp_path, settings, job_id="3fa2b100-aaaa")
    made.make_job(tmp_path, settings, job_id="3fa2b1ff-bbbb")
    elsewhere = made.make_job(tmp_path, Settings(state_dir=tmp_path / "other"), job_id="77e0-cccc", output="out2")
    assert find_job("3fa2b100", settings).id == job.id
    assert find_job("3fa2b100-aaaa", settings).id == job.id
    assert find_job("77e0", settings, tmp_path / "out2").id == elsewhere.id
    settle(job.id, settings)
    assert find_job("3fa2b10", settings, tmp_path / "out").id == job.id, "it is known from two places, and is one"
    with pytest.raises(UnknownJob, match="2 jobs begin with 3fa2b1: 3fa2b100-aaaa, 3fa2b1ff-bbbb"):
        find_job("3fa2b1", settings)
    for unknown in ("3fa", "9999", "77e0"):
        with pytest.raises(UnknownJob, match=f"No job {unknown} is known"):
            find_job(unknown, settings)
    made.make_job(tmp_path, settings, job_id="3fa2b100-aaaa-1")
    assert find_job("3fa2b100-aaaa", settings).id == job.id, "a whole id is that job's"


@pytest.mark.parametrize("which", [".yolo-jobs", ".yolo-jobs/the-id", ".yolo-jobs/the-id/videos"])
def test_a_folder_of_jobs_that_is_a_link(tmp_path, settings, which):
    """Nothing is made, found or removed behind it."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "the-id" / "videos").mkdir(parents=True)
    (elsewhere / "the-id" / "tasks").mkdir()
    link = tmp_path / "out" / which
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    with pytest.raises(RequestError, match="is a symbolic link, and results are never written through one"):
        made.make_job(tmp_path, settings, job_id="the-id")
    assert jobs_in(tmp_path / "out") == []
    with pytest.raises(RequestError):
        jobs.open_job(str(tmp_path / "out" / ".yolo-jobs" / "the-id"), settings)
    assert sorted(elsewhere.rglob("*")) == before
