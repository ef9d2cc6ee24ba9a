"""kombu's side of an SQS (sqs_queues.py), for `sqs://`.

kombu's own transport of that name has one level per queue, and needs pycurl; its messages are not checked.
"""

from __future__ import annotations

import contextlib
import json
from functools import cached_property
from queue import Empty
from typing import Any
from uuid import uuid4

from kombu.transport import virtual

from orchestrator.broker.board import Board
from orchestrator.broker.dropped import set_aside
from orchestrator.broker.inbound import Refused, checked
from orchestrator.broker.sqs_queues import SqsFailed, SqsQueues, held_here
from orchestrator.settings import settings


class QoS(virtual.QoS):  # type: ignore[misc]
    """Acknowledges messages at the SQS."""

    def ack(self, delivery_tag: str) -> None:
        """Remove the message."""
        held = held_here.pop(delivery_tag, None)
        if held is not None:
            self.channel.queues.done(*held)
        super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give the message back, or remove it."""
        held = held_here.pop(delivery_tag, None)
        if held is not None and requeue:
            with contextlib.suppress(SqsFailed):  # it was delivered again already
                self.channel.queues.hide(*held, for_s=0)
        elif held is not None:
            self.channel.queues.done(*held)
        self._quick_ack(delivery_tag)


class Channel(virtual.Channel):  # type: ignore[misc]
    """The queues of an SQS; messages from queues of jobs are checked."""

    QoS = QoS

    @cached_property
    def queues(self) -> SqsQueues:
        options = self.connection.client.transport_options
        return SqsQueues(str(options["url"]), hidden_s=float(options["visibility_timeout"]))

    def _put(self, queue: str, message: dict[str, Any], **_: object) -> None:
        level = message["properties"].get("priority") or 0
        self.queues.put(queue, level if isinstance(level, int) else 0, json.dumps(message).encode())

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        while (taken := self.queues.take(queue)) is not None:
            try:
                message: dict[str, Any] = json.loads(checked(taken.raw, queue, settings().known_queues))
            except Refused as refused:
                set_aside(taken.raw, queue, str(refused), Board(settings().board_folder).set_aside)
                self.queues.done(taken.queue_url, taken.receipt)
                continue
            tag = message["properties"]["delivery_tag"] = str(uuid4())
            held_here[tag] = taken.queue_url, taken.receipt
            return message
        raise Empty

    def _restore(self, message: Any) -> None:
        """Give back a message that was taken but not acknowledged."""
        held = held_here.pop(message.delivery_tag, None)
        if held is not None:
            with contextlib.suppress(SqsFailed):
                self.queues.hide(*held, for_s=0)

    def _size(self, queue: str) -> int:
        return self.queues.length(queue)

    def _purge(self, queue: str) -> int:
        return sum(1 for _ in self.queues.take_away(queue))

    def _has_queue(self, queue: str, **_: object) -> bool:
        return True

    def _new_queue(self, queue: str, **_: object) -> None:
        """Do nothing: a queue is made with the first question about it."""

    def _delete(self, queue: str, *_: object, **__: object) -> None:
        """Do nothing: another process may serve the queue."""


class Transport(virtual.Transport):  # type: ignore[misc]
    """The transport of `sqs://`."""

    Channel = Channel
    driver_type = driver_name = "sqs"
    default_port = 0
    polling_interval = 1.0
    can_parse_url = True  # else kombu takes the URL's query for arguments of its own
    connection_errors = (*virtual.Transport.connection_errors, OSError)

    def driver_version(self) -> str:
        """Return the version that Celery shows."""
        return "1"
