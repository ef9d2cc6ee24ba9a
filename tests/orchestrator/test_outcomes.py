"""What a job leaves to read: state, summary, result in the original structure, shortened for the result store."""

import io
import json

import pytest
from rich.console import Console

from engine.cli.progress import print_summary
from orchestrator.client import commands_list, views
from orchestrator.client.snapshot import Reader
from orchestrator.job import outcomes
from orchestrator.job.atomic_json import write_json
from orchestrator.job.jobdir import Job
from orchestrator.job.outcomes import shortened, shortened_result, state_of, summarise, without_long_lists
from orchestrator.job.records import (
    BackendFacts,
    EntryStatus,
    JobSummary,
    JobTotals,
    ModelFacts,
    PipelineResult,
    StartRecord,
    VideoEntry,
)
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs
from tests.orchestrator import handmade as made


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
def job(tmp_path, settings) -> Job:
    return made.make_job(tmp_path, settings)


# -- state ------------------------------------------------------------------------------------------------------------


def _started(job):
    made.start(job, 2)


def _at_work(job):
    made.start(job, 2)
    made.hold(job, job.task_base("process-1"))


def _all_done(job):
    made.start(job, 2)
    for index in range(2):
        made.finish(job, index)


def _dead(job):
    made.start(job, 2)
    made.hold(job, job.task_base("process-1"), made.dead_owner())


def _released(job):
    made.start(job, 2)
    made.hold(job, job.video_base(0)).release("handed back")


STATES = [
    ("nothing", lambda job: None, "queued"),
    ("starting", lambda job: made.hold(job, job.task_base("start")), "starting"),
    ("a start that died", lambda job: made.hold(job, job.task_base("start"), made.dead_owner()), "queued"),
    ("started", _started, "waiting"),
    ("at work", _at_work, "processing"),
    ("its worker died", _dead, "waiting"),
    ("handed back", _released, "waiting"),
    ("all videos done", _all_done, "ending"),
    ("refused", lambda job: made.start(job, 0, refused="no"), "ending"),
]


@pytest.mark.parametrize(("name", "make", "state"), STATES)
def test_states(job, name, make, state):
    make(job)
    assert state_of(job, 30) == state
    job.cancel("me")
    assert state_of(job, 30) == "cancelling"


@pytest.mark.parametrize(("refused", "state"), [(None, "completed"), ("no", "failed")])
def test_a_job_that_only_starts(tmp_path, settings, refused, state):
    job = made.make_job(tmp_path, settings, task="log_start")
    assert state_of(job, 30) == "queued"
    made.start(job, 0 if refused else 2, refused=refused)
    assert state_of(job, 30) == state


@pytest.mark.parametrize(("status", "state"), [("ok", "completed"), ("failed", "failed"), ("partial", "failed")])
def test_a_damaged_end_record_tells_what_the_videos_tell(job, settings, status, state):
    made.start(job, 1)
    made.finish(job, 0, status)
    made.end(job, settings)
    assert state_of(job, 30) == state
    (job.folder / "end.json").write_bytes(b"\0\0")
    assert state_of(job, 30) == state
    assert made.end(job, settings)["success"] is (state == "completed")
    assert job.end_record().state == state, "it is written again"


# -- summary and result -----------------------------------------------------------------------------------------------


def test_summary(job):
    made.start(job, 3)
    made.finish(job, 0)
    made.finish(job, 1, "failed", "it is damaged")
    job.done_path(2).write_text("{")
    summary = summarise(job)
    assert [video.status for video in summary.videos] == ["ok", "failed", "not begun"]
    assert summary.videos[2].error == "was not processed"
    assert summary.success is False
    assert summary.workers == ("yolo@here",)
    totals = summary.totals
    assert (totals.videos, totals.failed, totals.partial, totals.frames) == (3, 1, 0, 200)
    assert (totals.done, totals.cancelled, totals.not_begun) == (1, 0, 1)
    assert "error" not in summary.to_json()
    assert summarise(job, "why").to_json()["error"] == "why"


def test_summary_of_nothing(job):
    summary = summarise(job)
    assert (summary.success, summary.videos, summary.totals.videos) == (False, (), 0)


def test_a_clock_that_was_set_back(job):
    made.start(job, 1)
    made.finish(job, 0)
    write_json(job.start_path, {**job.start_record().to_json(), "started_at": "2999-01-01T00:00:00+00:00"})
    totals = summarise(job).totals
    assert (totals.elapsed_s, totals.fps) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("statuses", "cancelled", "message"),
    [
        (["ok", "ok"], False, "Pipeline completo ejecutado exitosamente"),
        (["ok", "ok"], True, "Pipeline completo ejecutado exitosamente"),
        (["ok", "failed"], False, "Pipeline terminado con errores: {v1}: why"),
        (["partial", "failed"], False, "Pipeline terminado con errores: 2 de 2 vídeos, el primero {v0}: why"),
        (["ok", None], True, "Pipeline cancelado: 1 de 2 vídeos completos, 1 sin empezar"),
        ([], False, "Pipeline terminado con errores: no video"),
    ],
)
def test_the_original_structure(job, settings, statuses, cancelled, message):
    made.start(job, len(statuses))
    for index, status in enumerate(statuses):
        if status is not None:
            made.finish(job, index, status, None if status == "ok" else "why")
    if cancelled:
        job.cancel("me")
    result = made.end(job, settings)
    assert list(result) == [
        "success",
        "message",
        "pipeline_task_id",
        "start_log",
        "processing_result",
        "end_log",
        "video_folder",
        "config_used",
    ]
    folder = job.spec.inputs[0]
    assert result["message"] == message.format(v0=f"{folder}/v0.mp4", v1=f"{folder}/v1.mp4")
    assert result["success"] is message.startswith("Pipeline completo")
    assert result["pipeline_task_id"] == job.id
    assert "videos" not in result["start_log"]
    assert json.loads((job.output / f"celery_result_{job.id}.json").read_text()) == result


# -- shortened --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "bad", "kept", "left_out"),
    [(200, 3, 200, None), (201, 3, 3, 198), (1000, 500, 200, 800), (201, 0, 0, 201)],
)
def test_of_many_videos_a_result_names_those_that_are_not_ok(count, bad, kept, left_out):
    ends = [EntryStatus.FAILED if number < bad else EntryStatus.OK for number in range(count)]
    videos = tuple(VideoEntry(f"{number}", status) for number, status in enumerate(ends))
    summary = JobSummary(False, videos, JobTotals(videos=count), ModelFacts(), BackendFacts())
    result = PipelineResult(False, "", "", {}, summary, {}, "", {})
    for short in (shortened(summary).to_json(), shortened_result(result).to_json()["processing_result"]):
        assert len(short["videos"]) == kept
        assert short.get("videos_left_out") == left_out
        assert short["totals"]["videos"] == count
    assert len(summary.videos) == count, "the value itself stays"


def test_a_long_start_record(job):
    made.start(job, 201)
    assert without_long_lists(job.start_record())["videos"] == []
    assert without_long_lists(StartRecord(started_at=None, worker="", videos=job.start_record().videos[:1]))["videos"]


def test_the_manifest_can_be_checked(job, settings):
    made.start(job, 1)
    made.finish(job, 0)
    made.end(job, settings)
    manifest = json.loads((job.output / "manifest.json").read_text())
    assert manifest == json.loads((job.folder / "manifest.json").read_text())
    assert manifest["job"] == job.id
    assert len(manifest["config_sha256"]) == 64
    assert manifest["versions"]


def test_thousands_of_videos(tmp_path, settings, monkeypatch):
    import time

    monkeypatch.setattr("os.fsync", lambda _: None)
    job = made.make_job(tmp_path, settings)
    made.start(job, 5000)
    for index in range(0, 5000, 2):
        made.finish(job, index)
    for index in range(1, 5000, 50):
        made.hold(job, job.video_base(index)).release("handed back")
    begun = time.thread_time()
    assert state_of(job, 30) == "waiting"
    assert jobs.next_step(job, 30) == ["process-1"]
    assert time.thread_time() - begun < 2.0
    begun = time.thread_time()
    assert outcomes.summarise(job).totals.frames == 2500 * made.FRAMES
    assert time.thread_time() - begun < 3.0


# -- one vocabulary ---------------------------------------------------------------------------------------------------


def text_of(renderable) -> str:
    console = Console(width=160, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


def test_each_view_of_a_job_tells_the_same(job, settings, monkeypatch):
    """Status, monitor, list, end record, summary and message count a cancelled job's videos in the same way."""
    monkeypatch.setattr(commands_list, "known_jobs", lambda _: [job])
    made.start(job, 6)
    for index, status in enumerate(("ok", "ok", "partial", "failed", "cancelled")):
        made.finish(job, index, status, None if status == "ok" else "why")
    job.cancel("me")
    result = made.end(job, settings)
    counted = {"videos": 6, "done": 2, "partial": 1, "failed": 1, "cancelled": 1, "not_begun": 1}
    reader = Reader(job, 30)
    shot = reader.read()
    rows = reader.rows(shot.working)
    words = "2 of 6 videos done, 1 partial, 1 failed, 1 cancelled, 1 not begun"
    assert words in text_of(views.status_view(shot, rows, None))
    assert words in views.line(shot)
    assert words in text_of(views.live_view(shot, 10))
    assert [row.status for row in rows] == ["ok", "ok", "partial", "failed", "cancelled", "not begun"]
    assert views.as_json(shot)["counts"] == {**counted, "left": 0, "at_work": 0}
    (row,) = commands_list.recent_jobs(settings)
    assert row.to_json()["counts"] == {**counted, "left": 0, "at_work": 0}
    assert row.cell("videos", 160).plain == "2/6"
    for totals in (result["end_log"], result["processing_result"]["totals"]):
        assert {key: totals[key] for key in counted} == counted
    console = Console(width=160, file=io.StringIO())
    print_summary(console, result["processing_result"])
    assert "6 videos (1 failed, 1 partial, 1 cancelled, 1 not begun)" in console.file.getvalue()
    assert result["message"].endswith("2 de 6 vídeos completos, 1 parciales, 1 fallidos, 1 cancelados, 1 sin empezar")


@pytest.mark.parametrize(
    ("statuses", "message"),
    [
        (["ok"], "Procesamiento de videos ejecutado exitosamente"),
        (["failed"], "Procesamiento de videos terminado con errores: "),
    ],
)
def test_process_videos_alone_is_no_pipeline(tmp_path, settings, statuses, message):
    job = made.make_job(tmp_path, settings, task="process_videos")
    made.start(job, len(statuses))
    for index, status in enumerate(statuses):
        made.finish(job, index, status, None if status == "ok" else "why")
    assert made.end(job, settings)["message"].startswith(message)


@pytest.mark.parametrize("error", ["why", "{path}: why", "Video {path} can't be read"])
def test_a_path_stands_once_in_a_message(job, settings, error):
    made.start(job, 1)
    path = f"{job.spec.inputs[0]}/v0.mp4"
    made.finish(job, 0, "failed", error.replace("{path}", path))
    assert made.end(job, settings)["message"].count(path) == 1
