"""Celery divides a queue by priority: whoever looks at one sees all of its parts."""

import json
import os
import time
from types import SimpleNamespace

import pytest
from kombu.transport.redis import PRIORITY_STEPS, Channel

from orchestrator.broker import queues
from orchestrator.settings import Settings
from orchestrator.worker import keeper
from tests.orchestrator.servers import client_app

SERVED = ("yolo", "yolo-log")


@pytest.fixture
def server(valkey):
    valkey.client.flushall()
    yield valkey.client
    valkey.client.flushall()


@pytest.fixture
def given(valkey, tmp_path):
    return Settings(broker_url=valkey.url, state_dir=tmp_path / "state", deaf_s=0.001)


def worker(name: str) -> SimpleNamespace:
    """As much of Celery's worker as the keeper asks of it: one free slot, our queues."""
    consumer = SimpleNamespace(task_consumer=SimpleNamespace(queues=[SimpleNamespace(name=queue) for queue in SERVED]))
    pool = SimpleNamespace(num_processes=1)
    return SimpleNamespace(hostname=name, consumer=consumer, pool=pool, pool_cls=dict, app=None)


def test_the_parts_are_those_of_kombu():
    assert queues.parts_of("yolo") == tuple(
        "yolo" if step == 0 else f"yolo{Channel.sep}{step}" for step in PRIORITY_STEPS
    )


@pytest.mark.parametrize("priority", range(10))
def test_a_message_of_any_priority_is_found(server, given, priority):
    with client_app(given.broker_url) as app:
        app.send_task("log_start_yolo", args=("/v",), task_id="a", queue="yolo-log", priority=priority)
    assert queues.message_ids(server, given.known_queues) == {"a"}, "else it would be sent again"
    assert [message.id for message in queues.waiting(server, SERVED)] == ["a"]
    assert queues.lengths(server, SERVED) == {"yolo": 0, "yolo-log": 1}


@pytest.mark.parametrize("part", queues.parts_of("yolo"))
def test_a_worker_that_gets_none_of_the_waiting_messages_is_deaf(server, given, monkeypatch, part):
    thread = keeper.KeeperThread(worker("w@here"), given)
    begun = []
    monkeypatch.setattr(thread, "start_anew", lambda: begun.append(os.getpid()))
    monkeypatch.setattr(thread, "requeue", lambda: None)
    server.lpush(part, json.dumps({}))
    deadline = time.monotonic() + 20
    while not begun and time.monotonic() < deadline:
        thread.tick()
    assert begun, "messages wait, a slot is free, nothing arrives"
