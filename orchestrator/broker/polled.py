"""What kombu's transports have in common of brokers that workers poll (folder_transport.py, sqs_transport.py)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

from kombu.transport import virtual


class Queues(Protocol):
    """The queues of such a broker."""

    def length(self, queue: str) -> int: ...

    def take_away(self, queue: str) -> Iterable[object]: ...


class Channel(virtual.Channel):  # type: ignore[misc]
    """A channel over `queues`, which are there as soon as somebody names them."""

    @property
    def queues(self) -> Queues:
        raise NotImplementedError

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
