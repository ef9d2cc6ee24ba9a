"""The one view of a broker, whichever it is: what a worker, a client and the look for lost messages ask of it.

A broker carries messages. The rest, who lives, which jobs there are, what was refused, lies in keys of a Redis, or in
files of the board (board.py) where the broker has no keys. What a broker can't tell is said by its view: `tells_which`
is False where it knows how many messages wait and not which ones.

    RedisBroker (redis_broker.py)    Redis, Valkey
    AmqpBroker (amqp_broker.py)      RabbitMQ
    FolderBroker (folder_broker.py)  a folder that machines share
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
    """Something that this kind of broker does not tell its clients, and where to look instead."""

    what: str
    instead: str


class Broker(Protocol):
    """A broker, asked from one process. Every method but `close` raises what the broker's client raises: OSError or an
    error of redis-py."""

    @property
    def name(self) -> str:
        """What it is, with its version as far as that is known: `RabbitMQ 3.10.8`."""

    @property
    def tells_which(self) -> bool:
        """Whether it can be asked which messages wait. Else `message_ids` is empty, and what waits is known from the
        jobs' directories alone."""

    @property
    def untold(self) -> Sequence[Untold]:
        """What the health check can't know of it."""

    # -- messages -----------------------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Have it answer."""

    def lengths(self, queues: Iterable[str]) -> Mapping[str, int]:
        """Return how many messages wait in each of the queues."""

    def message_ids(self, queues: Iterable[str]) -> set[str] | None:
        """Return the ids of the messages in these queues; None where one holds too many to be looked through."""

    def waiting(self, queues: Iterable[str], limit: int = MAX_LISTED) -> list[Message]:
        """Return the messages in these queues, at most `limit` of each, the next one to be taken first."""

    def held_back(self) -> list[Message]:
        """Return the messages that a worker holds until their time has come, as far as the broker tells."""

    def take_away(self, queues: Iterable[str]) -> list[Message]:
        """Remove the messages that wait in these queues, and return them."""

    def renew(self, delivery_tags: Iterable[str]) -> None:
        """Have the broker wait longer for the acknowledgement of messages that this process holds."""

    def dead(self) -> int:
        """Return how many messages were set aside."""

    # -- workers ------------------------------------------------------------------------------------------------------

    def tell_alive(self, beat: Heartbeat) -> None:
        """Write a heartbeat, which runs out after a while."""

    def forget_worker(self, node: str, pid: int) -> None:
        """Remove a worker's heartbeat."""

    def live(self) -> list[Heartbeat]:
        """Return the workers that live, by name."""

    def look(self) -> Look:
        """Return the workers that live, and what else their heartbeats tell."""

    def looks_alone(self, for_s: float) -> bool:
        """Return whether this process is the one that looks for lost messages in the next seconds."""

    def makes_way(self, message_id: str, node: str, *, again: bool, for_s: float) -> bool:
        """Return whether a worker is the one that makes way for a message; `again`: it was, a moment ago."""

    # -- jobs and refusals --------------------------------------------------------------------------------------------

    def announce(self, job_id: str, folder: str) -> None:
        """Let workers on other machines know where a job is."""

    def withdraw(self, job_id: str) -> None:
        """Have them forget it."""

    def announced(self, most: int) -> list[tuple[str, str]]:
        """Return some of the announced jobs, id and directory, others at each call. Whoever may submit may have written
        them."""

    def note_refusal(self, what: str, why: str, kept_s: float) -> None:
        """Keep a refusal, in place of an earlier one of the same."""

    def forget_refusal(self, what: str) -> None:
        """Remove a refusal: it was not refused this time."""

    def refusals(self) -> list[Refusal]:
        """Return the refusals that are still of interest, the newest first."""

    def close(self) -> None:
        """Close the connection. Never raises."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
