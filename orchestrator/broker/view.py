"""The interface to a broker, common to all kinds, for workers, clients and the search for lost messages.

A broker carries messages. Everything else (live workers, known jobs, refusals) is in keys of a Redis or, for brokers
without keys, in files of the board (board.py). A view states what its broker can't report: `tells_which` is False if it
only reports how many messages wait.

    RedisBroker (redis_broker.py)    Redis, Valkey
    AmqpBroker (amqp_broker.py)      RabbitMQ
    SqsBroker (sqs_broker.py)        Amazon SQS
    FolderBroker (folder_broker.py)  a shared folder
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from orchestrator.broker.heartbeats import Heartbeat, Look
from orchestrator.broker.messages import MAX_LISTED, Message
from orchestrator.broker.refusals import Refusal


@dataclass(frozen=True)
class Untold:
    """Something that this kind of broker does not report to clients, and where to look instead."""

    what: str
    instead: str


class Broker(Protocol):
    """A broker as seen by one process. Every method but `close` raises the errors of the broker's client: OSError or an
    error of redis-py."""

    @property
    def name(self) -> str:
        """The product and, if known, its version, such as `RabbitMQ 3.10.8`."""

    @property
    def tells_which(self) -> bool:
        """Whether it can list waiting messages. Otherwise `message_ids` is empty, and waiting messages are only known
        from the jobs' directories."""

    @property
    def untold(self) -> Sequence[Untold]:
        """What the health check can't find out about it."""

    # -- messages -----------------------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Check that it answers."""

    def lengths(self, queues: Iterable[str]) -> Mapping[str, int]:
        """Return the number of waiting messages per queue."""

    def message_ids(self, queues: Iterable[str]) -> set[str] | None:
        """Return the ids of the messages in these queues; None if one has too many to read."""

    def waiting(self, queues: Iterable[str], limit: int = MAX_LISTED) -> list[Message]:
        """Return the messages in these queues, at most `limit` each, the next one first."""

    def held_back(self) -> list[Message]:
        """Return the messages that workers hold until their time has come, as far as the broker reports them."""

    def take_away(self, queues: Iterable[str]) -> list[Message]:
        """Remove the waiting messages from these queues, and return them."""

    def renew(self, delivery_tags: Iterable[str]) -> None:
        """Extend the broker's wait for the acknowledgement of messages held by this process."""

    def dead(self) -> int:
        """Return the number of messages set aside."""

    # -- workers ------------------------------------------------------------------------------------------------------

    def tell_alive(self, beat: Heartbeat) -> None:
        """Write a heartbeat, which expires after a while."""

    def forget_worker(self, node: str, pid: int) -> None:
        """Remove a worker's heartbeat."""

    def live(self) -> list[Heartbeat]:
        """Return the live workers, by name."""

    def look(self) -> Look:
        """Return the live workers, and other facts from their heartbeats."""

    def looks_alone(self, for_s: float) -> bool:
        """Claim the search for lost messages for the next seconds; return whether this process got it."""

    def makes_way(self, message_id: str, node: str, *, again: bool, for_s: float) -> bool:
        """Return whether a worker is the one to make way for a message; `again`: it was so a moment ago."""

    # -- jobs and refusals --------------------------------------------------------------------------------------------

    def announce(self, job_id: str, folder: str) -> None:
        """Announce a job's directory to workers on other machines."""

    def withdraw(self, job_id: str) -> None:
        """Withdraw a job's announcement."""

    def announced(self, most: int) -> list[tuple[str, str]]:
        """Return (id, directory) of some announced jobs, different ones on each call. They are untrusted."""

    def note_refusal(self, what: str, why: str, kept_s: float) -> None:
        """Store a refusal, replacing an earlier one of the same thing."""

    def forget_refusal(self, what: str) -> None:
        """Remove a refusal that no longer applies."""

    def refusals(self) -> list[Refusal]:
        """Return the refusals that have not expired, the newest first."""

    def close(self) -> None:
        """Close the connection. Never raises."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
