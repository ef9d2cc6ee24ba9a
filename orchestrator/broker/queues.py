"""What the broker holds of our jobs, read by a client: live workers, waiting messages; and taking messages away.

Every function raises what the broker's client raises.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.job.leases import Owner
from orchestrator.settings import HEARTBEAT_KEY

# Celery divides a queue by priority: names of the parts, as suffixes. Ours has the first.
_PARTS = ("", "\x06\x163", "\x06\x166", "\x06\x169")
_UNACKED = "unacked"
_LONGEST_WORD, _LONGEST_PATH = 300, 4096
_AGAIN = re.compile(r"\.again-\d+$")


@dataclass(frozen=True)
class Message:
    """A message of ours. `step` is `start`, `process-1`, `end`, or a task's name where it was sent without a job."""

    id: str
    queue: str
    task: str
    job: str
    step: str
    folder: Path | None
    eta: str | None


def live_workers(client: Any) -> list[dict[str, Any]]:
    """The heartbeats of the workers that live, by name. A killed worker's last words stay for a while: not those."""
    keys = sorted(client.scan_iter(match=f"{HEARTBEAT_KEY}*", count=1000))
    found = []
    for raw in client.mget(keys) if keys else []:
        try:
            beat = json.loads(raw)
            if not Owner(**beat["owner"]).gone and isinstance(beat["node"], str) and isinstance(beat["queues"], list):
                found.append(beat)
        except (ValueError, TypeError, KeyError, RecursionError):  # ran out meanwhile, or of another version
            continue
    return sorted(found, key=lambda beat: str(beat["node"]))


def consumers(workers: Iterable[dict[str, Any]], queue: str) -> list[dict[str, Any]]:
    """Those of the workers that serve a queue."""
    return [beat for beat in workers if queue in beat["queues"]]


def waiting(client: Any, queues: Iterable[str], most: int = 1000) -> list[Message]:
    """The messages in these queues, `most` of each, the next one to be taken first."""
    found = []
    for queue in queues:
        for part in _PARTS:
            for raw in reversed(client.lrange(queue + part, -most, -1)):
                found.append(_message(raw, queue))
    return found


def held_back(client: Any) -> list[Message]:
    """Messages that a worker holds until their time has come."""
    found = []
    for raw in client.hvals(_UNACKED):
        try:
            body, _, queue = json.loads(raw)
        except (ValueError, TypeError, RecursionError):
            continue
        message = _message(json.dumps(body), str(queue))
        if message.eta is not None:
            found.append(message)
    return found


def take_away(client: Any, queues: Iterable[str]) -> list[Message]:
    """Removes the messages that wait in these queues, and returns them: each was removed, and no other was."""
    found = []
    for queue in queues:
        for part in _PARTS:
            both = client.pipeline(transaction=True)
            both.lrange(queue + part, 0, -1)
            both.delete(queue + part)
            for raw in reversed(both.execute()[0]):
                found.append(_message(raw, queue))
    return found


def step_of(message_id: str) -> tuple[str, str]:
    """Job and step that a message's id names; the step is empty for a task that was sent without a job."""
    job, _, step = _AGAIN.sub("", message_id).partition(".")
    return job, step


def _message(raw: str, queue: str) -> Message:
    """What a person wants to know of it. Nothing of it is believed: anybody who may submit may have written it."""
    headers: dict[str, Any] = {}
    keywords: dict[str, Any] = {}
    with contextlib.suppress(ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        value = json.loads(raw)
        body = value["body"]
        if value.get("properties", {}).get("body_encoding") == "base64":
            body = base64.b64decode(body)
        headers = dict(value["headers"])
        keywords = dict(json.loads(body)[1])
    name, task = _word(headers.get("id")), _word(headers.get("task")) or "unknown"
    job, step = step_of(name)
    folder = keywords.get("job")
    return Message(
        id=name,
        queue=queue,
        task=task,
        job=job,
        step=step or task,
        folder=Path(folder) if isinstance(folder, str) and len(folder) < _LONGEST_PATH else None,
        eta=_word(headers.get("eta")) or None,
    )


def _word(value: object) -> str:
    """A text of a header; of anything else, nothing."""
    return value[:_LONGEST_WORD] if isinstance(value, str) else ""
