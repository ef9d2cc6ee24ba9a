"""Our transport on a real server, without a worker: what it lets through, what it sets aside, what it raises."""

import json
import socket

import kombu
import pytest

from orchestrator.broker import keys, transport
from orchestrator.broker.transport import Transport
from orchestrator.settings import settings
from tests.orchestrator.hostile import message


@pytest.fixture
def connection(valkey, monkeypatch):
    monkeypatch.setenv("CELERY_BROKER_URL", valkey.url)
    settings.cache_clear()
    valkey.client.flushall()
    transport.install()
    with kombu.Connection(valkey.url) as made:
        assert isinstance(made.transport, Transport)
        yield made
    valkey.client.flushall()
    settings.cache_clear()


def take(connection, queue, on_message):
    """What one message of a queue comes to."""
    with connection.Consumer([kombu.Queue(queue, queue, queue)], on_message=on_message):
        connection.drain_events(timeout=1)


def test_a_message_arrives_and_is_acknowledged(connection, valkey):
    valkey.client.lpush("yolo", json.dumps(message("/v")))
    took = []
    take(connection, "yolo", lambda one: (took.append(one.payload), one.ack()))
    assert took[0][0] == ["/v"]
    assert valkey.client.hlen("unacked") == 0
    assert not valkey.client.exists(keys.DEAD)


def test_what_ends_celery_s_handling_is_set_aside(connection, valkey):
    """Whatever the form lets through, one message ends no worker, and does not come back."""
    valkey.client.lpush("yolo", json.dumps(message("/v")))
    take(connection, "yolo", lambda one: [][1])
    assert json.loads(valkey.client.lindex(keys.DEAD, 0))["why"] == "IndexError: list index out of range"
    assert (valkey.client.hlen("unacked"), valkey.client.zcard("unacked_index"), valkey.client.llen("yolo")) == (
        0,
        0,
        0,
    )


def test_a_broker_that_is_away_is_none_of_the_message_s_fault(connection, valkey):
    valkey.client.lpush("yolo", json.dumps(message("/v")))

    def away(one):
        raise ConnectionResetError("away")

    with pytest.raises(ConnectionResetError):
        take(connection, "yolo", away)
    assert not valkey.client.exists(keys.DEAD)


def test_a_message_that_is_given_back_comes_again_and_to_the_same_queue(connection, valkey):
    sent = message("/v")
    sent["properties"]["delivery_info"] = {"exchange": "elsewhere", "routing_key": "elsewhere"}
    valkey.client.lpush("yolo", json.dumps(sent))
    take(connection, "yolo", lambda one: one.requeue())
    assert valkey.client.llen("yolo") == 1
    took = []
    take(connection, "yolo", lambda one: (took.append(one.headers["redelivered"]), one.ack()))
    assert took == [True]


def test_other_queues_are_left_as_they_are(connection, valkey):
    """Answers of workers to an operator's commands have no task."""
    answer = {**message(), "headers": {}, "body": "e30="}
    valkey.client.lpush("x.reply.celery.pidbox", json.dumps(answer))
    took = []
    take(connection, "x.reply.celery.pidbox", lambda one: (took.append(one.payload), one.ack()))
    assert took == [{}]


def test_a_full_broker_still_gets_the_message_dropped(connection, valkey, caplog):
    """Where it can't be kept, the log says so."""
    valkey.client.set(keys.DEAD, "no list")
    valkey.client.lpush("yolo", b"notjson\x1b[2J")
    with pytest.raises((TimeoutError, socket.timeout)):
        take(connection, "yolo", lambda one: None)
    assert "a message of queue yolo is dropped, it can't be set aside: " in caplog.text
    assert "\x1b" not in caplog.text
