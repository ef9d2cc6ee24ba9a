"""What workers refuse is told in one line: in the worker's log, in the list and in the health check."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import pytest

from orchestrator.broker import health, keys, refusals
from orchestrator.broker.redis_broker import RedisBroker
from orchestrator.client import commands_list
from orchestrator.client.options import SubmitOptions
from orchestrator.errors import JobError, RequestError
from orchestrator.job.jobdir import JOBS_FOLDER
from orchestrator.settings import settings
from orchestrator.worker import tasks
from orchestrator.worker.sweep import sweep


@pytest.fixture
def broker(valkey, monkeypatch, tmp_path):
    valkey.client.flushall()
    monkeypatch.setenv("CELERY_BROKER_URL", valkey.url)
    monkeypatch.delenv("CELERY_RESULT_BACKEND", raising=False)
    monkeypatch.setenv("YOLO_STATE_DIR", str(tmp_path / "state"))
    settings_file = tmp_path / "settings.toml"
    settings_file.write_text(f'[[watch]]\nfolder = "{tmp_path}/in"\noutput = "{tmp_path}/out"\n')
    monkeypatch.setenv("YOLO_SETTINGS", str(settings_file))
    settings.cache_clear()
    yield valkey.client
    settings.cache_clear()
    valkey.client.flushall()


def refuse(task, *arguments) -> str:
    """Runs a task as a worker does, up to the hook that it calls when the task has failed."""
    with pytest.raises((JobError, OSError)) as raised:
        task(*arguments)
    task.on_failure(raised.value, "an-id", arguments, {}, None)
    return str(raised.value)


def test_a_sweep_that_fails_is_told_in_all_three(broker, tmp_path: Path, caplog, capsys) -> None:
    folder = str(tmp_path / "in")
    with caplog.at_level(logging.ERROR):
        why = refuse(tasks.sweep_yolo, folder)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"sweep {folder} is refused: {why}"
    assert why.count(folder) == 1
    commands_list.list_tasks(SubmitOptions(as_json=True))
    (row,) = json.loads(capsys.readouterr().out)["refused"]
    assert row["what"] == f"sweep {folder}"
    assert "no such file" in row["why"]
    commands_list.list_tasks(SubmitOptions())
    assert "refused" in capsys.readouterr().out
    checks = health.check_refusals(RedisBroker(broker))
    assert [(check.name, check.state) for check in checks] == [("sweep", "failed")]
    assert "no such file" in checks[0].detail
    (tmp_path / "in").mkdir()
    tasks.sweep_yolo(folder)
    assert refusals.recent(broker) == [], "the folder is back"


def test_a_refused_task_is_told_in_all_three(broker, tmp_path: Path, caplog, capsys) -> None:
    with caplog.at_level(logging.ERROR):
        refuse(tasks.log_start_yolo, str(tmp_path / "nowhere"))
    assert "task log_start_yolo an-id is refused: Video folder" in caplog.text
    commands_list.list_tasks(SubmitOptions(as_json=True))
    assert json.loads(capsys.readouterr().out)["refused"][0]["what"] == "task log_start_yolo an-id"
    (check,) = health.check_refusals(RedisBroker(broker))
    assert (check.name, check.state) == ("refused", "warning")
    assert check.detail.startswith("task log_start_yolo an-id: Video folder")


def test_a_folder_that_this_worker_does_not_watch(broker, tmp_path: Path) -> None:
    assert "is not watched" in refuse(tasks.sweep_yolo, str(tmp_path / "other"))


def test_an_error_of_the_disk_is_a_sentence(broker, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.setattr(tasks.sweep, "sweep", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error", "/x")))
    assert refuse(tasks.sweep_yolo, str(tmp_path / "in")) == "/x: input/output error."


def test_an_unmounted_folder_is_no_empty_one(broker, tmp_path: Path, monkeypatch) -> None:
    """What is left of it is an empty folder."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.mp4").write_bytes(b"x")
    os.utime(tmp_path / "in" / "a.mp4", (1, 1))
    mounted = True
    monkeypatch.setattr("orchestrator.worker.sweep.os.path.ismount", lambda _: mounted)
    watch = settings().watch[0]
    assert sweep(watch, settings())[1]["new"] == 1
    mounted = False
    (job,) = (tmp_path / "out" / JOBS_FOLDER).glob("*/job.json")
    (job.parent / "end.json").write_text("{}")
    with pytest.raises(RequestError, match="is it unmounted"):
        sweep(watch, settings())


def test_a_stranger_s_text_is_one_line(broker, caplog) -> None:
    nasty = "/nowhere\n[2026] INFO all is well\x1b[2J\r" + "x" * 5000
    with caplog.at_level(logging.ERROR):
        refuse(tasks.log_start_yolo, nasty)
    for text in (caplog.records[-1].getMessage(), refusals.recent(broker)[0].why):
        assert text.isprintable()
        assert len(text) < 1000


def test_refusals_are_few_and_go(broker, monkeypatch) -> None:
    for number in range(60):
        refusals.note(broker, f"task {number}", "why\nnot")
    found = refusals.recent(broker)
    assert len(found) == 50
    assert found[0].why == "why not"
    broker.hset(keys.REFUSED, "strange", "{")
    assert len(refusals.recent(broker)) == 50
    tomorrow = time.time() + 90_000
    monkeypatch.setattr(refusals.time, "time", lambda: tomorrow)
    assert refusals.recent(broker) == []
    refusals.note(broker, "one", "why")
    assert broker.hlen(keys.REFUSED) == 1
