"""The steps of a job: what is refused at the door, what comes next, and the end, which is recorded once."""

import contextlib
import json
import os
import shutil
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.client import submission
from orchestrator.errors import Duplicate, JobError, PathRefused, RequestError
from orchestrator.job import outcomes
from orchestrator.job.atomic_json import write_json
from orchestrator.job.jobdir import JOBS_FOLDER, Job
from orchestrator.job.records import Ending, How
from orchestrator.job.registry import open_jobs
from orchestrator.job.turns import Turns
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs
from orchestrator.worker.steps import Context, begin, job_at, job_to_go_on_with, next_step, open_job
from tests.e2e.runs import clip
from tests.orchestrator import handmade as made
from tests.orchestrator.racers import end_each, race

LEASE_S = 30.0


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
def job(tmp_path, settings) -> Job:
    return made.make_job(tmp_path, settings)


@pytest.fixture
def context(settings) -> Context:
    return Context("yolo@here", settings)


# -- begin ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"config": {"max_agee": 1}}, "max_agee"),
        ({"config": {"max_age": "many"}}, "max_age"),
        ({"config": {"max_age": 10**400}}, "max_age"),
        ({"config": {"conf": float("nan")}}, "conf"),
        ({"config": {"skip_frames": -1}}, "skip_frames"),
        ({"config": {1: 2}}, "."),
        ({"config": [1]}, "must be a dictionary"),
        ({"config": "max_age"}, "must be a dictionary"),
        ({"output": None, "config": {"output_folder": "x" * 5000}}, "at most 4096 bytes"),
        ({"output": None, "config": {"output_folder": "a\0b"}}, "NUL"),
        ({"config": {"output_folder": 7}}, "output_folder"),
        ({"given_folder": None}, "must be a path"),
        ({"given_folder": "missing"}, "no such file"),
        ({"given_folder": ["videos"]}, "must be a path"),
        ({"job_id": "../../../etc/x"}, "A job's id consists of"),
        ({"job_id": ""}, "A job's id consists of"),
        ({"job_id": "x" * 101}, "A job's id consists of"),
        ({"job_id": 5}, "A job's id consists of"),
        ({"workers": 0}, r"workers must be an int in \[1, 1000\]. Got 0"),
        ({"workers": 10**9}, "workers must be an int"),
        ({"workers": "3"}, "workers must be an int"),
        ({"workers": True}, "workers must be an int"),
        ({"output": "videos"}, "annotated videos can't go there"),
        ({"output": "videos/a.mp4"}, "is not a folder"),
    ],
)
def test_what_begin_refuses(tmp_path, settings, monkeypatch, facts, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(RequestError, match=said):
        begin(**{"given_folder": "videos", "config": {}, "settings": settings, "output": "out", **facts})
    assert sorted(tmp_path.rglob("*")) == before, "nothing is left of it"


def test_only_what_was_given_is_kept_of_a_configuration(tmp_path, settings):
    job = made.make_job(tmp_path, settings, config={"max_age": 5})
    assert job.config == {"backend": "fake", "report": False, "max_age": 5, "output_folder": str(tmp_path / "out")}


# -- a job that a stranger names --------------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path) -> Settings:
    """A worker whose broker others reach."""
    return Settings(
        broker_url="redis://broker.example/0",
        state_dir=tmp_path / "state",
        video_roots=(tmp_path / "videos",),
        output_roots=(tmp_path / "out",),
    )


def test_a_job_of_ours_is_opened(job, guarded):
    assert open_job(str(job.folder), guarded).spec == job.spec
    assert (guarded.state_dir / "jobs" / f"{job.id}.json").exists()


@pytest.mark.parametrize(
    "folder",
    [
        "",
        ".",
        "/",
        "/etc",
        "{job}/..",
        "{job}/videos",
        "{job}/../../../elsewhere/.yolo-jobs/x",
        "{out}/.yolo-jobs/a\0b",
        "{out}/.yolo-jobs/missing",
        "{out}/.yolo-jobs/" + "x" * 5000,
        "{out}/.yolo-jobs/..",
        "{out}/" + "x" * 300 + "/.yolo-jobs/a",
        "\ud800/.yolo-jobs/a",
        None,
        7,
        ["/etc"],
        {"a": 1},
    ],
)
def test_directories_that_are_no_job(job, guarded, folder):
    if isinstance(folder, str):
        folder = folder.replace("{job}", str(job.folder)).replace("{out}", str(job.output))
    with pytest.raises(JobError):
        open_job(folder, guarded)


def spoil(job: Job, **facts) -> None:
    write_json(job.folder / "job.json", {**job.spec.to_json(), **facts})


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"inputs": ["/etc"]}, "not below YOLO_VIDEO_ROOTS"),
        ({"inputs": ["{videos}/../state"]}, "not below YOLO_VIDEO_ROOTS|no such file"),
        ({"inputs": ["{videos}/fifo.mp4"]}, "a FIFO"),
        ({"inputs": ["/dev/zero"]}, "a character device"),
        ({"inputs": ["{videos}/door"]}, "not below YOLO_VIDEO_ROOTS"),
        ({"inputs": ["{videos}", "/etc/passwd"]}, "not below YOLO_VIDEO_ROOTS"),
        ({"inputs": ["a\0b"]}, "inputs must be"),
        ({"inputs": ["x" * 5000]}, "at most 4096 bytes"),
        ({"inputs": ["\ud800"]}, "half a character"),
        ({"inputs": ["rtsp://camera/stream"]}, "no such file"),
        ({"inputs": [None]}, "inputs must be"),
        ({"output": "/etc"}, "names the output folder /etc"),
        ({"output": ""}, "names the output folder"),
        ({"config": {"nonsense": 1}}, "nonsense"),
        ({"config": {"max_age": 10**300}}, "max_age"),
        ({"config": {"conf": "high"}}, "conf"),
        ({"id": "../../../../state/jobs/x"}, "id must be the name of its folder"),
        ({"workers": 10**15}, "workers must be"),
    ],
)
def test_a_job_file_made_by_a_stranger(job, guarded, tmp_path, facts, said):
    os.mkfifo(tmp_path / "videos" / "fifo.mp4")
    (tmp_path / "videos" / "door").symlink_to("/etc")
    text = json.dumps(facts).replace("{videos}", str(tmp_path / "videos"))
    spoil(job, **json.loads(text))
    with pytest.raises(JobError, match=said):
        open_job(str(job.folder), guarded)


NASTY = [None, 0, -1, True, 10**18, 1e308, "", ".", "..", "/", "x" * 5000, "a\0b", "\ud800", [], [[]], {}, {"a": [0]}]


def test_anything_in_any_field_of_a_job_file(job, guarded):
    for key in job.spec.to_json():
        for value in NASTY:
            spoil(job, **{key: value})
            with contextlib.suppress(JobError):
                opened = open_job(str(job.folder), guarded)
                assert (opened.id, opened.output) == (job.id, job.output)
                assert next_step(opened, LEASE_S) in (["start"], [])


def test_anything_in_any_field_of_what_workers_write(job, settings):
    """Whatever stands there, the job can be shown and ended."""
    made.start(job, 1)
    made.finish(job, 0)
    made.hold(job, job.task_base("process-1")).release("exhausted")
    made.hold(job, job.video_base(0)).release("done")
    made.end(job, settings)
    names = ["start.json", "end.json", "videos/0000.done.json", "tasks/process-1.1.json", "tasks/process-1.1.end.json"]
    whole = {name: json.loads((job.folder / name).read_text()) for name in names}

    def judge():
        outcomes.state_of(job, LEASE_S)
        next_step(job, LEASE_S)
        outcomes.summarise(job)
        job.live(LEASE_S)
        (job.folder / "end.json").unlink(missing_ok=True)
        assert made.end(job, settings)["end_log"]["state"] in ("completed", "failed")
        assert outcomes.state_of(job, LEASE_S) in ("completed", "failed")

    for name in names:
        for key in [None, *whole[name]]:
            for value in NASTY:
                changed = value if key is None else {**whole[name], key: value}
                (job.folder / name).write_text(json.dumps(changed))
                judge()
        write_json(job.folder / name, whole[name])
    for key in whole["videos/0000.done.json"]["entry"]:
        for value in NASTY:
            done = whole["videos/0000.done.json"]
            write_json(job.done_path(0), {**done, "entry": {**done["entry"], key: value}})
            judge()


@pytest.mark.parametrize("part", [".yolo-jobs", "{id}", "{id}/videos", "{id}/tasks"])
def test_links_out_of_the_output_folder(job, guarded, tmp_path, part):
    path = job.output / (part if part == ".yolo-jobs" else f".yolo-jobs/{part.replace('{id}', job.id)}")
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    with pytest.raises(PathRefused, match="is not a job's directory"):
        open_job(str(job.folder), guarded)


# -- what comes next --------------------------------------------------------------------------------------------------

DEAD, LIVE = "dead", "live"


@pytest.mark.parametrize(
    ("start", "steps", "done", "cancelled", "expected", "why"),
    [
        (None, {}, 0, False, ["start"], "nothing has happened"),
        (None, {"start": DEAD}, 0, False, ["start"], "its worker died"),
        (None, {}, 0, True, ["end"], "cancelled before the start"),
        (None, {"start": LIVE}, 0, True, [], "cancelled while it starts"),
        ("refused", {}, 0, False, ["end"], "it can't be done"),
        ("ok", {}, 0, False, ["p1", "p2"], "started"),
        ("ok", {"p1": LIVE}, 0, False, ["p1", "p2"], "who is on its way is for the rescue to say"),
        ("ok", {"p1": "exhausted"}, 1, False, ["p2"], "one has no more to take"),
        ("ok", {"p1": "exhausted", "p2": LIVE}, 1, False, ["p2"], "the other is at it"),
        ("ok", {"p1": "exhausted", "p2": DEAD}, 1, False, ["p2"], "the other died"),
        ("ok", {"p1": "exhausted", "p2": "handed back"}, 1, False, ["p2"], "the other was stopped"),
        ("ok", {"p1": "broke off", "p2": "broke off"}, 1, False, ["p1", "p2"], "a disk was full"),
        ("ok", {"p1": "exhausted", "p2": "exhausted"}, 1, False, ["p1"], "a video's worker died after both"),
        ("ok", {"p1": "exhausted", "p2": "exhausted", "v": LIVE}, 1, False, [], "somebody has the last video"),
        ("ok", {"p1": "exhausted", "p2": "exhausted", "v": DEAD}, 1, False, ["p1"], "had"),
        ("ok", {"p1": "failed", "p2": "failed"}, 0, False, ["end"], "no engine runs here"),
        ("ok", {"p1": "failed"}, 0, False, ["p2"], "none here; perhaps elsewhere"),
        ("ok", {"p1": "failed", "p2": "exhausted"}, 1, False, ["p1"], "it did run elsewhere"),
        ("ok", {"p1": "exhausted", "p2": "exhausted"}, 2, False, ["end"], "all done"),
        ("ok", {}, 2, False, ["end"], "all done by an earlier version of the steps"),
        ("ok", {"p1": LIVE}, 2, False, ["end"], "all done, whoever still says so"),
        ("ok", {}, 0, True, ["end"], "cancelled before the first video"),
        ("ok", {"p1": LIVE}, 0, True, [], "cancelled: its worker ends it"),
        ("ok", {"p1": DEAD}, 0, True, ["end"], "cancelled: nobody is left"),
        ("ok", {"p1": "cancelled", "p2": LIVE}, 1, True, [], "cancelled: the last one out ends it"),
        ("ok", {"p1": "cancelled", "p2": "cancelled"}, 1, True, ["end"], "it has"),
        ("damaged", {}, 0, False, ["end"], "its list of videos is lost"),
        ("ended", {}, 0, False, [], "ended"),
        ("ended", {}, 0, True, [], "ended, and cancelled too late"),
    ],
)
def test_next_step(tmp_path, settings, start, steps, done, cancelled, expected, why):
    job = made.make_job(tmp_path, settings, workers=2)
    if start in ("ok", "ended", "damaged"):
        made.start(job, 2)
    elif start == "refused":
        made.start(job, 0, refused="no")
    for index in range(done):
        made.finish(job, index)
    if start == "ended":
        made.end(job, settings)
    if start == "damaged":
        job.start_path.write_bytes(b"\0")
    for key, how in steps.items():
        base = job.video_base(1) if key == "v" else job.task_base(key.replace("p", "process-"))
        lease = made.hold(job, base, made.dead_owner() if how == DEAD else None)
        if how not in (DEAD, LIVE):
            lease.release(how)
    if cancelled:
        job.cancel("me")
    assert next_step(job, LEASE_S) == [key.replace("p", "process-") for key in expected]


def test_a_job_that_only_starts_needs_nothing(tmp_path, settings):
    assert next_step(made.make_job(tmp_path, settings, task="log_start"), LEASE_S) == []


# -- start and process, with a real engine ----------------------------------------------------------------------------


def submitted(tmp_path, settings, *names, **config) -> Job:
    for number, name in enumerate(names):
        clip(tmp_path / "videos" / name, 12, seed=number, container=None if name.endswith(".mp4") else "mp4")
    config = {"backend": "fake", "min_hits": 1, "visualize": False, **config}
    return begin(str(tmp_path / "videos"), config, settings, output=str(tmp_path / "out"))


def test_from_begin_to_end(tmp_path, settings, context):
    job = submitted(tmp_path, settings, "a.mp4", "sub/b.mp4", "vanishes.mp4", "becomes.mp4", "escapes.mp4")
    record = jobs.start(job, context)
    assert (len(record.videos), record.total_frames, record.refused) == (5, 60, None)
    assert jobs.start(job, Context("other@here", settings)) == record
    videos = tmp_path / "videos"
    for name in ("vanishes", "becomes", "escapes"):
        (videos / f"{name}.mp4").unlink()
    os.mkfifo(videos / "becomes.mp4")
    (videos / "escapes.mp4").symlink_to("/dev/zero")
    done = jobs.process(job, "process-1", context)
    assert done.how == "exhausted"
    found = {Path(video.path).stem: (video.status, video.error) for video in done.summary.videos}
    assert found["a"] == found["b"] == ("ok", None)
    assert {name: status for name, (status, _) in found.items() if name not in "ab"} == {
        "vanishes": "failed",
        "becomes": "failed",
        "escapes": "failed",
    }
    assert "no such file" in found["vanishes"][1]
    assert "a FIFO" in found["becomes"][1]
    assert "a character device" in found["escapes"][1]
    assert next_step(job, LEASE_S) == ["end"]
    result = jobs.end(job, context)
    assert (job.output / "sub" / "b.tracks.jsonl").exists()
    assert result.end_log["worker"] == "yolo@here"
    assert jobs.process(job, "process-1", context).how == "exhausted", "a late message finds nothing to do"
    assert job.live(LEASE_S) == []


def test_what_is_left_out_is_told(tmp_path, settings, context):
    """As by a run: it stands in the start record, and a link does not lead out of the roots."""
    settings = settings.model_copy(update={"video_roots": (tmp_path / "videos",)})
    clip(tmp_path / "elsewhere" / "c.mp4", 5)
    job = submitted(tmp_path, settings, "a.mp4", "#recycle/b.mp4", "low.LRV")
    (tmp_path / "videos" / "linked").symlink_to(tmp_path / "elsewhere")
    record = jobs.start(job, Context("yolo@here", settings))
    assert [video.stem for video in record.videos] == ["a"]
    folder = tmp_path / "videos"
    assert list(record.warnings) == [
        f"Left out (a recycle bin): {folder}/#recycle",
        f"Left out (a camera's preview or thumbnail of another file): {folder}/low.LRV",
        f"Left out (a link that leads out of the allowed folders): {folder}/linked",
    ]


@pytest.mark.parametrize(
    ("names", "config", "said"),
    [((), {}, "No video in"), (("a.mp4",), {"backend": "auto", "model": "no-such-model"}, "no-such-model")],
)
def test_what_the_start_refuses(tmp_path, settings, context, names, config, said):
    (tmp_path / "videos").mkdir()
    job = submitted(tmp_path, settings, *names, **config)
    assert said in jobs.start(job, context).refused
    assert jobs.process(job, "process-1", context).how == "exhausted"
    result = jobs.end(job, context)
    assert said in result.message
    assert result.end_log["state"] == "failed"


def test_a_step_that_somebody_is_at(job, context):
    made.hold(job, job.task_base("start"))
    with pytest.raises(Duplicate, match="step start of job"):
        jobs.start(job, context)
    made.start(job)
    made.hold(job, job.task_base("process-1"))
    with pytest.raises(Duplicate, match="step process-1"):
        jobs.process(job, "process-1", context)


def test_a_step_that_fails_gives_its_lease_back(job, context, monkeypatch):
    monkeypatch.setattr(jobs, "probe", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        jobs.start(job, context)
    assert job.leases("tasks")["start"].ending() == Ending(How.BROKE_OFF)
    assert next_step(job, LEASE_S) == ["start"]


def test_the_directory_is_removed_meanwhile(job, context):
    made.start(job)
    shutil.rmtree(job.output)
    for step in (lambda: jobs.start(job, context), lambda: jobs.process(job, "process-1", context)):
        with pytest.raises((OSError, JobError)):
            step()
    with pytest.raises(JobError):
        open_job(str(job.folder), context.settings)
    assert not job.ended


# -- one writer to a folder -------------------------------------------------------------------------------------------


def older(job: Job, seconds: int) -> Job:
    at = datetime.fromisoformat(job.spec.created_at) - timedelta(seconds=seconds)
    spoil(job, created_at=at.isoformat(timespec="seconds"))
    return Job.open(job.folder)


@pytest.mark.parametrize(
    ("other", "waits", "why"),
    [
        ("begun", True, "its videos come first"),
        ("not begun", False, "it has no claim yet"),
        ("ended", False, "it is over"),
        ("younger", False, "we come first"),
        ("younger, at work", True, "it was faster"),
        ("only started", False, "it never writes"),
        ("damaged", False, "nobody can work on it"),
    ],
)
def test_two_jobs_and_one_folder(tmp_path, settings, job, other, waits, why):
    made.start(job, 1)
    them = made.make_job(tmp_path, settings, task="log_start" if other == "only started" else "complete_pipeline")
    them = older(them, -10 if other.startswith("younger") else 10)
    if other != "not begun":
        made.start(them, 1)
    if other == "ended":
        made.end(them, settings)
    if other == "younger, at work":
        made.hold(them, them.task_base("process-1"))
    if other == "damaged":
        (them.folder / "job.json").write_bytes(b"{}")
    assert (Turns(LEASE_S).before(job) is not None) is waits


# -- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "state", "message"),
    [
        ("never started", "failed", "Pipeline terminado con errores: the job was never started"),
        ("cancelled at once", "cancelled", "Pipeline cancelado"),
        ("refused", "failed", "Pipeline terminado con errores: the disk is full"),
        ("engine failed", "failed", "Pipeline terminado con errores: no such device"),
        ("engine failed, cancelled", "cancelled", "Pipeline cancelado: 0 de 2 vídeos completos"),
        ("half done, cancelled", "cancelled", "Pipeline cancelado: 1 de 2 vídeos completos"),
        ("all done", "completed", "Pipeline completo ejecutado exitosamente"),
        ("all done, then cancelled", "completed", "Pipeline completo ejecutado exitosamente"),
        ("nothing done", "failed", "Pipeline terminado con errores: 2 de 2 vídeos, el primero"),
        ("damaged start", "failed", "Pipeline terminado con errores: {job}/start.json can't be read"),
    ],
)
def test_every_end(job, settings, kind, state, message):
    if kind == "refused":
        made.start(job, 0, refused="the disk is full")
    elif kind not in ("never started", "cancelled at once"):
        made.start(job, 2)
    for index in range({"half done, cancelled": 1}.get(kind, 2 if kind.startswith("all done") else 0)):
        made.finish(job, index)
    if kind.startswith("engine failed"):
        made.hold(job, job.task_base("process-1")).release("failed", error="no such device")
    if "cancelled" in kind:
        job.cancel("me")
    if kind == "damaged start":
        job.start_path.write_bytes(b"")
    result = made.end(job, settings)
    assert result["end_log"]["state"] == state
    assert result["message"].startswith(message.format(videos=job.spec.inputs[0], job=job.folder))
    assert result["success"] is (state == "completed")
    assert made.end(job, settings) == result, "the same, however often"
    assert json.loads((job.output / f"celery_result_{job.id}.json").read_text()) == result


def test_results_that_are_missing_are_made_again(job, settings, monkeypatch):
    made.start(job, 1)
    made.finish(job, 0)
    with monkeypatch.context() as full:
        full.setattr(jobs, "write_json", lambda *_: (_ for _ in ()).throw(OSError("no space")))
        with pytest.raises(OSError, match="no space"):
            made.end(job, settings)
    assert job.ended
    path = job.output / f"celery_result_{job.id}.json"
    assert not path.exists()
    result = made.end(job, settings)
    assert json.loads(path.read_text()) == result
    (job.output / "manifest.json").write_text("another job's, later")
    made.end(job, settings)
    assert (job.output / "manifest.json").read_text() == "another job's, later"


class Killed(BaseException):
    """The process is gone: nothing catches it."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(5))
def test_who_is_killed_at_a_step_of_the_end_leaves_it_to_others(job, settings, monkeypatch, at, after):
    """The files of the end, in the order in which they are made: the record, the result, the manifest, the job's own
    copy of it, and the note that nobody need look after it any more."""
    made.start(job, 1)
    made.finish(job, 0)
    left = at * 2 + after

    def dying(function):
        def step(*arguments):
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            done = function(*arguments)
            if left == 0:
                raise Killed
            left -= 1
            return done

        return step

    with monkeypatch.context() as killing:
        for name in ("write_once", "write_json", "settle"):
            killing.setattr(jobs, name, dying(getattr(jobs, name)))
        with pytest.raises(Killed):
            made.end(job, settings)
    whole = (at, after) >= (3, True)
    assert job.ended is ((at, after) >= (0, True))
    assert job.settled is whole
    assert next_step(job, LEASE_S) == ([] if whole else ["end"])
    assert [each.id for each in open_jobs(settings)] == ([] if whole else [job.id])
    result = made.end(job, settings)
    assert result["success"]
    assert json.loads((job.output / f"celery_result_{job.id}.json").read_text()) == result
    manifest = (job.output / "manifest.json").read_text()
    assert json.loads(manifest)["job"] == job.id
    assert job.kept_manifest.read_text() == manifest
    assert job.settled
    assert next_step(job, LEASE_S) == []
    assert open_jobs(settings) == []


def test_a_repaired_end_leaves_a_later_jobs_manifest_alone(tmp_path, settings, monkeypatch):
    first, second = (made.make_job(tmp_path, settings, job_id=name) for name in ("first", "second"))
    for each in (first, second):
        made.start(each, 1)
        made.finish(each, 0)
    with monkeypatch.context() as killing:
        killing.setattr(jobs, "write_json", lambda *_: (_ for _ in ()).throw(Killed()))
        with pytest.raises(Killed):
            made.end(first, settings)
    made.end(second, settings)
    submission.finish(first, settings)
    submission.finish(second, settings)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["job"] == "second"
    assert json.loads(first.kept_manifest.read_text())["job"] == "first"
    assert first.settled


def test_two_who_end_it_at_once(tmp_path, settings):
    count = 12
    for number in range(count):
        job = made.make_job(tmp_path, settings, job_id=f"job-{number:02d}")
        made.start(job, 3)
        made.finish(job, 0)
    folder = tmp_path / "out" / JOBS_FOLDER
    first, second = race(2, end_each, folder)
    assert first == second
    for path, result in zip(sorted(folder.glob("job-*")), first, strict=True):
        events = [json.loads(line)["event"] for line in (path / "events.jsonl").read_text().splitlines()]
        assert events.count("ended") == 1
        assert json.loads((tmp_path / "out" / f"celery_result_{path.name}.json").read_text()) == result


@pytest.mark.parametrize(
    ("at_work", "ended", "state"),
    [(False, False, "cancelled"), (True, False, "cancelling"), (False, True, "completed")],
)
def test_cancel(job, context, settings, at_work, ended, state):
    made.start(job, 1)
    if ended:
        made.finish(job, 0)
        made.end(job, settings)
    if at_work:
        made.hold(job, job.task_base("process-1"))
    assert jobs.cancel(job, "me", context) == state
    assert jobs.cancel(job, "me", context) == state
    assert job.cancelled is not ended


def test_age(job):
    assert 0 <= jobs.age_s(job) < 60
    spoil(job, created_at=(datetime.now(UTC) - timedelta(hours=1)).isoformat())
    assert 3590 < jobs.age_s(Job.open(job.folder)) < 3700


def test_a_lease_is_not_touched_all_the_time(job, context, monkeypatch):
    lease = made.hold(job, job.task_base("start"))
    touches = []
    monkeypatch.setattr(lease, "touch", lambda: touches.append(threading.get_ident()))
    renew = context.renewal(lease)
    begun = time.monotonic()
    while time.monotonic() - begun < 0.05:
        renew()
    assert len(touches) == 1


# -- jobs that nobody can go on with ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"inputs": ["/etc"]}, "not below YOLO_VIDEO_ROOTS"),
        ({"config": {"nonsense": 1}}, "nonsense"),
        ({"config": {"model": "/models/a.plan"}}, "TensorRT plan"),
    ],
)
@pytest.mark.parametrize("when", ["queued", "started"])
def test_a_job_that_this_machine_refuses_ends(job, guarded, facts, said, when):
    """Instead of being sent again for ever."""
    if when == "started":
        made.start(job, 2)
        made.finish(job, 0)
    spoil(job, **facts)
    opened = job_to_go_on_with(str(job.folder), guarded)
    assert next_step(opened, LEASE_S) == ["end"]
    context = Context("yolo@here", guarded)
    record = jobs.start(opened, context)
    assert when == "started" or said in record.refused
    assert jobs.process(opened, "process-1", context).how == "exhausted"
    result = jobs.end(job_at(str(job.folder), guarded), context)
    assert result.success is False
    assert said in result.message
    assert next_step(opened, LEASE_S) == []
    if when == "started":
        assert [video.status for video in result.summary.videos] == ["ok", "not begun"]


def test_what_a_job_reads_may_disappear(job, guarded, tmp_path):
    shutil.rmtree(tmp_path / "videos")
    opened = job_to_go_on_with(str(job.folder), guarded)
    assert opened.given_up is None
    with pytest.raises(PathRefused):
        open_job(str(job.folder), guarded)
    spoil(job, inputs=["/nowhere/else"])
    assert "not below YOLO_VIDEO_ROOTS" in job_to_go_on_with(str(job.folder), guarded).given_up


def test_an_engine_that_fails_is_not_tried_for_ever(tmp_path, settings):
    """One step's engine could work, the other's can't: what is left goes to each in turn, and then the job ends."""
    job = made.make_job(tmp_path, settings, workers=2)
    made.start(job, 2)
    made.finish(job, 0)
    made.hold(job, job.task_base("process-2")).release("exhausted")
    sent = []
    for _ in range(10):
        (key,) = next_step(job, LEASE_S)
        if key == "end":
            break
        sent.append(key)
        made.hold(job, job.task_base(key)).release("failed", error="no card")
    assert next_step(job, LEASE_S) == ["end"]
    assert sent.count("process-1") == 3
    assert sent.count("process-2") == 1
