"""What workers refused of late, and why: kept at the broker for `--list-tasks` and `--health-check`.

A refusal is an answer to whoever sent the task; a sweep of a watched folder is sent by Beat, which reads no answers.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.broker import keys

_MAX_KEPT = 50
_MAX_LINE = 400
_KEPT_S = 86_400.0


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
    def from_json(cls, raw: str) -> _Kept:
        """What is not ours has run out: it goes with the next one that is noted."""
        try:
            value = json.loads(raw)
            return cls(str(value["why"]), float(value["at"]), float(value["until"]))
        except (ValueError, TypeError, KeyError):
            return cls("", 0.0, 0.0)


def note(client: Any, what: str, why: str, kept_s: float = _KEPT_S) -> None:
    """Keeps a refusal for so long, instead of an earlier one of the same. Raises what the broker's client raises."""
    at = time.time()
    what, why = one_line(what), one_line(why)
    client.hset(keys.REFUSED, what, _Kept(why, at, at + kept_s).to_json())
    found = _read(client)
    over = [name for name, value in found.items() if value.until < at]
    newest = sorted(found, key=lambda name: -found[name].at)
    for name in {*over, *newest[_MAX_KEPT:]}:
        client.hdel(keys.REFUSED, name)
    client.expire(keys.REFUSED, int(7 * _KEPT_S))


def forget(client: Any, what: str) -> None:
    """It was not refused this time. Raises what the broker's client raises."""
    client.hdel(keys.REFUSED, one_line(what))


def one_line(text: str) -> str:
    """A text, perhaps a stranger's, as it may stand in a log: one line, nothing that a terminal obeys, not endless."""
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)[:_MAX_LINE]


def recent(client: Any) -> list[Refusal]:
    """The newest first. Raises what the broker's client raises."""
    at = time.time()
    found = [
        Refusal(what, value.why, max(0.0, at - value.at)) for what, value in _read(client).items() if value.until >= at
    ]
    return sorted(found, key=lambda refusal: refusal.age_s)


def _read(client: Any) -> dict[str, _Kept]:
    return {str(what): _Kept.from_json(raw) for what, raw in client.hgetall(keys.REFUSED).items()}
