"""Jobs, messages and workers with hostile names on the screens of `yolo-submit` and in the log of a worker."""

import io
import json
import logging
import re
import sys
import time

import pytest
from rich.console import Console

from orchestrator.client import monitor, submit_cli, views
from orchestrator.client.snapshot import Reader
from orchestrator.job.atomic_json import write_json
from orchestrator.job.jobdir import Job
from orchestrator.settings import Settings, settings
from orchestrator.worker.logs import JsonLines, TextLines
from tests.hostile_text import EVIL, assert_harmless
from tests.orchestrator import handmade as made
from tests.orchestrator.hostile import POISON, message


@pytest.fixture
def given(tmp_path, monkeypatch, valkey):
    for name in ("CELERY_RESULT_BACKEND", "YOLO_SETTINGS", "YOLO_VIDEO_ROOTS", "YOLO_OUTPUT_ROOTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CELERY_BROKER_URL", valkey.url)
    monkeypatch.setenv("YOLO_STATE_DIR", str(tmp_path / "state"))
    valkey.client.flushall()
    settings.cache_clear()
    yield settings()
    settings.cache_clear()
    valkey.client.flushall()


@pytest.fixture
def call(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["yolo-submit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            submit_cli.main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


@pytest.fixture
def job(tmp_path, given: Settings) -> Job:
    """At work, with EVIL wherever a text may stand."""
    job = made.make_job(tmp_path, given)
    made.start(job, 3, warnings=[EVIL])
    record = {**job.start_record().to_json(), "worker": EVIL, "model": {"name": EVIL, "sha256": EVIL}}
    for row in record["videos"]:
        row["path"] = f"{EVIL}/{row['index']}.mp4"
    write_json(job.start_path, record)
    made.finish(job, 0, "failed", EVIL)
    done = json.loads(job.done_path(0).read_text())
    done["worker"], done["entry"]["path"], done["entry"]["tracks_by_class"] = EVIL, EVIL, {EVIL: 1}
    write_json(job.done_path(0), done)
    made.hold(job, job.task_base("process-1"))
    told = {"index": 1, "attempt": 1, "path": EVIL, "frames": 3}
    value = {"key": "process-1", "worker": EVIL, "stage": EVIL, "at": time.time(), "videos": [told]}
    write_json(job.folder / "tasks" / "process-1.progress.json", value)
    spec = {**job.spec.to_json(), "video_folder": EVIL, "inputs": [EVIL], "task": "complete_pipeline"}
    write_json(job.folder / "job.json", spec)
    return Job.open(job.folder)


def test_the_monitor_s_table(job, given):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=400, height=50)
    console.print(views.live_view(Reader(job, given.lease_s).read(), 20))
    assert_harmless(shown.getvalue())
    assert "[bold red]gpj[/bold red]" in shown.getvalue()


def test_the_monitor_s_lines_and_what_it_says(job, given):
    shown = io.StringIO()
    console = Console(file=shown, width=400)
    lines = monitor.Lines(console)
    lines.show(Reader(job, given.lease_s).read())
    lines.say(EVIL)
    assert_harmless(shown.getvalue())
    assert len(shown.getvalue().splitlines()) == 2


def test_the_status(job, call):
    for arguments in (["--status", job.id], ["--status", job.id, "--json"]):
        code, out, err = call(*arguments, "--output", job.output)
        assert code == 0
        assert_harmless(out + err)
    assert json.loads(out)["video_folder"] == EVIL, "programs get the exact text"


def test_a_job_that_ended(job, call, given):
    job.cancel(EVIL)
    write_json(job.folder / "tasks" / "process-1.1.end.json", {"how": "failed", "error": EVIL})
    made.end(job, given)
    for arguments in (["--status", job.id], ["--status", job.id, "--monitor"], ["--cancel", job.id], ["--list-tasks"]):
        _, out, err = call(*arguments)
        assert_harmless(out + err)
        assert out
    for path in job.folder.rglob("*.json*"):
        assert_harmless(path.read_text())
    for path in job.output.glob("*.json"):
        assert_harmless(path.read_text())


@pytest.mark.parametrize("value", [EVIL, [EVIL], {EVIL: EVIL}, 7, None, "a" * 10**6])
@pytest.mark.parametrize("key", ["id", "task", "video_folder", "inputs", "config", "workers", "output", "created_at"])
def test_any_value_in_a_job_file(job, call, key, value):
    write_json(job.folder / "job.json", {**job.spec.to_json(), key: value})
    for arguments in (["--status", job.id, "--output", job.output], ["--list-tasks"]):
        code, out, err = call(*arguments)
        assert code in (0, 1, 2)
        assert_harmless(out + err)
        assert len(out + err) < 100_000


def test_poison_that_waits_is_listed_and_purged(call, valkey, given):
    """Before a worker takes it, a person may look."""
    for raw in POISON.values():
        valkey.client.lpush("yolo", raw)
    evil = message("/v", kwargs={"job": "/etc/.yolo-jobs/../../passwd"}, id=f"{EVIL}.{EVIL}", task=EVIL, eta=EVIL)
    valkey.client.lpush("yolo", json.dumps(evil))
    valkey.client.hset("unacked", "a", json.dumps([evil, EVIL, EVIL]))
    valkey.client.hset("unacked", "b", "[" * 100_000)
    valkey.client.set("yolo:worker:evil", json.dumps({"node": [1], "owner": {}, "queues": 7}))
    for arguments in (
        ["--list-tasks"],
        ["--list-tasks", "--json"],
        ["--purge", "--yes"],
        ["--purge", "--yes", "--json"],
    ):
        code, out, err = call(*arguments)
        assert code == 0, err
        assert_harmless(out + err)
    assert valkey.client.llen("yolo") == 0


def test_a_message_that_waits_names_no_file_to_read(call, valkey, given, tmp_path):
    """Its age is read from the job's directory; a stranger's message could name any."""
    (tmp_path / "x" / "tasks").mkdir(parents=True)
    (tmp_path / "secret.sent.json").write_text('{"at": "2020-01-01T00:00:00+00:00"}')
    (tmp_path / "x" / "tasks" / "a.sent.json").write_text('{"at": "2020-01-01T00:00:00+00:00"}')
    for identity in ("x./../../secret", "y.a", "x.../../secret"):
        valkey.client.lpush("yolo", json.dumps(message("/v", kwargs={"job": str(tmp_path / "x")}, id=identity)))
    code, out, _ = call("--list-tasks", "--json")
    assert code == 0
    assert [row["age_s"] for row in json.loads(out)["reserved"]] == [None] * 3


@pytest.mark.parametrize("lines", [TextLines("%(message)s"), JsonLines()])
def test_a_worker_s_log(lines):
    record = logging.getLogger("x").makeRecord("x", 30, "", 1, "%s", (EVIL,), None, extra={"job": EVIL})
    shown = lines.format(record)
    assert shown.isprintable()
    error = logging.getLogger("x").makeRecord("x", 30, "", 1, "no", (), (ValueError, ValueError(EVIL), None))
    assert_harmless(lines.format(error))
    assert not re.search(r"(?m)^\S.*ERROR forged", lines.format(error)) or isinstance(lines, JsonLines)
