"""Recent refusals of workers, with reasons, kept at the broker for `--list-tasks` and `--health-check`.

The sender of a task gets a refusal as its result, but sweeps of watched folders are sent by Beat, which reads no
results.
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
"""How long a refusal is kept."""


@dataclass(frozen=True)
class Refusal:
    """The task or sweep `what` was refused `age_s` ago."""

    what: str
    why: str
    age_s: float

    @property
    def is_sweep(self) -> bool:
        return self.what.startswith("sweep ")


@dataclass(frozen=True)
class _Kept:
    """A refusal as stored; times are in seconds since 1970."""

    why: str
    at: float
    until: float

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, raw: str | bytes) -> _Kept:
        """Parse a refusal. Anything else counts as expired, and is removed when the next refusal is stored."""
        try:
            value = json.loads(raw)
            return cls(str(value["why"]), float(value["at"]), float(value["until"]))
        except (ValueError, TypeError, KeyError):
            return cls("", 0.0, 0.0)


def note(client: redis.Redis, what: str, why: str, kept_s: float = KEPT_S) -> None:
    """Store a refusal for `kept_s`, replacing an earlier one of the same thing. Raises the errors of the broker's
    client."""
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
    """Remove a refusal that no longer applies. Raises the errors of the broker's client."""
    client.hdel(keys.REFUSED, one_line(what))


def one_line(text: str) -> str:
    """Make untrusted text fit for a log: one line of bounded length, without control characters."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)[:_MAX_LINE]


def recent(client: redis.Redis) -> list[Refusal]:
    """Return the refusals that have not expired, the newest first. Raises the errors of the broker's client."""
    at = time.time()
    found = [
        Refusal(what, value.why, max(0.0, at - value.at)) for what, value in _read(client).items() if value.until >= at
    ]
    return sorted(found, key=lambda refusal: refusal.age_s)


def _read(client: redis.Redis) -> dict[str, _Kept]:
    return {str(what): _Kept.from_json(raw) for what, raw in client.hgetall(keys.REFUSED).items()}
