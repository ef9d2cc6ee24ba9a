"""The displayed facts of a message, the same for every broker."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.job.files import AnyPath, any_path

MAX_LISTED = 1000
"""The default limit of messages listed per queue."""

MAX_PRIORITY = 9

_MAX_WORD, _MAX_PATH = 300, 4096
_AGAIN = re.compile(r"\.again-\d+$")


@dataclass(frozen=True)
class Message:
    """A message of ours. `step` is `start`, `process-1`, `end`, or a task's name if it was sent without a job."""

    id: str
    queue: str
    task: str
    job: str
    step: str
    folder: AnyPath | None
    eta: str | None
    level: int = 0
    """The level of its queue; 0 is served first."""


def step_of(message_id: str) -> tuple[str, str]:
    """Return the job and the step in a message's id; the step is "" for a task sent without a job."""
    job, _, step = _AGAIN.sub("", message_id).partition(".")
    return job, step


def message_of(headers: Mapping[str, object], keywords: Mapping[str, object], queue: str, level: int = 0) -> Message:
    """Return the displayed facts of a message, which is untrusted."""
    name, task = _word(headers.get("id")), _word(headers.get("task")) or "unknown"
    job, step = step_of(name)
    folder = keywords.get("job")
    return Message(
        id=name,
        queue=queue,
        task=task,
        job=job,
        step=step or task,
        folder=any_path(folder) if isinstance(folder, str) and len(folder) < _MAX_PATH else None,
        eta=_word(headers.get("eta")) or None,
        level=level,
    )


def priority_of(level: int) -> int:
    """Return RabbitMQ's priority for one of our levels: level 0 is served first, but priority 9."""
    return MAX_PRIORITY - level


def level_of(priority: object) -> int:
    """Return the level of a priority; a message without one is served last."""
    return MAX_PRIORITY - priority if isinstance(priority, int) and 0 <= priority <= MAX_PRIORITY else MAX_PRIORITY


def _word(value: object) -> str:
    """Return a header if it is text, otherwise ""."""
    return value[:_MAX_WORD] if isinstance(value, str) else ""
