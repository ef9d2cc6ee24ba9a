"""Amazon SQS as a broker. It carries messages and reports about how many wait; everything else is on the board
(board.py), as with RabbitMQ: it can't list waiting messages without taking them, so they are derived from the jobs'
directories. Workers poll, and Celery's remote control commands don't reach them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

from orchestrator.broker.messages import Message
from orchestrator.broker.queues import read_message
from orchestrator.broker.sent import CountingBroker
from orchestrator.broker.sqs_queues import SqsFailed, SqsQueues, held_here
from orchestrator.broker.view import Untold
from orchestrator.settings import Settings


class SqsBroker(CountingBroker):
    """The view of an SQS. Thread-safe."""

    name = "SQS"
    untold: Sequence[Untold] = (
        Untold("messages", "it reports about how many wait: which ones is known from the jobs' directories"),
    )

    def __init__(self, given: Settings, timeout_s: float = 2.0) -> None:
        """Parse the URL; nothing is sent yet. Raises BrokerUrlError."""
        super().__init__(given)
        self._queues = SqsQueues(given.broker_url, hidden_s=given.visibility_timeout_s, timeout_s=timeout_s)

    def ping(self) -> None:
        self._queues.probe(next(iter(self._settings.known_queues)))

    def lengths(self, names: Iterable[str]) -> Mapping[str, int]:
        return {name: self._queues.length(name) for name in names}

    def take_away(self, names: Iterable[str]) -> list[Message]:
        return [read_message(raw, name, 0) for name in names for raw in self._queues.take_away(name)]

    def renew(self, delivery_tags: Iterable[str]) -> None:
        """Renew the messages whose tasks continue. One that SQS has delivered again meanwhile is left alone."""
        for tag in delivery_tags:
            if (held := held_here.get(tag)) is not None:
                with contextlib.suppress(SqsFailed):
                    self._queues.hide(*held)

    def close(self) -> None:
        """Do nothing: connections end with the client."""

    def __enter__(self) -> SqsBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
