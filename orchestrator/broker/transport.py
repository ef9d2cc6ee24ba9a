"""kombu's Redis transport for workers, with checks of each message taken from a queue (inbound.py).

A message that fails is dropped, with a line in the log, and set aside in a bounded list at the broker for inspection
(`redis-cli lrange yolo:dead 0 -1`). It is not put back, because it might end the next worker, too.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as base

from engine.text.printable import printable
from orchestrator.broker import keys
from orchestrator.broker.dropped import MAX_DEAD, set_aside
from orchestrator.broker.inbound import Refused, checked
from orchestrator.settings import settings

log = logging.getLogger(__name__)


def install() -> None:
    """Make this process use the transports of this file, amqp_transport.py, folder_transport.py and
    sqs_transport.py."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["amqp"] = "orchestrator.broker.amqp_transport:Transport"
    TRANSPORT_ALIASES["filesystem"] = "orchestrator.broker.folder_transport:Transport"
    TRANSPORT_ALIASES["sqs"] = "orchestrator.broker.sqs_transport:Transport"
    TRANSPORT_ALIASES["amqps"] = "orchestrator.broker.amqp_transport:SSLTransport"


class Channel(base.Channel):  # type: ignore[misc]
    """A channel that only passes on checked messages."""

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous)
        if asynchronous:
            read = client.parse_response

            def parse_response(connection: Any, command_name: str, **options: Any) -> Any:
                found = read(connection, command_name, **options)
                return self._taken(found) if command_name == "BRPOP" and found else found

            client.parse_response = parse_response
        return client

    def _taken(self, found: tuple[bytes, bytes]) -> tuple[bytes, bytes | str] | None:
        """Check a message taken from a queue. Return None if it is dropped, which kombu treats as an empty queue."""
        key, raw = found
        queue = base.bytes_to_str(key).rsplit(self.sep, 1)[0]
        queues = settings().known_queues
        if queue not in queues:  # workers' answers to commands, which only workers and operators can write
            return found
        try:
            return key, checked(raw, queue, queues)
        except Refused as refused:
            set_aside(raw, queue, str(refused), self.put_dead)
            return None

    def put_dead(self, record: Mapping[str, object]) -> str:
        """Store the record of a dropped message, and return the list's key. Raises RedisError."""
        with self.conn_or_acquire() as client, client.pipeline() as both:
            both.lpush(keys.DEAD, json.dumps(record)).ltrim(keys.DEAD, 0, MAX_DEAD - 1).execute()
        return keys.DEAD


class Transport(base.Transport):  # type: ignore[misc]
    """The last safety net: an error in Celery's handling of a message must not end the worker."""

    Channel = Channel

    def _deliver(self, message: Mapping[str, object], queue: str) -> None:
        try:
            super()._deliver(message, queue)
        except (*self.connection_errors, *self.channel_errors, base.Empty):
            raise
        except Exception as error:
            channel = next((channel for channel in self.channels if queue in channel.active_queues), None)
            if channel is None:
                raise
            log.debug("Celery can't take a message", exc_info=error)
            raw = json.dumps(message, default=str).encode()
            set_aside(raw, queue, printable(f"{type(error).__name__}: {error}"), channel.put_dead)
            properties = message["properties"]
            assert isinstance(properties, dict)  # validated by inbound
            channel.qos.ack(properties["delivery_tag"])
