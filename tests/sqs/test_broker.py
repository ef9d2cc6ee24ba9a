"""Amazon SQS as the broker, on a server that speaks like it: queues, the view of them, and whole jobs."""

import json
import subprocess
import sys

import pytest

from orchestrator.broker import health, preflight, transport
from orchestrator.broker.board import Board
from orchestrator.broker.opened import open_broker
from orchestrator.broker.publish import publish
from orchestrator.broker.sqs_broker import SqsBroker
from orchestrator.broker.sqs_queues import SqsFailed, SqsQueues, held_here
from orchestrator.errors import PathRefused
from orchestrator.job.paths import broker_is_local, video_folder
from orchestrator.settings import Settings, celery_settings, settings
from tests.assets import ROOT
from tests.chaos import brokers
from tests.chaos.farm import Farm
from tests.orchestrator.servers import client_app
from tests.waiting import until


@pytest.fixture
def given(tmp_path, url) -> Settings:
    transport.install()
    return Settings(broker_url=url, state_dir=tmp_path / "state")


@pytest.fixture
def queues(url) -> SqsQueues:
    return SqsQueues(url)


# -- the queues -------------------------------------------------------------------------------------------------------


def test_the_lowest_level_first(queues):
    for level, text in ((6, b"c"), (0, b"a"), (9, b"d"), (4, b"b")):
        queues.put("yolo", level, text)
    assert queues.length("yolo") == 4
    taken = [queues.take("yolo") for _ in range(4)]
    assert [each.raw for each in taken] == [b"a", b"b", b"c", b"d"]
    assert (queues.take("yolo"), queues.length("yolo")) == (None, 0), "what is taken is hidden"
    queues.hide(taken[2].queue_url, taken[2].receipt, for_s=0)
    assert queues.take("yolo").raw == b"c", "what is given back is taken again"
    for each in (*taken, taken[0]):
        queues.done(each.queue_url, each.receipt)
    assert queues.length("yolo-log") == 0


def test_what_is_not_renewed_is_delivered_again(url):
    queues = SqsQueues(url, hidden_s=1)
    queues.put("yolo", 0, b"a")
    assert queues.take("yolo").raw == b"a"
    until(lambda: queues.take("yolo") is not None, 10)


def test_a_server_that_is_not_there_is_an_error_in_time(url):
    where = url.partition("@")[2].partition("/")[0]
    gone = url.replace(where, "127.0.0.1:9")
    with pytest.raises(SqsFailed, match="Could not connect"):
        SqsQueues(gone, timeout_s=0.5).length("yolo")
    what, remedy = preflight.explain(preflight.failure_of(gone), gone)
    assert what.startswith("SQS does not serve: Could not connect")
    assert "AWS_REGION" in remedy
    assert "S3cret" not in what + remedy


# -- the view ---------------------------------------------------------------------------------------------------------


def test_what_is_sent_waits_and_is_taken_away(given):
    with client_app(given, result_backend=None) as app, open_broker(given) as broker:
        assert isinstance(broker, SqsBroker)
        for level in (9, 6, 0, 3):
            app.send_task("process_videos_yolo", task_id=f"j{level}.process-1", queue="yolo", priority=level)
        names = ["yolo", "yolo-log"]
        assert broker.lengths(names) == {"yolo": 4, "yolo-log": 0}
        assert [each.job for each in broker.take_away(names)] == ["j0", "j3", "j6", "j9"]
        assert broker.lengths(names) == {"yolo": 0, "yolo-log": 0}


def test_a_worker_gets_what_passed_and_sets_the_rest_aside(given, monkeypatch, tmp_path):
    monkeypatch.setenv("CELERY_BROKER_URL", given.broker_url)
    monkeypatch.setenv("YOLO_STATE_DIR", str(given.state_dir))
    settings.cache_clear()
    queues = SqsQueues(given.broker_url)
    with client_app(given, result_backend=None) as app:
        queues.put("yolo", 0, b"{}")
        app.send_task("process_videos_yolo", args=("/v", {}), task_id="j.process-1", queue="yolo", kwargs={"job": "/o"})
        with app.connection_for_read() as connection:
            channel = connection.default_channel
            message = channel.basic_get("yolo")
            assert message.headers["id"] == "j.process-1"
            assert Board(given.board_folder).dead() == 1
            assert list(held_here) == [message.delivery_tag]
            with open_broker(given) as broker:
                broker.renew([message.delivery_tag, "gone"])
            message.reject(requeue=True)
            message = channel.basic_get("yolo")
            message.ack()
            assert (channel.basic_get("yolo"), held_here) == (None, {})
    settings.cache_clear()


def test_it_serves_us(given, tmp_path):
    assert preflight.failure_of(given.broker_url) is None
    found = health.check_health(
        given.broker_url, given.results_url, queues=["yolo"], model=None, output=tmp_path, given=given
    )
    checks = {check.name: check for check in found}
    assert checks["broker"].state == "ok"
    assert "S3cret" not in checks["broker"].detail
    assert checks["results"].state == "ok"


def test_aws_is_reached_by_others(given, tmp_path):
    assert broker_is_local(given.broker_url)
    assert not broker_is_local("sqs://")
    assert not broker_is_local("sqs://key:secret@/?region=eu-west-1")
    with pytest.raises(PathRefused, match="_ROOTS is not set"):
        video_folder(str(tmp_path), given.model_copy(update={"broker_url": "sqs://"}))


def test_celery_is_told_what_an_sqs_knows(given):
    told = celery_settings(given, "worker")
    assert told["worker_enable_remote_control"] is False
    assert told["result_backend"] == f"file://{given.board_folder}/results"
    assert json.dumps(told["task_queues"])


# -- jobs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def farm(tmp_path, monkeypatch):
    monkeypatch.setenv(brokers.ENVIRONMENT, "sqs")
    with Farm(tmp_path / "f") as farm:
        yield farm


@pytest.mark.timeout(300)
def test_a_killed_workers_job_is_done_by_another(farm):
    """Each message twice: the second one finds its step taken."""
    farm.clips(2, frames=60)
    job = farm.submit()
    publish(farm.app, job, "start")
    first = farm.worker(CHAOS_DELAY_S="0.1")
    farm.at_work(job)
    publish(farm.app, job, "process-1")
    farm.kill(first)
    worker = farm.worker()
    farm.wait(job)
    farm.judge(job, ok=2)
    until(lambda: farm.waiting("yolo") == farm.waiting("yolo-log") == 0, 60)
    assert farm.stop(worker) == 0
    assert (job.output / "manifest.json").is_file()
    assert "S3cret" not in farm.log.read_text()


def test_the_commands_work(farm):
    def submit(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "orchestrator.client.submit_cli", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)

    farm.clips(1, frames=20)
    job = farm.submit()
    assert f"yolo-log  {job.id}  start" in submit("--list-tasks").stdout
    told = submit("--health-check").stdout
    assert "broker" in told
    assert "SQS at sqs://" in told
    assert job.id in submit("--purge", "--yes").stdout
    assert farm.waiting("yolo-log") == 0
    assert submit("--status", job.id).returncode == 1, "cancelled"
