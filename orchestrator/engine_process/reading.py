"""Signs of life of what reads all rows of a job, which may take minutes."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.engine_process.ipc import Sender
from orchestrator.engine_process.messages import Reading

READING_EVERY_S = 0.5


def ticker(events: Sender) -> Callable[[], None]:
    """Return a function that tells, now and then, that work continues."""
    told = 0.0

    def tick() -> None:
        nonlocal told
        if time.monotonic() - told >= READING_EVERY_S:
            told = time.monotonic()
            events.send(Reading())

    return tick
