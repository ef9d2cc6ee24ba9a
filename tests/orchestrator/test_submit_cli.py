"""`yolo-submit`: what it refuses, what it puts on the queue, what it says of jobs; with a broker and without."""

import base64
import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import click
import pytest

from engine.cli.run import run
from engine.config import EngineConfig
from engine.sinks.base import sole_writer
from orchestrator.client import commands_jobs, commands_submit, engine_options, submission, submit_cli
from orchestrator.job.atomic_json import write_quick
from orchestrator.job.jobdir import Job, now, who
from orchestrator.job.records import How
from orchestrator.job.registry import known_jobs, remember
from orchestrator.settings import settings
from tests.assets import ROOT
from tests.orchestrator import handmade as made
from tests.waiting import until

NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with a video, a configuration without a model, and no broker."""
    monkeypatch.chdir(tmp_path)
    for name in ("CELERY_RESULT_BACKEND", "YOLO_SETTINGS", "YOLO_VIDEO_ROOTS", "YOLO_OUTPUT_ROOTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CELERY_BROKER_URL", NOWHERE)
    monkeypatch.setenv("YOLO_JOBS_DIR", "")  # set by an option, and as before after the test
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("YOLO_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").touch()
    (tmp_path / "fake.json").write_text('{"backend": "fake"}')
    settings.cache_clear()
    yield tmp_path
    settings.cache_clear()


@pytest.fixture
def broker(valkey, monkeypatch):
    """A broker that is there, and empty."""
    monkeypatch.setenv("CELERY_BROKER_URL", valkey.url)
    settings.cache_clear()
    valkey.client.flushall()
    yield valkey.client
    valkey.client.flushall()


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a command line: exit status, standard output, standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["yolo-submit", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            submit_cli.main()
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


SUBMIT = ("--video-folder", "videos", "--config", "fake.json", "--output", "out")


def messages(client, queue):
    """What waits there, next one first: task, arguments, keywords, id."""
    found = []
    for raw in reversed(client.lrange(queue, 0, -1)):
        value = json.loads(raw)
        arguments, keywords, _ = json.loads(base64.b64decode(value["body"]))
        found.append((value["headers"]["task"], arguments, keywords, value["headers"]["id"]))
    return found


def send(client, queue, task_id, task="process_videos_yolo", *, eta=None, **keywords):
    """Puts a message there as Celery would."""
    body = base64.b64encode(json.dumps([["videos", {}], keywords, {}]).encode()).decode()
    headers = {"id": task_id, "task": task, "eta": eta}
    client.lpush(queue, json.dumps({"body": body, "headers": headers, "properties": {"body_encoding": "base64"}}))


# -- usage ------------------------------------------------------------------------------------------------------------


def test_help_loads_nothing_heavy():
    program = (
        "import sys, click.testing, orchestrator.client.submit_cli as cli\n"
        "result = click.testing.CliRunner().invoke(cli.submit, ['--help'])\n"
        "assert result.exit_code == 0 and '--video-folder' in result.output\n"
        "heavy = {'av', 'numpy', 'onnxruntime', 'celery', 'kombu', 'redis', 'pydantic', 'rich.live'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=20)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing option '--video-folder'"),
        (["--monitor"], "Missing option '--video-folder'"),
        (["--purge", "--cancel", "x"], "--cancel and --purge are two commands"),
        (["--status", "x", "--list-tasks"], "--status and --list-tasks are two commands"),
        (["--health-check", "--video-folder", "videos"], "--video-folder does not go with --health-check"),
        (["--list-tasks", "--monitor"], "--monitor does not go with --list-tasks"),
        (["--cancel", "x", "--yes"], "--yes does not go with --cancel"),
        (["--status", "x", "--no-resume"], "--resume/--no-resume does not go with --status"),
        ([*SUBMIT, "--yes"], "--yes does not go with a submit"),
        ([*SUBMIT, "--output", ""], "--output is empty"),
        ([*SUBMIT, "--config", ""], "--config is empty"),
        (["--prune", "--keep", "0", "--results", "--output", ""], "--output is empty"),
        ([*SUBMIT, "--task", "all"], "'all' is not one of"),
        ([*SUBMIT, "--workers", "0"], "in [1, 1000], or all. Got '0'"),
        ([*SUBMIT, "--workers", "-1"], "in [1, 1000], or all"),
        ([*SUBMIT, "--queue", "mine"], "--queue must be one of yolo, yolo-gpu, yolo-log, celery. Got mine"),
        ([*SUBMIT, "--embedded", "--task", "log_end"], "--embedded does not go with --task log_end"),
        ([*SUBMIT, "--task", "log_end", "--monitor"], "--monitor does not go with --task log_end"),
        ([*SUBMIT, "--task", "log_start", "--workers", "2"], "--workers does not go with --task log_start"),
        ([*SUBMIT, "--no-visualize", "--trail", "3"], "--trail does nothing here: it applies to annotated videos"),
        ([*SUBMIT, "--no-report", "--report-language", "es"], "--report-language does nothing here"),
        ([*SUBMIT, "--segment", "90s"], "No such option"),
        ([*SUBMIT, "--jobs-dir", "s3://lab/jobs"], "--jobs-dir is for jobs that write to object storage, and out is"),
        ([*SUBMIT, "--jobs-dir", "/srv/jobs"], "Setting jobs_dir: string should match pattern"),
        (["--purge", "--yes", "--jobs-dir", "s3://lab/jobs"], "--jobs-dir does not go with --purge"),
        (["--status", "../x"], "A job's id consists of"),
        (["--status", "x"], "No job x is known"),
        (["--cancel", "x"], "No job x is known"),
        (["--purge"], "Add --yes"),
    ],
)
def test_wrong_usage(call, arguments, said):
    code, out, err = call(*arguments, "--json")
    assert code == 2
    assert said in err
    value = json.loads(out)
    assert value["success"] is False
    assert said in value["error"]


def test_folder_mistakes(call, here):
    (here / "empty").mkdir()
    (here / "notes").mkdir()
    (here / "notes" / "a.txt").write_text("words")
    (here / "done").mkdir()
    (here / "done" / "out").mkdir()
    (here / "done" / "out" / "a.mp4").touch()
    for folder, said in (
        ("nowhere", "does not exist. See what is there: `ls "),
        ("vidoes", "does not exist. Did you mean videos?"),
        ("no/where/at/all", "does not exist. See what is there: `ls "),
        ("empty", "No video in empty: it is empty. Put some there, `cp /PATH/*.mp4 empty`"),
        ("notes", "No video in notes: 1 file, none of them a video"),
        ("done", "No video in done: it is empty"),
        ("", "must be a path. Got ''"),
        ("a\0b", "NUL"),
        ("x" * 300, "too long"),
        ("x" * 5000, "at most 4096 bytes"),
    ):
        code, out, err = call("--video-folder", folder, "--config", "fake.json", "--output", "done/out")
        assert (code, out) == (2, ""), folder
        assert said in err, folder
    assert not (here / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_folder(call, here):
    (here / "videos").chmod(0)
    try:
        code, _, err = call(*SUBMIT)
    finally:
        (here / "videos").chmod(0o755)
    assert code == 2
    assert "`chmod -R u+rX videos`" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"max_agee": 3}', "Unknown key 'max_agee' in the configuration. Did you mean max_age?"),
        ('{"max_age": -1}', "max_age must be at least 0. Got -1."),
        ("{", "is not JSON"),
        ("[1]", "must hold keys and values"),
        (None, "can't be read: no such file"),
    ],
)
def test_configuration_mistakes(call, here, text, said):
    if text is not None:
        (here / "bad.json").write_text(text)
    for command in (("--video-folder", "videos"), ("--health-check",)):
        code, _, err = call(*command, "--config", "bad.json")
        assert code == 2
        assert said in err


def test_outside_the_roots(call, broker, monkeypatch, here):
    monkeypatch.setenv("YOLO_VIDEO_ROOTS", str(here / "other"))
    settings.cache_clear()
    code, _, err = call(*SUBMIT)
    assert code == 2
    assert "is not below YOLO_VIDEO_ROOTS" in err
    assert broker.dbsize() == 0


# -- a broker that is away --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def black_hole():
    """A port that does not take connections any more: they wait."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"


@contextlib.contextmanager
def frozen(server):
    server.freeze()
    try:
        yield server.url
    finally:
        server.freeze(False)


def test_bounded_whatever_the_broker_does(call, here, fresh_valkey, monkeypatch):
    job = made.make_job(here, settings())
    commands = [
        (SUBMIT, 3),
        (("--purge", "--yes"), 3),
        (("--health-check", "--config", "fake.json"), 1),
        (("--list-tasks",), 0),
        (("--status", job.id), 0),
    ]
    for name, away, some in (
        ("refused", contextlib.nullcontext(NOWHERE), commands),
        ("stopped", frozen(fresh_valkey), commands[:1] + commands[-1:]),
        ("black hole", black_hole(), commands[:1]),
    ):
        with away as url:
            monkeypatch.setenv("CELERY_BROKER_URL", url)
            settings.cache_clear()
            for arguments, wanted in some:
                began = time.monotonic()
                code, out, err = call(*arguments, "--json")
                assert code == wanted, (name, arguments, err)
                assert time.monotonic() - began < 5, (name, arguments)
                value = json.loads(out)
                assert value["success"] is (wanted == 0)
                if arguments[0] in ("--list-tasks", "--status"):
                    assert value["broker"], (name, arguments)
    assert [path.name for path in (here / "out" / ".yolo-jobs").iterdir()] == [job.id]


def test_cancel_needs_no_broker(call, here):
    job = made.make_job(here, settings())
    code, out, err = call("--cancel", job.id)
    assert code == 0
    assert "is cancelled. It had not been started." in out
    assert "The broker does not answer" in err
    assert job.end_record().state == "cancelled"
    code, out, _ = call("--cancel", job.id, "--json")
    value = json.loads(out)
    assert (code, value["already_ended"], value["state"]) == (0, True, "cancelled")


def test_a_job_that_could_not_be_sent_is_cancelled(call, here, monkeypatch):
    monkeypatch.setattr(submission, "preflight_both", lambda given: None)
    code, _, err = call(*SUBMIT)
    assert code == 3
    assert "was not sent and is recorded as cancelled" in err
    (folder,) = (here / "out" / ".yolo-jobs").iterdir()
    assert json.loads((folder / "end.json").read_text())["state"] == "cancelled"


def test_the_result_store_is_asked_as_well(call, broker, monkeypatch, here):
    monkeypatch.setenv("CELERY_RESULT_BACKEND", NOWHERE)
    settings.cache_clear()
    code, _, err = call(*SUBMIT)
    assert code == 3
    assert "export CELERY_RESULT_BACKEND=" in err
    assert not (here / "out").exists()


# -- submit -----------------------------------------------------------------------------------------------------------


def test_submit(call, broker, here):
    made.heartbeat(broker, "one")
    code, out, err = call(*SUBMIT)
    assert (code, err) == (0, "")
    (folder,) = (here / "out" / ".yolo-jobs").iterdir()
    assert f"Job {folder.name} is on queue yolo." in out
    assert f"yolo-submit --status {folder.name} --monitor" in out
    assert f"yolo-submit --cancel {folder.name}" in out
    ((task, arguments, keywords, task_id),) = messages(broker, "yolo-log")
    assert (task, task_id) == ("log_start_yolo", f"{folder.name}.start")
    assert arguments == ["videos", {"backend": "fake", "output_folder": str(here / "out")}]
    assert keywords == {"job": str(folder)}
    assert broker.hgetall("yolo:jobs") == {folder.name: str(folder)}


def test_submit_as_json(call, broker):
    made.heartbeat(broker, "one", concurrency=2)
    code, out, _ = call(*SUBMIT, "--workers", "all", "--json")
    value = json.loads(out)
    assert code == 0
    assert value["success"] is True
    assert (value["state"], value["queue"], value["workers"], value["workers_alive"]) == ("queued", "yolo", 2, 1)
    assert value["waits_for"] is None


@pytest.mark.parametrize(
    ("config", "options", "told"),
    [
        ({"visualize": False}, [], True),
        ({"visualize": False}, ["--json"], False),
        ({"model": "street-nano"}, [], False),
        ({"model": "yolox-nano"}, [], False),
    ],
)
def test_who_named_no_model_is_told_which_one_runs(call, broker, here, config, options, told):
    made.heartbeat(broker, "one")
    (here / "given.json").write_text(json.dumps(config))
    code, _, err = call("--video-folder", "videos", "--config", "given.json", "--output", "out", *options)
    assert code == 0
    line = (
        "Model: street-nano (bundled, 6 classes: people and vehicles). For better results and 80 classes: "
        "`yolo-engine models pull yolox-s`, then --model yolox-s.\n"
    )
    assert err == (line if told else "")


@pytest.mark.parametrize(
    ("beats", "workers"),
    [
        ([], 1),
        ([("one", ["yolo"], 2), ("two", ["yolo", "yolo-log"], 3), ("three", ["yolo-log"], 5)], 5),
        ([("one", ["yolo-gpu"], 4)], 1),
    ],
    ids=["nobody", "those that serve the queue", "none of them"],
)
def test_all_workers(call, broker, here, beats, workers):
    for node, queues, concurrency in beats:
        made.heartbeat(broker, node, queues=queues, concurrency=concurrency)
    _, out, _ = call(*SUBMIT, "--workers", "all", "--json")
    assert json.loads(out)["workers"] == workers


def test_no_worker_is_a_warning(call, broker):
    made.heartbeat(broker, "dead", who=made.dead_owner())
    code, _, err = call(*SUBMIT)
    assert code == 0
    assert "Warning: No worker is alive for queue yolo. Start one: `yolo-server --worker`." in err


@pytest.mark.parametrize(
    ("options", "queue", "tasks"),
    [
        ([], "yolo-log", ["start"]),
        (["--task", "log_start"], "yolo-log", ["start"]),
        (["--task", "process_videos"], "yolo", ["process-1"]),
        (["--task", "process_videos", "--workers", "2"], "yolo", ["process-1", "process-2"]),
        (["--task", "process_videos", "--queue", "yolo-gpu"], "yolo-gpu", ["process-1"]),
    ],
)
def test_what_each_task_puts_where(call, broker, options, queue, tasks):
    assert call(*SUBMIT, *options)[0] == 0
    assert [task_id.partition(".")[2] for _, _, _, task_id in messages(broker, queue)] == tasks
    assert sum(broker.llen(name) for name in ("yolo", "yolo-gpu", "yolo-log")) == len(tasks)


def test_resume_is_a_key_of_the_configuration(call, broker, monkeypatch):
    seen, check = [], submission.check
    monkeypatch.setattr(
        submission, "check", lambda request, given: seen.append(request.config) or check(request, given)
    )
    monkeypatch.setattr(commands_submit, "submit", lambda *_: 0)
    for options in ([], ["--resume"], ["--no-resume"]):
        call(*SUBMIT, *options)
    assert [config.get("resume") for config in seen] == [None, True, False]


def test_a_job_that_is_there_first(call, broker, here):
    first = made.make_job(here, settings())
    code, out, err = call(*SUBMIT, "--json")
    assert code == 0
    assert f"Warning: Job {first.id} writes to" in err
    assert json.loads(out)["waits_for"] == first.id
    assert call(*SUBMIT[:-1], "elsewhere", "--json")[2].count("writes to") == 0


def test_monitor_until_the_end(call, broker, here):
    """Somebody else does the job meanwhile."""

    def work():
        until(lambda: broker.llen("yolo-log"))
        broker.delete("yolo-log")
        job = next(job for job in known_jobs(settings()) if not job.ended)
        made.start(job, 2)
        made.finish(job, 0)
        made.finish(job, 1, "failed", "no moov atom")
        made.end(job, settings())

    made.heartbeat(broker, "one")
    for as_json in (False, True):
        worker = threading.Thread(target=work)
        worker.start()
        code, out, _ = call(*SUBMIT, "--monitor", *(["--json"] if as_json else []))
        worker.join()
        assert code == 1
        if as_json:
            value = json.loads(out)
            assert (value["success"], value["state"]) == (False, "failed")
            assert len(value["processing_result"]["videos"]) == 2
        else:
            assert "no moov atom" in out
            assert "The job failed: " in out
            assert str(here / "out" / "manifest.json") in out
            assert "celery_result_" in out
        shutil.rmtree(here / "out")


def test_ctrl_c_leaves_the_job_alone(here, valkey, broker):
    environment = {**os.environ, "CELERY_BROKER_URL": valkey.url, "PYTHONPATH": str(ROOT)}
    made.heartbeat(broker, "one")
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.client.submit_cli", *SUBMIT, "--monitor"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    first = [process.stderr.readline(), process.stderr.readline()]
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=20)[1]
    assert "queued" in first[1]
    assert process.returncode == 130
    assert "The job continues. Watch it again: `yolo-submit --status" in rest
    (folder,) = (here / "out" / ".yolo-jobs").iterdir()
    assert not (folder / "cancel.json").exists()


# -- log_end ----------------------------------------------------------------------------------------------------------


def answer(client, status, result):
    """A worker that answers the next message."""

    def run():
        _, raw = client.brpop("yolo-log", timeout=2)
        task_id = json.loads(raw)["headers"]["id"]
        client.set(f"celery-task-meta-{task_id}", json.dumps({"task_id": task_id, "status": status, "result": result}))

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("status", "result", "code"),
    [
        ("SUCCESS", {"state": "completed", "videos": 3}, 0),
        ("SUCCESS", {"state": "failed", "videos": 3}, 1),
        ("FAILURE", {"exc_type": "RequestError", "exc_message": ["No job"], "exc_module": "orchestrator.errors"}, 1),
    ],
)
def test_log_end(call, broker, here, status, result, code):
    made.heartbeat(broker, "one")
    worker = answer(broker, status, result)
    got, out, err = call(*SUBMIT, "--task", "log_end", "--json")
    worker.join()
    assert got == code
    value = json.loads(out)
    if status == "SUCCESS":
        assert value == {"success": code == 0, "end_log": result}
    else:
        assert "No job" in err
    assert not (here / "out").exists()


def test_log_end_without_a_worker(call, broker, monkeypatch):
    monkeypatch.setattr(commands_submit, "NO_WORKER_S", 0.2)
    code, _, err = call(*SUBMIT, "--task", "log_end")
    assert code == 1
    assert "No worker is alive for queue yolo-log" in err


# -- status and cancel ------------------------------------------------------------------------------------------------


def test_status(call, here):
    job = made.make_job(here, settings())
    made.start(job, 3, warnings=["little room"])
    made.finish(job, 0)
    made.finish(job, 1, "failed", "no moov atom")
    code, out, err = call("--status", job.id)
    assert code == 0
    for said in (job.id, "waiting", "1 of 3 videos done, 1 failed, 1 left", "little room", "no moov atom", "queued"):
        assert said in out
    assert "The broker does not answer" in err
    made.end(job, settings())
    code, out, err = call("--status", job.id, "--json")
    value = json.loads(out)
    assert (code, value["state"], value["broker"], err) == (1, "failed", None, "")
    assert [video["status"] for video in value["videos"]] == ["ok", "failed", "not begun"]


def test_status_of_a_job_of_another_machine(call, here, monkeypatch):
    job = made.make_job(here, settings())
    monkeypatch.setenv("YOLO_STATE_DIR", str(here / "another"))
    settings.cache_clear()
    assert call("--status", job.id)[0] == 2
    assert call("--status", job.id, "--output", "out")[0] == 0


def test_attach_to_an_ended_job(call, here, monkeypatch):
    monkeypatch.setattr(commands_jobs, "RESULTS_S", 0.1)
    job = made.make_job(here, settings())
    made.start(job, 1)
    made.finish(job, 0)
    made.end(job, settings())
    (here / "out" / f"celery_result_{job.id}.json").unlink()
    code, out, _ = call("--status", job.id, "--monitor")
    assert code == 0
    assert "The job completed successfully\n" in out
    assert (here / "out" / f"celery_result_{job.id}.json").exists()


@pytest.mark.parametrize(
    ("locale", "line"),
    [("en_GB.UTF-8", "The job failed: {video}: why"), ("es_MX.UTF-8", "Pipeline terminado con errores: {video}: why")],
)
def test_how_a_job_ended_is_said_in_the_users_language(call, here, monkeypatch, locale, line):
    monkeypatch.setenv("LC_ALL", locale)
    job = made.make_job(here, settings())
    made.start(job, 2)
    made.finish(job, 0)
    made.finish(job, 1, "failed", "why")
    made.end(job, settings())
    assert line.format(video=f"{job.spec.inputs[0]}/v1.mp4") in call("--status", job.id, "--monitor")[1]
    assert json.loads(call("--status", job.id, "--json")[1])["error"].startswith("Pipeline terminado con errores")


def test_attach_to_log_start(call, here):
    job = made.make_job(here, settings(), task="log_start")
    made.start(job, 2)
    code, out, _ = call("--status", job.id, "--monitor")
    assert code == 0
    assert "2 videos, 200 frames, 0:00:08 long" in out


@pytest.mark.parametrize("obeys", [True, False])
def test_cancel_a_job_at_work(call, here, monkeypatch, obeys):
    monkeypatch.setattr(commands_jobs, "CANCEL_S", 2.0)
    job = made.make_job(here, settings())
    made.start(job, 2)
    step = made.hold(job, job.task_base("process-1"))
    said, say = [], commands_jobs.say
    monkeypatch.setattr(commands_jobs, "say", lambda text, **how: (said.append(text), say(text, **how)))

    def work():
        until(lambda: job.cancelled and said)
        made.finish(job, 0, "partial", "cancelled after 100 frames")
        if obeys:
            step.release("cancelled")

    worker = threading.Thread(target=work)
    worker.start()
    code, out, err = call("--cancel", job.id)
    worker.join()
    assert "cancelling" in err
    if obeys:
        assert code == 0
        assert "is cancelled: 0 of 2 videos done, 1 partial, 1 not begun" in out
        assert f"kept in {here / 'out'}, as valid .partial files" in out
    else:
        assert code == 1
        assert "is still cancelling" in out
    assert json.loads((job.folder / "cancel.json").read_text())["by"] == who()


# -- list-tasks -------------------------------------------------------------------------------------------------------


def test_list_tasks(call, broker, here):
    job = made.make_job(here, settings())
    made.start(job, 2)
    made.finish(job, 0)
    made.heartbeat(broker, "one", tasks=[f"{job.id}.process-1.again-2"])
    made.heartbeat(broker, "dead", tasks=["gone.start"], who=made.dead_owner())
    write_quick(job.folder / "tasks" / "process-2.sent.json", {"at": now()})
    send(broker, "yolo", f"{job.id}.process-2", job=str(job.folder))
    send(broker, "yolo-log", "stranger", task="complete_pipeline")
    send(broker, "yolo-log", "later", task="log_start_yolo", eta="2099-01-01T00:00:00+00:00")
    broker.lpush("yolo", "not one of ours")
    code, out, _ = call("--list-tasks", "--json")
    value = json.loads(out)
    assert code == 0
    assert [(entry["worker"], entry["job"], entry["step"]) for entry in value["active"]] == [
        ("one", job.id, "process-1")
    ]
    rows = [(entry["queue"], entry["job"], entry["step"]) for entry in value["reserved"]]
    assert rows == [
        ("yolo", job.id, "process-2"),
        ("yolo", "", "unknown"),
        ("yolo-log", "stranger", "complete_pipeline"),
    ]
    assert value["reserved"][0]["age_s"] < 10
    assert [entry["eta"] for entry in value["scheduled"]] == ["2099-01-01T00:00:00+00:00"]
    assert [(entry["id"], entry["state"]) for entry in value["recent"]] == [(job.id, "waiting")]
    code, out, _ = call("--list-tasks")
    assert code == 0
    for said in ("active", "reserved", "scheduled", "recent", job.id, "1/2", "stranger"):
        assert said in out


def test_newest_jobs_first(call, here):
    for number in range(3):
        job = made.make_job(here, settings(), output=f"out{number}")
        spec = {**job.spec.to_json(), "created_at": f"2024-01-0{number + 1}T00:00:00+00:00"}
        (job.folder / "job.json").write_text(json.dumps(spec))
        remember(Job.open(job.folder), settings())
    _, out, _ = call("--list-tasks", "--json")
    ages = [entry["created_at"][:10] for entry in json.loads(out)["recent"]]
    assert ages == ["2024-01-03", "2024-01-02", "2024-01-01"]


# -- purge ------------------------------------------------------------------------------------------------------------


def test_purge(call, broker, here):
    idle = made.make_job(here, settings(), output="idle")
    busy = made.make_job(here, settings(), output="busy")
    made.start(busy, 2)
    made.hold(busy, busy.task_base("process-1"))
    ended = made.make_job(here, settings(), output="ended")
    made.end(ended, settings())
    send(broker, "yolo-log", f"{idle.id}.start", "log_start_yolo", job=str(idle.folder))
    send(broker, "yolo", f"{busy.id}.process-2", job=str(busy.folder))
    send(broker, "yolo", f"{ended.id}.process-1", job=str(ended.folder))
    send(broker, "yolo", "0000.process-1", job="/nowhere/.yolo-jobs/0000")
    send(broker, "another", "1111.start", "theirs")
    made.heartbeat(broker, "one")
    broker.hset("yolo:jobs", idle.id, str(idle.folder))
    code, out, _ = call("--purge", "--yes", "--json")
    value = json.loads(out)
    assert code == 0
    assert value["removed"] == 4
    assert value["queues"] == {"yolo": 3, "yolo-gpu": 0, "yolo-log": 1, "celery": 0}
    assert (value["cancelled"], value["at_work"], value["elsewhere"]) == ([idle.id], [busy.id], ["0000"])
    assert idle.end_record().state == "cancelled"
    assert not busy.cancelled
    assert broker.llen("another") == 1
    assert broker.exists("yolo:worker:one")
    assert broker.hgetall("yolo:jobs") == {}
    code, out, _ = call("--purge", "--yes")
    assert (code, out) == (0, "Messages removed: 0.\n")


@pytest.mark.parametrize(("said", "code", "left"), [("y\n", 0, 0), ("n\n", 130, 1), ("\n", 130, 1)])
def test_purge_asks(call, broker, here, monkeypatch, said, code, left):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    job = made.make_job(here, settings())
    send(broker, "yolo-log", f"{job.id}.start", "log_start_yolo", job=str(job.folder))
    monkeypatch.setattr(sys, "stdin", Terminal(said))
    got, _, err = call("--purge")
    assert got == code
    assert f"Waiting messages: 1, of {job.id}" in err
    assert broker.llen("yolo-log") == left
    assert job.ended is (left == 0)


# -- prune ------------------------------------------------------------------------------------------------------------


def ended_job(here, output, days, *videos):
    """A job that ended so many days ago, with an output file for each of these videos."""
    job = made.make_job(here, settings(), output=output)
    made.start(job, len(videos))
    for index, name in enumerate(videos):
        (job.output / name).write_bytes(b"x" * 1000)
        made.finish(job, index)
        path = job.done_path(index)
        value = json.loads(path.read_text())
        value["entry"]["outputs"] = {"tracks": str(job.output / name)}
        path.write_text(json.dumps(value))
    made.end(job, settings())
    end = json.loads((job.folder / "end.json").read_text())
    end["ended_at"] = (datetime.now(UTC) - timedelta(days=days)).isoformat(timespec="milliseconds")
    (job.folder / "end.json").write_text(json.dumps(end))
    return job


def pruned(call, *options):
    code, out, err = call("--prune", "--yes", "--json", *options)
    assert code == 0, err
    value = json.loads(out)
    return [each["id"] for each in value["removed"]], value["spared"]


def test_prune_by_age_and_by_number(call, here):
    old, older, new = (ended_job(here, "out", days) for days in (40, 50, 1))
    open_one = made.make_job(here, settings(), output="out")
    assert pruned(call, "--older-than", "30d", "--keep", "2", "--dry-run") == ([older.id], {})
    assert older.folder.exists()
    assert pruned(call, "--older-than", "30d", "--keep", "2") == ([older.id], {})
    assert not older.folder.exists()
    assert not (older.output / f"celery_result_{older.id}.json").exists()
    assert (old.output / f"celery_result_{old.id}.json").exists()
    assert pruned(call, "--keep", "0", "--older-than", "8w") == ([], {})
    assert sorted(pruned(call, "--keep", "0")[0]) == sorted([old.id, new.id])
    assert open_one.folder.exists(), "never one that has not ended"
    assert [job.id for job in known_jobs(settings())] == [open_one.id]
    assert (here / "out" / "manifest.json").exists(), "results stay unless asked for"


def test_prune_of_another_output_folder(call, here):
    job = ended_job(here, "elsewhere", 3)
    shutil.rmtree(here / "state")
    assert pruned(call, "--keep", "0") == ([], {})
    assert pruned(call, "--keep", "0", "--output", "elsewhere") == ([job.id], {})


def test_prune_of_results_spares_those_of_others(call, here):
    first = ended_job(here, "out", 10, "a.tracks.jsonl", "b.tracks.jsonl")
    second = ended_job(here, "out", 5, "b.tracks.jsonl", "c.tracks.jsonl")
    (here / "out" / "mine.txt").touch()
    assert pruned(call, "--older-than", "7d", "--results") == ([first.id], {})
    left = {path.name for path in (here / "out").iterdir() if not path.name.startswith(".")}
    assert left == {"b.tracks.jsonl", "c.tracks.jsonl", "mine.txt", "manifest.json", f"celery_result_{second.id}.json"}
    assert pruned(call, "--keep", "0", "--results") == ([second.id], {})
    assert [path.name for path in (here / "out").iterdir() if not path.name.startswith(".")] == ["mine.txt"]


def test_prune_follows_no_link_and_leaves_the_folder_for_nothing(call, here):
    job = ended_job(here, "out", 10, "a.tracks.jsonl")
    (here / "precious").mkdir()
    (here / "precious" / "a").write_text("mine")
    manifest = json.loads((job.folder / "manifest.json").read_text())
    manifest["files"] = {"../precious/a": {}, "link/a": {}, "/etc/passwd": {}}
    (job.folder / "manifest.json").write_text(json.dumps(manifest))
    (here / "out" / "link").symlink_to(here / "precious")
    _, spared = pruned(call, "--keep", "0", "--results")
    assert "symbolic link" in spared[job.id]
    assert (here / "precious" / "a").read_text() == "mine"


def test_prune_spares_what_is_still_written(call, here):
    at_work, unwritten, beside = (ended_job(here, name, 10) for name in ("one", "two", "three"))
    made.hold(at_work, at_work.task_base("process-1"))
    (unwritten.folder / "manifest.json").unlink()
    other = made.make_job(here, settings(), output="three")
    removed, spared = pruned(call, "--keep", "0", "--results")
    assert removed == []
    assert spared == {
        at_work.id: "a worker is processing it",
        unwritten.id: "its results are still being written",
        beside.id: f"job {other.id}, which has not ended, writes to the same folder",
    }
    run_of_its_own = ended_job(here, "four", 10)
    with sole_writer(run_of_its_own.output):
        assert "Another run is writing to" in pruned(call, "--keep", "0")[1][run_of_its_own.id]
    assert run_of_its_own.folder.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prune", "--yes"], "--prune needs to know which jobs: --older-than 30d, --keep 20, or both."),
        (["--prune", "--keep", "3"], "Add --yes to prune without asking, or --dry-run."),
        (["--prune", "--older-than", "30"], "it must be a duration such as 12h, 30d or 8w. Got '30'."),
        (["--prune", "--keep", "1", "--purge"], "--purge and --prune are two commands"),
    ],
)
def test_what_prune_refuses(call, arguments, said):
    code, _, err = call(*arguments)
    assert (code, said in err) == (2, True), err


# -- follow -----------------------------------------------------------------------------------------------------------


class Followed:
    """`yolo-submit --follow` in a process of its own, and the lines that it has printed so far."""

    def __init__(self, *arguments):
        command = [sys.executable, "-m", "orchestrator.client.submit_cli", "--follow", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.lines, self.errors = [], []
        self._threads = [
            threading.Thread(target=lambda: self.lines.extend(map(json.loads, self.process.stdout)), daemon=True),
            threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def events(self):
        return [line["event"] for line in self.lines]

    def end(self):
        status = self.process.wait(30)
        for thread in self._threads:
            thread.join(10)
        self.process.stdout.close()
        self.process.stderr.close()
        return status


def test_follow_to_the_end_over_a_directory_that_is_away_for_a_while(here):
    job = made.make_job(here, settings())
    followed = Followed(job.id[:8])
    try:
        until(lambda: "created" in followed.events, 30, lambda: followed.errors)
        made.start(job, 1)
        job.note("started", worker="one", videos=1)
        until(lambda: "started" in followed.events, 10)
        away = job.output.rename(here / "away")
        until(lambda: any("Waiting for it." in line for line in followed.errors), 10)
        away.rename(job.output)
        until(lambda: any("is back." in line for line in followed.errors), 10)
        made.finish(job, 0)
        made.end(job, settings())
        assert followed.end() == 0
    finally:
        followed.process.kill()
    assert followed.events == ["created", "started", "ended"]
    assert [line["n"] for line in followed.lines] == [1, 2, 3]
    assert all(line["job"] == job.id and line["at"] for line in followed.lines)
    assert followed.lines[1]["videos"] == 1


def test_follow_goes_on_behind_what_was_seen(call, here):
    job = made.make_job(here, settings())
    made.start(job, 1)
    job.note("started")
    with open(job.folder / "events.jsonl", "ab") as file:
        file.write(b"cut sho\n")
    job.cancel("me")
    made.end(job, settings())
    code, out, _ = call("--follow", job.id, "--after", "1")
    assert code == 1, "it was cancelled"
    found = [json.loads(line) for line in out.splitlines()]
    assert [(line["n"], line["event"]) for line in found] == [(2, "started"), (4, "cancel asked for"), (5, "ended")]
    assert found[-1]["state"] == "cancelled"


def test_follow_tells_an_end_that_nobody_could_note(call, here):
    job = made.make_job(here, settings())
    made.start(job, 1)
    made.finish(job, 0)
    made.end(job, settings())
    path = job.folder / "events.jsonl"
    path.write_bytes(b"".join(line for line in path.read_bytes().splitlines(True) if b'"ended"' not in line))
    code, out, _ = call("--follow", job.id)
    last = json.loads(out.splitlines()[-1])
    assert (code, last["event"], last["state"]) == (0, "ended", "completed")


# -- what it cost -----------------------------------------------------------------------------------------------------


def test_what_a_job_cost(call, here):
    job = made.make_job(here, settings(), workers=2)
    made.start(job, 2)
    made.hold(job, job.task_base("process-1")).release(How.HANDED_BACK, cpu_s=4.0)
    made.hold(job, job.task_base("process-1")).release(How.EXHAUSTED, cpu_s=2.0)
    made.hold(job, job.task_base("process-2"))
    made.finish(job, 0)
    made.tell(job, (1, 50), key="process-2", cpu_s=3.5)
    _, out, _ = call("--status", job.id, "--json")
    value = json.loads(out)
    assert (value["cpu_s"], value["cpu_s_per_hour"]) == (9.5, 9.5 / (4.0 + 2.0) * 3600)
    _, out, _ = call("--status", job.id)
    assert "cost     10 CPU seconds, 5,700 per hour of video" in out
    made.finish(job, 1)
    totals = made.end(job, settings())["processing_result"]["totals"]
    assert (totals["cpu_s"], totals["cpu_s_per_hour"]) == (9.5, 4275.0)
    assert json.loads((job.output / "manifest.json").read_text())["totals"] == totals


# -- the engine's options ---------------------------------------------------------------------------------------------


def test_the_options_of_a_run_are_those_of_a_job(call, broker, here):
    (here / "mine.onnx").write_bytes(b"x")
    (here / "given.json").write_text('{"backend": "fake", "conf": 0.1, "max_age": 3}')
    options = ["--config", "given.json", "--model", "mine.onnx", "--classes", "person,car", "--no-visualize"]
    options += ["--conf", "0.5", "--skip-frames", "2", "--formats", "tracks"]
    code, out, err = call("--video-folder", "videos", "--output", "out", *options, "--json")
    assert code == 0, err
    config = Job.open(here / "out" / ".yolo-jobs" / json.loads(out)["id"]).config
    assert config == {
        "backend": "fake",
        "conf": 0.5,
        "max_age": 3,
        "model": str(here / "mine.onnx"),
        "classes": ["person", "car"],
        "visualize": False,
        "skip_frames": 2,
        "formats": ["tracks"],
        "output_folder": str(here / "out"),
    }
    code, _, err = call("--video-folder", "videos", "--conf", "7")
    assert code == 2
    assert "conf" in err
    code, _, err = call("--status", "x", "--model", "yolox-s")
    assert code == 2
    assert "--model does not go with --status" in err


def test_there_is_one_list_of_the_engine_s_options():
    """All that `yolo-engine run` takes is taken here too, as it is there, or is named as one that is not."""
    here_too = {param.name: param for param in submit_cli.submit.params}
    for param in run.params:
        if isinstance(param, click.Option) and param.name not in engine_options.OTHERS:
            assert here_too[param.name] is param
    assert set(EngineConfig.model_fields) >= engine_options.NAMES


# -- health-check -----------------------------------------------------------------------------------------------------


def test_health_check(call, broker):
    code, out, _ = call("--health-check", "--config", "fake.json", "--json")
    value = json.loads(out)
    assert code == 1
    assert {check["name"]: check["state"] for check in value["checks"]}["workers"] == "failed"
    made.heartbeat(broker, "one")
    code, out, _ = call("--health-check", "--config", "fake.json")
    assert code == 0
    for said in ("broker", "1 alive: one", "queue yolo ", "queue yolo-log"):
        assert said in out
    assert "yolo-gpu" not in out
    code, out, _ = call("--health-check", "--config", "fake.json", "--queue", "yolo-gpu")
    assert "yolo-server --worker --queues yolo-gpu" in out
