"""Redis and Valkey as a broker: Celery's lists and our keys."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

import redis

from orchestrator.broker import heartbeats, keys, queues, refusals
from orchestrator.broker.heartbeats import Heartbeat, Look
from orchestrator.broker.messages import MAX_LISTED, Message
from orchestrator.broker.refusals import Refusal
from orchestrator.broker.view import Untold


class RedisBroker:
    """The view of a server through a client, which is closed with the view. Thread-safe."""

    name = "Redis"
    tells_which = True
    untold: Sequence[Untold] = ()

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def ping(self) -> None:
        self.client.ping()

    def lengths(self, names: Iterable[str]) -> Mapping[str, int]:
        return queues.lengths(self.client, names)

    def message_ids(self, names: Iterable[str]) -> set[str] | None:
        return queues.message_ids(self.client, names)

    def waiting(self, names: Iterable[str], limit: int = MAX_LISTED) -> list[Message]:
        return queues.waiting(self.client, names, limit)

    def held_back(self) -> list[Message]:
        return queues.held_back(self.client)

    def take_away(self, names: Iterable[str]) -> list[Message]:
        return queues.take_away(self.client, names)

    def renew(self, delivery_tags: Iterable[str]) -> None:
        """Set the delivery time of each held message to now, from which the visibility timeout counts."""
        present = time.time()
        if tags := dict.fromkeys(delivery_tags, present):
            self.client.zadd(keys.UNACKED_INDEX, tags, xx=True)

    def dead(self) -> int:
        return int(self.client.llen(keys.DEAD))

    def tell_alive(self, beat: Heartbeat) -> None:
        heartbeats.write(self.client, beat)

    def forget_worker(self, node: str, pid: int) -> None:
        self.client.delete(heartbeats.key_of(node, pid))

    def live(self) -> list[Heartbeat]:
        return heartbeats.live(self.client)

    def look(self) -> Look:
        return heartbeats.look(self.client)

    def looks_alone(self, for_s: float) -> bool:
        return bool(self.client.set(keys.REQUEUE_LOCK, "1", nx=True, px=int(for_s * 1000)))

    def makes_way(self, message_id: str, node: str, *, again: bool, for_s: float) -> bool:
        return bool(self.client.set(keys.WAYS + message_id, node, nx=not again, xx=again, ex=int(for_s)))

    def announce(self, job_id: str, folder: str) -> None:
        self.client.hset(keys.JOBS, job_id, folder)

    def withdraw(self, job_id: str) -> None:
        self.client.hdel(keys.JOBS, job_id)

    def announced(self, most: int) -> list[tuple[str, str]]:
        found = self.client.hrandfield(keys.JOBS, most)
        ids = list(map(_text, found)) if isinstance(found, list) else []
        folders = self.client.hmget(keys.JOBS, ids) if ids else ()
        return list(zip(ids, map(_text, folders), strict=True))

    def note_refusal(self, what: str, why: str, kept_s: float) -> None:
        refusals.note(self.client, what, why, kept_s)

    def forget_refusal(self, what: str) -> None:
        refusals.forget(self.client, what)

    def refusals(self) -> list[Refusal]:
        return refusals.recent(self.client)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.client.close()

    def __enter__(self) -> RedisBroker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _text(value: object) -> str:
    """Return a text from the broker; "" if there is none."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
