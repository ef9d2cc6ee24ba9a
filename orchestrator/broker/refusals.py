"""What workers refused lately, and why: kept at the broker for `--list-tasks` and `--health-check`.

A refusal is an answer to whoever sent the task; a sweep of a watched folder is sent by Beat, which reads no answers.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

import redis

from orchestrator.broker import keys

MAX_KEPT = 50
_MAX_LINE = 400
KEPT_S = 86_400.0
"""For how long a refusal is of interest."""


@dataclass(frozen=True)
class Refusal:
    """`what` was refused, a task or a sweep, `age_s` ago."""

    what: str
    why: str
    age_s: float

    @property
    def is_sweep(self) -> bool:
        return self.what.startswith("sweep ")


@dataclass(frozen=True)
class _Kept:
    """A refusal as it is kept, times in seconds since 1970."""

    why: str
    at: float
    until: float

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, raw: str | bytes) -> _Kept:
        """Read a refusal. What is not ours counts as expired: it is removed when the next one is noted."""
        try:
            value = json.loads(raw)
            return cls(str(value["why"]), float(value["at"]), float(value["until"]))
        except (ValueError, TypeError, KeyError):
            return cls("", 0.0, 0.0)


def note(client: redis.Redis, what: str, why: str, kept_s: float = KEPT_S) -> None:
    """Keep a refusal for `kept_s`, in place of an earlier one of the same. Raises what the broker's client raises."""
    at = time.time()
    what, why = one_line(what), one_line(why)
    client.hset(keys.REFUSED, what, _Kept(why, at, at + kept_s).to_json())
    found = _read(client)
    over = [name for name, value in found.items() if value.until < at]
    newest = sorted(found, key=lambda name: -found[name].at)
    for name in {*over, *newest[MAX_KEPT:]}:
        client.hdel(keys.REFUSED, name)
    client.expire(keys.REFUSED, int(7 * KEPT_S))


def forget(client: redis.Redis, what: str) -> None:
    """Remove a refusal: it was not refused this time. Raises what the broker's client raises."""
    client.hdel(keys.REFUSED, one_line(what))


def one_line(text: str) -> str:
    """Return a text, perhaps a stranger's, as it may be in a log: one line of bounded length, with nothing that a
    terminal obeys."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)[:_MAX_LINE]


def recent(client: redis.Redis) -> list[Refusal]:
    """Return the refusals that are still of interest, the newest first. Raises what the broker's client raises."""
    at = time.time()
    found = [
        Refusal(what, value.why, max(0.0, at - value.at)) for what, value in _read(client).items() if value.until >= at
    ]
    return sorted(found, key=lambda refusal: refusal.age_s)


def _read(client: redis.Redis) -> dict[str, _Kept]:
    return {str(what): _Kept.from_json(raw) for what, raw in client.hgetall(keys.REFUSED).items()}
