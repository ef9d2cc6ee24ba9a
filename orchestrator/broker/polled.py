"""What kombu's transports have in common of brokers that workers poll (folder_transport.py, sqs_transport.py)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from queue import Empty
from typing import Any, Protocol

from kombu.transport import virtual

from orchestrator.broker.board import Board
from orchestrator.broker.dropped import set_aside
from orchestrator.broker.inbound import Refused, checked
from orchestrator.settings import settings


class Queues(Protocol):
    """The queues of such a broker."""

    def put(self, queue: str, level: int, raw: bytes) -> None: ...

    def length(self, queue: str) -> int: ...

    def take_away(self, queue: str) -> Iterable[object]: ...


class QoS(virtual.QoS):  # type: ignore[misc]
    """Acknowledges messages at the broker."""

    def ack(self, delivery_tag: str) -> None:
        """Remove the message."""
        held = self.channel.held.pop(delivery_tag, None)
        if held is not None:
            self.channel.done(held)
        super().ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Give the message back, or remove it."""
        held = self.channel.held.pop(delivery_tag, None)
        if held is not None:
            (self.channel.give_back if requeue else self.channel.done)(held)
        self._quick_ack(delivery_tag)


class Channel(virtual.Channel):  # type: ignore[misc]
    """A channel over `queues`, which are there as soon as somebody names them; messages from queues of jobs are
    checked. `held` has what identifies each message that this process holds to its broker, by delivery tag."""

    QoS = QoS
    held: dict[str, Any]

    @property
    def queues(self) -> Queues:
        raise NotImplementedError

    def take(self, queue: str) -> tuple[bytes, str, Any] | None:
        """Take the next message: its text, its delivery tag, and what identifies it; None if there is none."""
        raise NotImplementedError

    def done(self, held: Any) -> None:
        """Remove a message that was taken."""
        raise NotImplementedError

    def give_back(self, held: Any) -> None:
        """Let others have a message that was taken."""
        raise NotImplementedError

    def _put(self, queue: str, message: dict[str, Any], **_: object) -> None:
        level = message["properties"].get("priority") or 0
        self.queues.put(queue, level if isinstance(level, int) else 0, json.dumps(message).encode())

    def _get(self, queue: str, timeout: float | None = None) -> dict[str, Any]:
        while (taken := self.take(queue)) is not None:
            raw, tag, held = taken
            try:
                message: dict[str, Any] = json.loads(checked(raw, queue, settings().known_queues))
            except Refused as refused:
                set_aside(raw, queue, str(refused), Board(settings().board_folder).set_aside)
                self.done(held)
                continue
            message["properties"]["delivery_tag"] = tag
            self.held[tag] = held
            return message
        raise Empty

    def _restore(self, message: Any) -> None:
        """Give back a message that was taken but not acknowledged."""
        held = self.held.pop(message.delivery_tag, None)
        if held is not None:
            self.give_back(held)

    def _size(self, queue: str) -> int:
        return self.queues.length(queue)

    def _purge(self, queue: str) -> int:
        return sum(1 for _ in self.queues.take_away(queue))

    def _has_queue(self, queue: str, **_: object) -> bool:
        return True

    def _new_queue(self, queue: str, **_: object) -> None:
        """Do nothing: a queue is made when it is needed."""

    def _delete(self, queue: str, *_: object, **__: object) -> None:
        """Do nothing: another process may serve the queue."""


class Transport(virtual.Transport):  # type: ignore[misc]
    """A transport without an event loop."""

    default_port = 0
    connection_errors: Any = (*virtual.Transport.connection_errors, OSError)

    def driver_version(self) -> str:
        """Return the version that Celery shows."""
        return "1"
