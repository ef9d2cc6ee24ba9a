"""The record and the log line of a message that a worker drops, the same for every broker."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Mapping

from redis.exceptions import RedisError

from engine.text.printable import printable
from orchestrator.job.jobdir import now

log = logging.getLogger(__name__)

MAX_DEAD = 100
"""The number of dropped messages kept, the newest, and bytes kept of each, so that all take some megabytes."""

KEPT_BYTES = 8192


def set_aside(raw: bytes, queue: str, why: str, put: Callable[[Mapping[str, object]], object], **more: object) -> None:
    """Store a dropped message for inspection, and log that. Best effort.

    `put` stores the record in the broker's own way and returns the place; `more` are entries specific to that broker.
    """
    record = {
        "at": now(),
        "queue": queue,
        "worker": socket.gethostname(),
        "why": why,
        "bytes": len(raw),
        **more,
        "message": raw[:KEPT_BYTES].decode(errors="backslashreplace"),
    }
    try:
        place = f"it is set aside in {put(record)}"
    except (RedisError, OSError) as error:
        place = f"it can't be set aside: {printable(str(error))}"
    log.error("a message of queue %s is dropped, %s: %s", queue, place, why)
