"""The queues of a Redis: counting, listing and removing messages.

Every function raises the errors of the broker's client.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterable

import redis

from orchestrator.broker import keys
from orchestrator.broker.messages import MAX_LISTED, Message, message_of

# kombu's suffixes of a queue's key by priority; publish.py assigns ours.
_PRIORITIES = ("", "\x06\x163", "\x06\x166", "\x06\x169")
_LEVELS = (0, 3, 6, 9)
MAX_LOOKED_THROUGH = 5000
"""The maximum number of messages of a list that are read to find an id."""


def parts_of(queue: str) -> tuple[str, ...]:
    """Return the keys of a queue's lists by priority, in the order in which they are served."""
    return tuple(queue + suffix for suffix in _PRIORITIES)


def lengths(client: redis.Redis, queues: Iterable[str]) -> dict[str, int]:
    """Return the number of waiting messages per queue."""
    names = list(queues)
    read = client.pipeline(transaction=False)
    for part in (part for name in names for part in parts_of(name)):
        read.llen(part)
    counts = iter(read.execute())
    return {name: sum(next(counts) for _ in _PRIORITIES) for name in names}


def message_ids(client: redis.Redis, queues: Iterable[str]) -> set[str] | None:
    """Return the ids of the messages in these queues; None if one has too many to read."""
    found = set[str]()
    for part in (part for queue in queues for part in parts_of(queue)):
        raws = client.lrange(part, 0, MAX_LOOKED_THROUGH)
        if len(raws) > MAX_LOOKED_THROUGH:
            return None
        found |= set(map(id_of, raws))
    return found


def waiting(client: redis.Redis, queues: Iterable[str], limit: int = MAX_LISTED) -> list[Message]:
    """Return the messages in these queues, at most `limit` each, the next one first."""
    found = []
    for queue in queues:
        for part, level in zip(parts_of(queue), _LEVELS, strict=True):
            for raw in reversed(client.lrange(part, -limit, -1)):
                found.append(read_message(raw, queue, level))
    return found


def held_back(client: redis.Redis) -> list[Message]:
    """Return the messages that workers hold until their time has come."""
    found = []
    for raw in client.hvals(keys.UNACKED):
        try:
            body, _, queue = json.loads(raw)
        except (ValueError, TypeError, RecursionError):
            continue
        message = read_message(json.dumps(body), str(queue))
        if message.eta is not None:
            found.append(message)
    return found


def take_away(client: redis.Redis, queues: Iterable[str]) -> list[Message]:
    """Remove the waiting messages from these queues, and return exactly the removed ones."""
    found = []
    for queue in queues:
        for part in parts_of(queue):
            both = client.pipeline(transaction=True)
            both.lrange(part, 0, -1)
            both.delete(part)
            for raw in reversed(both.execute()[0]):
                found.append(read_message(raw, queue))
    return found


def id_of(raw: bytes | str) -> str:
    """Return the id of a message; "" if it has none."""
    try:
        return str(json.loads(raw)["headers"]["id"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def read_message(raw: bytes | str, queue: str, level: int = 0) -> Message:
    """Return the displayed facts of a message, which is untrusted."""
    headers: dict[str, object] = {}
    keywords: dict[str, object] = {}
    with contextlib.suppress(ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        value = json.loads(raw)
        body = value["body"]
        if value.get("properties", {}).get("body_encoding") == "base64":
            body = base64.b64decode(body)
        headers = dict(value["headers"])
        keywords = dict(json.loads(body)[1])
    return message_of(headers, keywords, queue, level)
