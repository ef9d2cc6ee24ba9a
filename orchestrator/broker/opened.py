"""Opens the view of a broker by its URL; the only place that chooses between them."""

from __future__ import annotations

from orchestrator.broker.amqp_broker import AmqpBroker
from orchestrator.broker.connection import client, one_broker
from orchestrator.broker.folder_broker import FolderBroker
from orchestrator.broker.redis_broker import RedisBroker
from orchestrator.broker.sqs_broker import SqsBroker
from orchestrator.broker.view import Broker
from orchestrator.settings import Settings, broker_folder, is_amqp, is_sqs


def open_broker(given: Settings, timeout_s: float = 2.0) -> Broker:
    """Return the view of the configured broker, which waits at most `timeout_s` for each answer. Nothing is sent yet.
    Raises BrokerUrlError for an unusable URL."""
    one_broker(given.broker_url)
    if is_amqp(given.broker_url):
        return AmqpBroker(given, timeout_s)
    if (folder := broker_folder(given.broker_url)) is not None:
        return FolderBroker(given, folder)
    if is_sqs(given.broker_url):
        return SqsBroker(given, timeout_s)
    return RedisBroker(client(given.broker_url, timeout_s))
