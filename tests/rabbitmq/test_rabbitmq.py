"""The view of a real RabbitMQ, and jobs on it: whole, killed, unacknowledged for too long, sent by any program."""

import contextlib
import json

import amqp
import celery
import pytest
from kombu import pools

from orchestrator.application import make_app
from orchestrator.broker import folder_results, health
from orchestrator.broker.amqp_broker import Address
from orchestrator.broker.opened import open_broker
from orchestrator.broker.preflight import explain, failure_of
from orchestrator.broker.publish import publish
from orchestrator.settings import celery_settings, settings
from tests.chaos.farm import CONFIG, Farm
from tests.orchestrator import handmade as made
from tests.waiting import until


class Node:
    """The node of all tests, for a farm that neither starts nor stops it."""

    def __init__(self, node):
        self.url = node.url

    def start(self):
        pass

    def stop(self):
        pass


@pytest.fixture
def farm(node, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.chaos.brokers.made", lambda folder: Node(node))
    with Farm(tmp_path / "farm") as made_farm:
        yield made_farm
    node.forget()


@contextlib.contextmanager
def client(given):
    folder_results.make_folder(given.results_url)
    app = celery.Celery("tiny", set_as_current=False)
    app.conf.update(celery_settings(given, "client"))
    pools.reset()  # their connections remember what they have declared
    with contextlib.closing(app):
        yield app
    pools.reset()


# -- the view ---------------------------------------------------------------------------------------------------------


def test_a_queue_that_nobody_has_declared_is_empty(given):
    with open_broker(given) as broker:
        assert broker.lengths(["yolo", "yolo-log"]) == {"yolo": 0, "yolo-log": 0}
        assert broker.take_away(["yolo"]) == []
        assert broker.name.startswith("RabbitMQ 3.") or broker.name.startswith("RabbitMQ 4.")


def test_messages_are_counted_served_by_level_and_taken_away(given, tmp_path):
    with client(given) as app, open_broker(given) as broker:
        for level in (9, 6, 0, 3):
            app.send_task("process_videos_yolo", task_id=f"j{level}.process-1", queue="yolo", priority=9 - level)
        until(lambda: broker.lengths(["yolo"])["yolo"] == 4)
        taken = broker.take_away(["yolo", "yolo-log"])
        assert [(message.job, message.step, message.level) for message in taken] == [
            (f"j{level}", "process-1", level) for level in (0, 3, 6, 9)
        ]
        assert broker.lengths(["yolo"]) == {"yolo": 0}


def test_what_waits_is_known_from_the_directories(given, tmp_path):
    job = made.make_job(tmp_path, given)
    with client(given) as app, open_broker(given) as broker:
        publish(app, job, "start")
        until(lambda: broker.waiting(["yolo-log"]))
        (message,) = broker.waiting(["yolo-log"])
        assert (message.job, message.step) == (job.id, "start")


def test_a_program_that_declared_a_queue_in_its_own_way_is_told_so(given):
    with contextlib.closing(Address.of(given.broker_url).connect(4.0)) as connection:
        connection.channel().queue_declare("yolo", durable=True, auto_delete=False)
    with client(given) as app, pytest.raises(amqp.PreconditionFailed) as raised:
        app.send_task("process_videos_yolo", queue="yolo")
    assert "delete_queue" in explain(raised.value, given.broker_url)[1]


@pytest.mark.parametrize(
    ("url", "what"),
    [
        ("amqp://guest:wrong@127.0.0.1:{port}//", "wrong user or password"),
        ("amqp://guest:guest@127.0.0.1:{port}/nowhere", "no such virtual host"),
        ("amqps://guest:guest@127.0.0.1:{port}//", "no TLS connection"),
    ],
)
def test_why_it_does_not_serve_us(node, url, what):
    failure = failure_of(url.format(port=node.port))
    assert failure is not None
    assert what in explain(failure, url)[0]


def test_one_whose_memory_is_full_is_told(node):
    node.control("set_vm_memory_high_watermark", "0.00001")
    try:
        until(lambda: (failure := failure_of(node.url)) and "takes no messages" in explain(failure, node.url)[0], 20)
    finally:
        node.control("set_vm_memory_high_watermark", "0.4")
    until(lambda: failure_of(node.url) is None, 20)


# -- jobs -------------------------------------------------------------------------------------------------------------


def test_any_program_sends_a_job_and_gets_its_result(farm, node):
    farm.clips(2, frames=30)
    farm.worker()
    program = celery.Celery("mine", broker=node.url, backend=make_app("client").conf.result_backend)
    config = {**CONFIG, "output_folder": str(farm.output)}
    with contextlib.closing(program):
        sent = program.send_task("complete_pipeline", args=(str(farm.videos), config))
        result = sent.get(timeout=90)
    assert result["success"], result
    assert result["pipeline_task_id"] == sent.id


def once_more_in_vain(node):
    """Returns when it has waited once more in vain for an acknowledgement."""
    before = node.timed_out()
    until(lambda: node.timed_out() > before, 60)


@pytest.mark.parametrize("kills", [0, 1])
def test_a_job_that_takes_longer_than_an_acknowledgement_may(farm, node, kills):
    """RabbitMQ gives its message to another worker after a few seconds, and workers are killed besides."""
    farm.clips(2, frames=400)
    job = farm.submit()
    workers = [farm.worker(), farm.worker()]
    for _ in range(kills):
        farm.at_work(job)
        once_more_in_vain(node)
        for worker in workers:  # also the one that works without a message by now
            farm.kill(worker)
        workers = [farm.worker(), farm.worker()]
    farm.wait(job)
    farm.judge(job, ok=2)
    assert node.timed_out()
    assert all(worker.poll() is None for worker in workers), farm.tail()
    until(lambda: farm.waiting("yolo") == 0, 30)


def test_what_is_no_message_of_ours_is_set_aside(farm, node):
    farm.clips(1, frames=10)
    farm.worker()
    until(lambda: farm.log.exists() and b"ready." in farm.log.read_bytes(), 40, farm.tail)
    headers = {"id": "x", "task": "log_start_yolo"}
    bad = [
        amqp.Message("garbage"),
        amqp.Message("[[], {}]", application_headers=headers, content_type="application/json"),
        amqp.Message(b"\x80\x04.", application_headers=headers, content_type="application/x-python-serialize"),
        amqp.Message(json.dumps([["x"], {}, {"chord": {}}]), application_headers=headers,
                     content_type="application/json", content_encoding="utf-8"),
    ]  # fmt: skip
    with contextlib.closing(Address.of(node.url).connect(4.0)) as connection:
        for message in bad:
            connection.channel().basic_publish(message, routing_key="yolo-log")
    with open_broker(settings()) as broker:
        until(lambda: broker.dead() == len(bad), 20, farm.tail)
    job = farm.submit()
    farm.wait(job)
    farm.judge(job, ok=1)


def test_the_health_check_sees_workers(farm, tmp_path):
    farm.worker()
    given = settings()

    def checks():
        found = health.check_health(
            given.broker_url, given.results_url, queues=["yolo"], model=None, output=tmp_path, given=given
        )
        return {check.name: check for check in found}

    until(lambda: checks()["queue yolo"].detail == "nothing waits, 1 worker", 40, farm.tail)
    assert checks()["workers"].state == "ok"
    assert checks()["results"].state == "ok"
