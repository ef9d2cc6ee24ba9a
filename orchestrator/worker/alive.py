"""Signs of life of the tasks: given by the thread that does the work, read by the worker's parent process.

A pool child can hang, in a read from a dead network share, say, while its parent is well. What the parent renews and
tells the broker of must then end, or nobody else would ever take the work. A sign is a file in the worker's runtime
folder, on the local disk, that the task touches as it touches its leases.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

RUNTIME = "YOLO_WORKER_RUNTIME"
_SIGN = "alive-"


def show(task_id: str) -> None:
    """Note that the task is alive. Does nothing outside a worker."""
    path = path_of(_SIGN, task_id)
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)  # whoever tidies /tmp takes an old folder for a forgotten one
        path.touch()


def forget(task_id: str) -> None:
    """Note that the task has ended."""
    path = path_of(_SIGN, task_id)
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


class Listener:
    """Tells which tasks have fallen silent. Counts by its own clock, from one change of a sign to the next."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._seen: dict[str, tuple[int, float]] = {}  # the sign's time of change, and when it was first seen

    def silent(self, task_ids: Iterable[str]) -> set[str]:
        """Return those of the tasks that have given no sign for longer than the limit."""
        present, seen = time.monotonic(), {}
        for task_id in task_ids:
            stamp = _stamp(task_id)
            before = self._seen.get(task_id)
            seen[task_id] = before if before is not None and before[0] == stamp else (stamp, present)
        self._seen = seen
        return {task_id for task_id, (_, since) in seen.items() if present - since > self._limit_s}


def _stamp(task_id: str) -> int:
    path = path_of(_SIGN, task_id)
    try:
        return path.stat().st_mtime_ns if path is not None else 0
    except OSError:
        return 0


def path_of(prefix: str, task_id: str) -> Path | None:
    """Return the file of a task in the runtime folder; None outside a worker. An id may be a stranger's, and is
    no file name."""
    runtime = os.environ.get(RUNTIME)
    if not runtime:
        return None
    name = hashlib.sha256(task_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return Path(runtime, f"{prefix}{name}")
