"""What our worker does beside Celery's, part by part: deafness, its queues, how it tells tasks to stop, its logs."""

import importlib
import io
import json
import logging
import os
import shutil
import sys
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.app.utils import find_app
from celery.exceptions import Ignore

import orchestrator
from engine.logs import JsonFormatter
from orchestrator.application import make_app
from orchestrator.errors import PathRefused, RequestError
from orchestrator.job.jobdir import Job
from orchestrator.settings import Settings, settings
from orchestrator.worker import keeper as worker
from orchestrator.worker import logs, supervise, tasks
from orchestrator.worker.keeper import Deafness, Keeper
from orchestrator.worker.logs import JsonLines, TaskFields, TextLines, set_up_worker_logging
from tests.orchestrator import handmade as made

# -- deafness ---------------------------------------------------------------------------------------------------------

FINE, DEAF = False, True


@pytest.mark.parametrize(
    ("looks", "why"),
    [
        ([(0, 1, 1, 0, FINE), (200, 1, 1, 0, DEAF)], "messages wait, a slot is free, nothing comes"),
        ([(0, 1, 1, 0, FINE), (100, 1, 1, 0, FINE), (119, 1, 1, 0, FINE)], "not long enough"),
        ([(0, 1, 1, 0, FINE), (100, 0, 1, 0, FINE), (200, 1, 1, 0, FINE)], "the queue was empty meanwhile"),
        ([(0, 1, 1, 0, FINE), (100, 1, 1, 1, FINE), (200, 1, 1, 1, FINE)], "something came meanwhile"),
        ([(0, 1, 0, 0, FINE), (200, 1, 0, 0, FINE)], "no slot is free"),
        ([(0, 1, -1, 0, FINE), (200, 1, -1, 0, FINE)], "more than all slots are taken"),
        ([(0, 0, 1, 0, FINE), (500, 0, 1, 0, FINE)], "nothing waits"),
        ([(0, 0, 1, 0, FINE), (500, 9, 1, 0, FINE), (640, 9, 1, 0, DEAF)], "deaf from the start"),
    ],
)
def test_deafness(looks, why):
    ears = Deafness(120)
    ears.is_deaf(-5, 0, 1, 0)
    for present, waiting, free, received, deaf in looks:
        assert ears.is_deaf(float(present), waiting, free, received) is deaf


# -- queues and cores -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "served", "why"),
    [
        (None, {"yolo", "yolo-log", "celery"}, "all, without a card not that of cards"),
        (["yolo-gpu"], {"yolo-gpu"}, "whoever names it gets it"),
        (["yolo", "yolo-log"], {"yolo", "yolo-log"}, "as named"),
    ],
)
def test_queues_served(monkeypatch, asked, served, why):
    monkeypatch.setattr(worker, "Path", lambda name: SimpleNamespace(exists=lambda: False))
    monkeypatch.setenv("YOLO_WORKER_CORES", "")
    app = make_app("client")
    if asked:
        app.amqp.queues.select(asked)
    Keeper(SimpleNamespace(app=app, concurrency=1))
    assert set(app.amqp.queues.consume_from) == served


@pytest.mark.parametrize(("concurrency", "cores"), [(1, 8), (2, 4), (3, 2), (8, 1), (64, 1)])
def test_tasks_share_the_cores(monkeypatch, concurrency, cores):
    monkeypatch.setattr(worker.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setenv("YOLO_WORKER_CORES", "")
    assert worker.cores_for_a_task() is None
    Keeper(SimpleNamespace(app=make_app("client"), concurrency=concurrency))
    assert worker.cores_for_a_task() == cores


# -- stops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tidied_up", [False, True])
def test_tasks_are_told_of_a_stop(monkeypatch, tmp_path, tidied_up):
    """Also where somebody has removed the folder, which may be weeks old by then."""
    # The real one ends the process half a minute later: these very tests.
    timers = []
    monkeypatch.setattr(worker.threading, "Timer", lambda *given: timers.append(given) or SimpleNamespace(start=list))
    monkeypatch.delenv("YOLO_WORKER_RUNTIME", raising=False)
    assert worker.stopping() is False
    monkeypatch.setattr(worker.tempfile, "mkdtemp", lambda prefix: str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("YOLO_WORKER_RUNTIME", "")
    worker.prepare()
    assert worker.stopping() is False
    if tidied_up:
        shutil.rmtree(tmp_path / "run")
    worker.tell_tasks()
    assert worker.stopping() is True
    assert [what for _, what, _ in timers] == [os._exit]
    worker.clean()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("keywords", [None, {}, {"job": "/nowhere"}, {"step": "process-1"}])
def test_a_revoked_task_without_a_job(keywords):
    worker.cancel_revoked(request=SimpleNamespace(kwargs=keywords))
    worker.cancel_revoked(request=None)


def test_a_revoked_step_cancels_its_job(tmp_path):
    job = made.make_job(tmp_path, Settings(state_dir=tmp_path / "state"))
    worker.cancel_revoked(request=SimpleNamespace(kwargs={"job": str(job.folder)}))
    assert Job.open(job.folder).cancelled


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (AttributeError("'NoneType' object has no attribute 'client'"), "the connection to the broker broke"),
        (ConnectionError("refused"), "refused"),
    ],
)
def test_a_broker_that_breaks_off_at_the_end_of_a_step(tmp_path, monkeypatch, caplog, error, said):
    """The step does not fail, nor fill the log with a traceback: the look for lost messages sends it."""
    job = made.make_job(tmp_path, Settings(state_dir=tmp_path / "state"))
    monkeypatch.setattr(tasks, "publish", lambda *_, **__: (_ for _ in ()).throw(error))
    tasks.send(SimpleNamespace(app=None), job, "end")
    (record,) = caplog.records
    assert record.exc_info is None
    assert record.getMessage() == f"job {job.id}: end can't be put on its queue now, it is sent later: {said}"


def test_the_application_is_not_the_module():
    from orchestrator import app

    assert isinstance(app, Celery)
    module = importlib.import_module("orchestrator.application")
    assert module.app is app
    for name in ("orchestrator", "orchestrator.application", "orchestrator:app", "orchestrator.application:app"):
        assert find_app(name) is app, name
    importlib.import_module("orchestrator.application")
    assert orchestrator.app is app, "an import of the module does not put it there"


# -- tasks, called as functions ---------------------------------------------------------------------------------------


@pytest.fixture
def given(monkeypatch, tmp_path):
    """The settings that tasks read."""
    for name in [name for name in os.environ if name.startswith(("YOLO_", "CELERY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("YOLO_STATE_DIR", str(tmp_path / "state"))
    settings.cache_clear()
    yield settings()
    settings.cache_clear()


def test_the_end_of_a_job_that_is_under_way_is_not_recorded(tmp_path, given):
    job = made.make_job(tmp_path, given)
    arguments = (str(tmp_path / "videos"), job.config)
    made.start(job, 2)
    made.finish(job, 0)
    with pytest.raises(RequestError, match=f"Job {job.id} is under way"):
        tasks.log_end_yolo(*arguments)
    assert not job.ended
    made.finish(job, 1)
    end_log = tasks.log_end_yolo(*arguments)
    assert end_log["state"] == "completed"
    assert tasks.log_end_yolo(*arguments) == end_log


def test_the_end_of_no_job(tmp_path, given):
    (tmp_path / "videos").mkdir()
    with pytest.raises(RequestError, match="No job has processed"):
        tasks.log_end_yolo(str(tmp_path / "videos"), {"output_folder": str(tmp_path / "out")})


def test_a_message_of_a_job_that_has_ended(tmp_path, given):
    """It was cancelled before anybody had begun it: its videos are not even counted."""
    job = made.make_job(tmp_path, given)
    job.cancel("me")
    made.end(job, given)
    for task in (tasks.log_start_yolo, tasks.process_videos_yolo):
        with pytest.raises(Ignore):
            task(str(tmp_path / "videos"), job.config, job=str(job.folder))
    assert job.start_record() is None


@pytest.mark.parametrize("task", [tasks.log_start_yolo, tasks.process_videos_yolo, tasks.log_end_yolo])
@pytest.mark.parametrize("folder", ["/etc", "a\0b", "x" * 5000, 7, ["/"], {"a": 1}])
def test_a_message_that_names_no_job(given, task, folder):
    with pytest.raises(PathRefused if isinstance(folder, str) else RequestError):
        task("videos", {}, job=folder)


@pytest.mark.parametrize(("folder", "config"), [(None, None), (7, {}), ("/nowhere", {}), ("/", [1]), ("/", {"a": 1})])
def test_a_message_of_nonsense(given, folder, config):
    for task in (tasks.log_start_yolo, tasks.process_videos_yolo, tasks.log_end_yolo):
        with pytest.raises(RequestError):
            task(folder, config)


# -- logs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch):
    """The worker's logging: what it has written so far."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("celery.app.trace", "multiprocessing")}
    output = io.StringIO()

    def set_up(form: str, level: int | str | None = "info"):
        monkeypatch.setattr(sys, "stderr", output)
        monkeypatch.setenv("YOLO_LOG_FORMAT", form)
        root.handlers[:] = []
        set_up_worker_logging(level)
        return output.getvalue

    yield set_up
    root.handlers[:], root.level = before
    root.setLevel(before[1])
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


SECRETS = [
    "redis://:geheim@host:6379/0",
    "redis://user:geheim@host/0",
    "rediss://:ge/geheim@host/0",
    "redis://:ge@geheim@host/0",
    "redis://:ge:geheim#?@host/0",
    "rtsp://me:geheim@camera/stream?a=b@c",
    "two redis://:geheim@a/0 and amqp://x:geheim@b/1",
    "redis+socket://:geheim@/run/s.sock",
]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("text", SECRETS)
def test_passwords_are_hidden(told, form, text):
    written = told(form)
    log = logging.getLogger("test")
    log.info(text)
    log.warning("can't reach %s: %s", text, ValueError(text))
    try:
        raise ConnectionError(f"no answer from {text}") from ValueError(text)
    except ConnectionError:
        log.exception("it failed", extra={"url": text})
    assert "geheim" not in written()
    assert written().count("***@") >= 4
    if form == "json":
        lines = [json.loads(line) for line in written().splitlines()]
        assert [line["level"] for line in lines] == ["info", "warning", "error"]
        assert "ConnectionError" in lines[2]["exception"]


@pytest.mark.parametrize(
    "text", ["no URL at all", "me@host", "see https://example.org/x and write to me@host", "100% of a://b"]
)
def test_the_rest_stays(told, text):
    written = told("text")
    logging.getLogger("test").info("%s", text)
    assert text in written()


def test_a_log_call_that_is_wrong_harms_nobody(told, capsys):
    written = told("text")
    logging.raiseExceptions, before = False, logging.raiseExceptions
    try:
        logging.getLogger("test").info("%d %s", "x")
        logging.getLogger("test").info("://%d", "x")
    finally:
        logging.raiseExceptions = before
    logging.getLogger("test").info("after it")
    assert "after it" in written()


@pytest.mark.parametrize(("level", "shown"), [("debug", True), ("INFO", False), (None, False), (logging.DEBUG, True)])
def test_levels(told, level, shown):
    written = told("text", level)
    logging.getLogger("test").debug("a detail")
    assert ("a detail" in written()) is shown


def test_task_worker_and_job_are_in_each_line(told, monkeypatch):
    written = told("json")
    task = SimpleNamespace(request=SimpleNamespace(id="1234.process-1", hostname="w@here"))
    monkeypatch.setattr(logs, "current_task", lambda: task)
    logging.getLogger("test").info("within")
    logging.getLogger("test").info("of another job", extra={"job": "77"})
    first, second = map(json.loads, written().splitlines())
    assert (first["task"], first["worker"], first["job"]) == ("1234.process-1", "w@here", "1234")
    assert second["job"] == "77"


@pytest.mark.parametrize(("form", "formatter"), [("json", JsonLines), ("text", TextLines)])
def test_the_engine_logs_as_its_worker_does(told, form, formatter):
    told(form)
    handler = logging.getLogger().handlers[0]
    assert type(handler.formatter) is formatter
    assert isinstance(handler.formatter, JsonFormatter) is (form == "json")
    assert isinstance(handler.filters[0], TaskFields)
    assert supervise.logging_of_worker()[1] == form


def test_settings_are_read_once(monkeypatch, tmp_path):
    monkeypatch.setenv("YOLO_STATE_DIR", str(tmp_path))
    settings.cache_clear()
    try:
        assert settings().state_dir == tmp_path
        assert os.environ["YOLO_STATE_DIR"] == str(tmp_path)
    finally:
        settings.cache_clear()
