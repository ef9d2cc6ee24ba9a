"""Heartbeats of workers at the broker: a key per live worker, which expires if the worker is killed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import redis

from orchestrator.broker import keys
from orchestrator.job.leases import Owner

EXPIRES_S = 30.0
"""The lifetime of a heartbeat's key. The remaining time tells, by the broker's clock, when it was written."""

MAX_SCAN_S = 1.0


@dataclass(frozen=True)
class Heartbeat:
    """A worker. `busy` tasks are running; `tasks` are their ids and those waiting in the worker. Times in seconds."""

    node: str
    host: str
    queues: tuple[str, ...]
    concurrency: int
    busy: int
    time: float
    pid: int = 0
    owner: Owner | None = None
    pool: str = ""
    tasks: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    version: str = ""
    started_at: float = 0.0

    @property
    def key(self) -> str:
        return key_of(self.node, self.pid)

    @property
    def gone(self) -> bool:
        """Return whether it was a process of this machine that has ended; its heartbeat stays for a while."""
        return self.owner is not None and self.owner.gone

    @property
    def has_a_free_slot(self) -> bool:
        return self.busy < self.concurrency

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, raw: str | bytes | None) -> Heartbeat:
        """Parse what a worker, perhaps of another version, wrote. Raises ValueError if it is not a heartbeat."""
        try:
            beat = json.loads(raw or "")
            owner = beat.get("owner")
            return cls(
                node=_text(beat["node"]),
                host=_text(beat["host"]),
                queues=_texts(beat["queues"]),
                concurrency=int(beat["concurrency"]),
                busy=int(beat["busy"]),
                time=float(beat["time"]),
                pid=int(beat.get("pid", 0)),
                owner=None if owner is None else Owner.from_json(owner),
                pool=_text(beat.get("pool", "")),
                tasks=_texts(beat.get("tasks", [])),
                jobs=_texts(beat.get("jobs", [])),
                version=_text(beat.get("version", "")),
                started_at=float(beat.get("started_at", 0.0)),
            )
        except (TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError("not a heartbeat") from error


def key_of(node: str, pid: int) -> str:
    """Return the key of a worker's heartbeat."""
    return f"{keys.HEARTBEATS}{node}:{pid}"


def write(client: redis.Redis, beat: Heartbeat) -> None:
    """Write a heartbeat. Raises the errors of the broker's client."""
    client.set(beat.key, beat.to_json(), ex=int(EXPIRES_S))


def live(client: redis.Redis) -> list[Heartbeat]:
    """Return the live workers, by name. Raises the errors of the broker's client."""
    names = sorted(client.scan_iter(match=f"{keys.HEARTBEATS}*", count=1000))
    return living(map(_read, client.mget(names) if names else []))


@dataclass(frozen=True)
class Look:
    """The live workers, by name, as found by `look`. `skew_s` has, by name, how far a worker's clock is ahead of the
    broker's, if known; `complete` is False if there was no time to read all keys."""

    workers: list[Heartbeat]
    skew_s: dict[str, float]
    found: int
    unreadable: int
    complete: bool


def look(client: redis.Redis) -> Look:
    """Return the live workers and other facts from their keys, within a second or two even if someone has filled the
    broker with keys. Raises the errors of the broker's client."""
    names, complete = _names(client)
    read = client.pipeline(transaction=False)
    read.time()
    for name in names:
        read.get(name)
        read.pttl(name)
    (seconds, micros), *values = read.execute()
    present = seconds + micros / 1e6
    beats, skew_s, unreadable, found = [], {}, 0, 0
    for raw, pttl in zip(values[::2], values[1::2], strict=True):
        if raw is None:  # expired meanwhile
            continue
        found += 1
        beat = _read(raw)
        if beat is None:
            unreadable += 1
            continue
        beats.append(beat)
        if pttl > 0:
            skew_s[beat.node] = beat.time - (present - EXPIRES_S + pttl / 1000)
    return Look(living(beats), skew_s, found, unreadable, complete)


def consumers(workers: Iterable[Heartbeat], queue: str) -> list[Heartbeat]:
    """Return the workers that serve a queue."""
    return [beat for beat in workers if queue in beat.queues]


def living(beats: Iterable[Heartbeat | None]) -> list[Heartbeat]:
    """Return the heartbeats of live workers, by name, without those of ended processes of this machine."""
    return sorted((beat for beat in beats if beat is not None and not beat.gone), key=lambda beat: beat.node)


def _read(raw: str | bytes | None) -> Heartbeat | None:
    try:
        return Heartbeat.from_json(raw)
    except ValueError:
        return None


def _names(client: redis.Redis) -> tuple[list[str], bool]:
    """Return the keys of heartbeats, and whether there was time to list all of them."""
    ends = time.monotonic() + MAX_SCAN_S
    cursor, found = 0, set[str]()
    while True:
        cursor, names = client.scan(cursor, match=f"{keys.HEARTBEATS}*", count=5000)
        found.update(map(str, names))
        if cursor == 0 or time.monotonic() > ends:
            return sorted(found), cursor == 0


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return tuple(map(_text, value))
