"""What a job's directory tells, and how it looks."""

import io
import json
import shutil
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.client import commands_list, views
from orchestrator.client.snapshot import Reader
from orchestrator.job.records import EntryStatus
from orchestrator.job.turns import Turns
from orchestrator.settings import Settings
from tests.orchestrator import handmade as made


@pytest.fixture
def settings(tmp_path):
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
def job(tmp_path, settings):
    return made.make_job(tmp_path, settings)


def read(job):
    reader = Reader(job, 30.0)
    shot = reader.read()
    return shot, reader.rows(shot.working)


def text_of(renderable, width=120):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


# -- what is read -----------------------------------------------------------------------------------------------------


def test_queued(job):
    shot, rows = read(job)
    assert (shot.state, shot.videos, rows, shot.ended) == ("queued", None, [], False)
    assert "not counted yet" in views.counts(shot)


def test_each_state_of_a_video(job):
    made.start(job, 7)
    made.finish(job, 0)
    made.finish(job, 1, "partial", "cut short")
    made.finish(job, 2, "failed", "no video")
    made.hold(job, job.task_base("process-1"))
    made.hold(job, job.video_base(3))
    made.tell(job, (3, 40))
    made.hold(job, job.video_base(4), made.dead_owner())
    made.hold(job, job.video_base(5)).release("crashed", error="the engine was killed by SIGSEGV")
    shot, rows = read(job)
    assert [row.status for row in rows] == ["ok", "partial", "failed", "processing", "waiting", "waiting", "queued"]
    assert [row.error for row in rows] == [
        None,
        "cut short",
        "no video",
        None,
        "its worker died",
        "crashed: the engine was killed by SIGSEGV",
        None,
    ]
    assert shot.state == "processing"
    assert shot.counts == {"ok": 1, "partial": 1, "failed": 1, "cancelled": 0, "not begun": 0}
    assert (shot.left, shot.frames, shot.frames_total) == (4, 340, 700)
    assert [(row.index, row.frames, row.frames_total, row.attempts) for row in shot.working] == [(3, 40, 100, 1)]
    assert shot.working[0].age_s < 5


def test_handed_back_is_no_error(job):
    made.start(job, 1)
    made.hold(job, job.video_base(0)).release("handed back")
    assert read(job)[1][0].error is None


def test_last_words_of_a_dead_worker_are_not_work(job):
    made.start(job, 1)
    made.hold(job, job.task_base("process-1"), made.dead_owner())
    made.tell(job, (0, 40))
    shot, _ = read(job)
    assert (shot.state, shot.working) == ("waiting", [])


@pytest.mark.parametrize("stage", ["loading the model", "stopping"])
def test_a_worker_without_a_video(job, stage):
    made.start(job, 1)
    made.hold(job, job.task_base("process-1"))
    made.tell(job, stage=stage)
    shot, _ = read(job)
    assert [(row.index, row.stage) for row in shot.working] == [(None, stage)]
    assert stage in views.line(shot)
    assert stage in text_of(views.live_view(shot, 10))


def test_how_each_job_ends(job, settings):
    made.start(job, 2)
    made.finish(job, 0)
    job.cancel("someone")
    made.end(job, settings)
    shot, rows = read(job)
    assert (shot.state, shot.left, shot.ended) == ("cancelled", 0, True)
    assert views.counts(shot) == "1 of 2 videos done, 1 not begun"
    assert [(row.status, row.error) for row in rows] == [("ok", None), ("not begun", "cancelled before it started")]
    assert "left" not in views.counts(shot)


def test_log_start_ends_with_its_record(tmp_path, settings):
    job = made.make_job(tmp_path, settings, task="log_start")
    made.start(job, 1)
    assert read(job)[0].state == "completed"


# -- speed ------------------------------------------------------------------------------------------------------------


def test_speed_of_late_and_time_left(job):
    made.start(job, 3)
    made.hold(job, job.task_base("process-1"))
    reader = Reader(job, 30.0)
    made.tell(job, (0, 10), at=100.0)
    first = reader.read()
    assert first.fps == pytest.approx(5)  # 10 frames in elapsed_s 2.0: nothing else is known yet
    made.tell(job, (0, 50), at=102.0)
    shot = reader.read()
    assert shot.fps == pytest.approx(20)
    assert shot.working[0].eta_s == pytest.approx(50 / 20)
    assert shot.eta_s == pytest.approx(250 / 20)
    made.tell(job, (0, 5), at=104.0)  # another attempt, from its checkpoint
    assert reader.read().fps >= 0


def test_no_time_left_without_frame_counts(job):
    made.start(job, 2, frames=None)
    made.hold(job, job.task_base("process-1"))
    made.tell(job, (0, 10))
    shot, _ = read(job)
    assert shot.fps > 0
    assert shot.eta_s is None


# -- how it looks -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "frames", "shown"),
    [
        ("ok", 100, "100"),
        ("failed", 0, "-"),
        ("cancelled", 0, "-"),
        ("not begun", 0, "-"),
        ("failed", 40, "40"),  # up to where it broke off
        ("partial", 0, "0"),
    ],
)
def test_what_was_not_examined_has_no_numbers(job, status, frames, shown):
    """A 0 would say that somebody looked, and found nothing."""
    made.start(job, 1)
    made.finish(job, 0)
    shot, rows = read(job)
    row = replace(rows[0], status=EntryStatus(status), frames=frames, fps=0.0)
    (line,) = [line for line in text_of(views.status_view(shot, [row], None)).splitlines() if "v0.mp4" in line]
    assert line.split() == ["v0.mp4", *status.split(), shown, "1"]
    ended = text_of(views.live_view(replace(shot, lately_ended=[row]), 5), width=160)
    assert ended.splitlines()[-1].split()[1 + len(status.split())] == shown


def test_thousands_of_videos_fit_a_screen(job):
    made.start(job, 3000)
    made.hold(job, job.task_base("process-1"))
    made.tell(job, *((index, 40) for index in range(50)))
    shot, rows = read(job)
    live = text_of(views.live_view(shot, 10))
    assert len(live.splitlines()) == 13
    assert "and 40 more at work" in live
    status = text_of(views.status_view(shot, rows, None))
    assert len(status.splitlines()) < 80
    assert "and 2940 more" in status
    assert len(views.line(shot)) < 300
    assert len(views.as_json(shot, rows)["videos"]) == 3000


def test_the_last_few_that_ended_are_shown(job):
    made.start(job, 9)
    for index in range(8):
        made.finish(job, index)
    live = text_of(views.live_view(read(job)[0], 20))
    assert "v7.mp4" in live
    assert "v3.mp4" in live
    assert "v2.mp4" not in live


@pytest.mark.parametrize("name", ["[red]", "[/]", "line\nend", "\udcff", "x" * 300, "日本"])
def test_any_file_name_can_be_shown(job, name):
    made.start(job, 1, warnings=[f"{name} is odd"])
    made.hold(job, job.task_base("process-1"))
    made.tell(job, (0, 1))
    path = job.folder / "tasks" / "process-1.progress.json"
    told = json.loads(path.read_text())
    told["videos"][0]["path"] = f"{job.spec.inputs[0]}/{name}.mp4"
    path.write_text(json.dumps(told))
    shot, rows = read(job)
    for shown in (text_of(views.live_view(shot, 5)), text_of(views.status_view(shot, rows, name)), views.line(shot)):
        shown.encode()
    assert "\n" not in views.line(shot)
    json.dumps(views.as_json(shot, rows)).encode()


def test_a_directory_that_is_gone_reads_as_nothing(job):
    made.start(job, 1)
    reader = Reader(job, 30.0)
    reader.read()
    shutil.rmtree(job.folder)
    assert reader.read().working == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0, "0:00:00"), (59.6, "0:01:00"), (3661, "1:01:01"), (90000, "25:00:00")]
)
def test_span(seconds, text):
    assert views.span(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(None, ""), (3.2, "3 s ago"), (3600, "1:00:00 ago")])
def test_ago(seconds, text):
    assert views.ago(seconds) == text


def test_listed():
    assert views.listed("abcdefg", 3) == "a, b, c and 4 more"
    assert views.listed("ab") == "a, b"


# -- 80 columns -------------------------------------------------------------------------------------------------------


def printed(renderable, width: int) -> list[str]:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(renderable)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 160])
def test_nothing_breaks_into_pieces(job, settings, monkeypatch, width):
    """Words stay whole, a video has one line, and an id is whole or its beginning."""
    error = "the container's index is missing and can't be rebuilt"
    made.start(job, 4)
    record = json.loads(job.start_path.read_text())
    for row in record["videos"]:
        row["path"] = f"{job.spec.inputs[0]}/2026-11-30/camera-entrance-north/recording-{row['index']:04d}.mp4"
    job.start_path.write_text(json.dumps(record))
    made.finish(job, 0, "failed", error)
    made.hold(job, job.task_base("process-1"))
    made.hold(job, job.video_base(1))
    made.tell(job, (1, 70), worker="yolo-12345@machine-room-3")
    reader = Reader(job, 30)
    shot = reader.read()
    rows = reader.rows(shot.working)
    for view in (views.status_view(shot, rows, None), views.live_view(shot, 10)):
        lines = printed(view, width)
        text = " ".join(lines)
        for word in ("processing", *error.split()):
            if word not in ("rebuilt", "be", "can't") or width < 160:
                assert word in text, (word, lines)
        assert any("70/100" in line and "processing" in line for line in lines)
    monkeypatch.setattr(commands_list, "known_jobs", lambda _: [job])
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    commands_list.show(
        console,
        "active",
        [commands_list.ActiveRow("yolo-12345@machine-room-3", "machine-room-3", job.id, "process-1", "an-id")],
        ("worker", "job", "step"),
    )
    commands_list.show(
        console, "recent", commands_list.recent_jobs(settings), ("id", "state", "videos", "age", "video_folder")
    )
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 6, lines
    assert all((job.id if width == 160 else job.id[:8]) in lines[place] for place in (2, 5))


def test_what_a_job_waits_for(tmp_path, settings, job):
    made.start(job)
    younger = made.make_job(tmp_path, settings, job_id="zzz")
    made.start(younger)
    assert Turns(30.0).must_wait(younger, "process-1").id == job.id
    shot = Reader(younger, 30.0).read()
    said = f"for job {job.id}, which writes to the same folder"
    assert (shot.state, shot.waits_for) == ("waiting", job.id)
    assert said in text_of(views.status_view(shot, [], None))
    assert views.line(shot).startswith(f"waiting {said}: 0 of 2 videos done")
    assert views.as_json(shot)["waits_for"] == job.id
    (younger.folder / "tasks" / "process-1.waits.json").write_text("[")
    assert Reader(younger, 30.0).read().waits_for is None
