"""kombu's AMQP transport for workers, with checks of each message taken from a queue, as with Redis (transport.py).

A message that fails is rejected for good and set aside on the board.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from typing import Any

from kombu.transport import pyamqp as base

from engine.text.printable import printable
from orchestrator.broker.board import Board
from orchestrator.broker.dropped import KEPT_BYTES, set_aside
from orchestrator.broker.inbound import MAX_BYTES, Refused, checked
from orchestrator.settings import settings

log = logging.getLogger(__name__)


class Channel(base.Channel):  # type: ignore[misc]
    """A channel that only passes on checked messages."""

    def basic_consume(self, queue: str = "", *arguments: Any, callback: Any = None, **options: Any) -> Any:
        """Consume a queue, with checks if it is a queue of jobs. Other queues carry workers' answers to commands, which
        only workers and operators can write."""
        if callback is not None and queue in settings().known_queues:
            callback = self._through_checks(queue, callback)
        return super().basic_consume(queue, *arguments, callback=callback, **options)

    def _through_checks(self, queue: str, take: Callable[[Any], object]) -> Callable[[Any], None]:
        def taken(message: Any) -> None:
            try:
                check(message, queue)
                take(message)
            except (*base.Transport.connection_errors, *base.Transport.channel_errors):
                raise
            except Refused as refused:
                self._set_aside(message, queue, str(refused))
            except Exception as error:  # the last safety net: one message must not end the worker
                log.debug("Celery can't take a message", exc_info=error)
                self._set_aside(message, queue, printable(f"{type(error).__name__}: {error}"))

        return taken

    def _set_aside(self, message: Any, queue: str, why: str) -> None:
        """Keep a message that is dropped on the board, and reject it for good."""
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode(errors="backslashreplace")
        headers = printable(repr(message.properties.get("application_headers")), KEPT_BYTES)
        set_aside(body, queue, why, Board(settings().board_folder).set_aside, headers=headers)
        self.basic_reject(message.delivery_tag, requeue=False)


def check(message: Any, queue: str) -> None:
    """Check a message, and rebuild it in place from its valid parts. Raises Refused."""
    given, info = message.properties, message.delivery_info
    body = message.body if isinstance(message.body, bytes) else str(message.body).encode(errors="surrogateescape")
    if len(body) > MAX_BYTES:
        raise Refused(f"it has {len(body)} bytes, more than {MAX_BYTES}")
    envelope = {
        "body": base64.b64encode(body).decode(),
        "headers": given.get("application_headers"),
        "content-type": given.get("content_type"),
        "content-encoding": given.get("content_encoding"),
        "properties": {
            "delivery_tag": str(message.delivery_tag),
            "body_encoding": "base64",
            "correlation_id": given.get("correlation_id"),
            "reply_to": given.get("reply_to"),
            "priority": given.get("priority"),
            "delivery_info": {"redelivered": bool(info.get("redelivered"))},
        },
    }
    try:
        raw = json.dumps(envelope).encode()
    except (TypeError, ValueError, RecursionError) as error:  # an AMQP table may contain types that JSON lacks
        raise Refused(printable(f"its headers are not JSON: {error}", 300)) from None
    passed = json.loads(checked(raw, queue, settings().known_queues))
    properties = passed["properties"]
    message.body = base64.b64decode(passed["body"]).decode()
    message.properties = {
        "application_headers": passed["headers"],
        "content_type": passed["content-type"],
        "content_encoding": passed["content-encoding"],
        "correlation_id": properties["correlation_id"],
        "reply_to": properties["reply_to"],
        "priority": properties["priority"],
        "delivery_mode": 2,
    }
    # Used for retries: a task goes back to this queue and no other.
    message.delivery_info = {
        **{key: info[key] for key in ("consumer_tag", "delivery_tag", "redelivered") if key in info},
        "exchange": "",
        "routing_key": queue,
        "priority": properties["priority"],
    }


class Connection(base.Connection):  # type: ignore[misc]
    """A connection whose channels check messages."""

    Channel = Channel


class Transport(base.Transport):  # type: ignore[misc]
    """The transport of `amqp://`."""

    Connection = Connection


class SSLTransport(base.SSLTransport):  # type: ignore[misc]
    """The transport of `amqps://`."""

    Connection = Connection
