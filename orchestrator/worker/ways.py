"""Turns between jobs, and the way out of a worker: what its parent asks of its tasks, by files of its runtime folder.

    way-<task>     give way: a message of another job waits, and no slot is free for it
    draining       take no more videos; what is in hand is finished

How soon a task gives way depends on the level at which the other message waits (broker/publish.py). One that would be
taken before its own gets the slot after `MIN_TURN_S` of work, one of the same level after `turn_s`, one behind never.
The task makes a checkpoint, as in a stop, and its step goes behind all that waits.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.job.atomic_json import object_in, write_quick
from orchestrator.worker import alive

MIN_TURN_S = 3.0
"""Of work, behind the loading of the model: nobody gives way before, so that each turn gets a job further."""

PREFIX = "yolo-worker-"
_WAY, _DRAINING = "way-", "draining"
_ASKED, _NODE = "drain", "node"
_LOOK_EVERY_S = 0.5


def ask_for_way(task_id: str, level: int | None) -> None:
    """Ask a task to give way to a message that waits at this level; None: no more. Best effort."""
    path = alive.path_of(_WAY, task_id)
    if path is not None:
        with contextlib.suppress(OSError):
            if level is None:
                path.unlink(missing_ok=True)
            else:
                write_quick(path, {"level": level})


def gives_way(task_id: str, own_level: int, worked_s: float, turn_s: float) -> bool:
    """Return whether a task, whose step will wait at its own level, gives way after so many seconds of work."""
    path = alive.path_of(_WAY, task_id)
    level = (object_in(path) or {}).get("level") if path is not None and path.exists() else None
    return isinstance(level, int) and allows(level, own_level, worked_s, turn_s)


def allows(level: int, own_level: int, worked_s: float, turn_s: float) -> bool:
    """Return whether a step that will wait at its own level gives way, after so many seconds of work, to one at
    `level`."""
    if level > own_level:
        return False
    return worked_s >= (MIN_TURN_S if level < own_level else max(turn_s, MIN_TURN_S))


def drain_tasks() -> None:
    """Tell the tasks of this worker to take no more videos. Best effort."""
    with contextlib.suppress(OSError, KeyError):
        Path(os.environ[alive.RUNTIME], _DRAINING).touch()


def draining() -> bool:
    """Return whether the worker around this task takes no more videos."""
    runtime = os.environ.get(alive.RUNTIME)
    return bool(runtime) and os.path.exists(os.path.join(str(runtime), _DRAINING))


def drain_is_asked() -> bool:
    """Return whether this worker was told to finish what it has."""
    runtime = os.environ.get(alive.RUNTIME)
    return bool(runtime) and os.path.exists(os.path.join(str(runtime), _ASKED))


def name_worker(node: str) -> None:
    """Write the worker's name, by which it is found. Best effort."""
    with contextlib.suppress(OSError, KeyError):
        Path(os.environ[alive.RUNTIME], _NODE).write_text(node)


@dataclass(frozen=True)
class LocalWorker:
    """A worker of this user on this machine."""

    node: str
    pid: int
    runtime: Path

    @property
    def alive(self) -> bool:
        return self.runtime.is_dir() and Path("/proc", str(self.pid)).exists()

    def drain(self) -> None:
        """Have it finish what it has, and end. Raises OSError."""
        (self.runtime / _ASKED).touch()

    def wait(self) -> None:
        """Return when it is gone."""
        while self.alive:
            time.sleep(_LOOK_EVERY_S)


def prefix() -> str:
    """Return how runtime folders of this namespace of processes begin: containers may share the folder around them."""
    return f"{PREFIX}{os.stat('/proc/self/ns/pid').st_ino}-"


def local_workers() -> Iterator[LocalWorker]:
    """Give the workers of this user that run here."""
    begins = prefix()
    for runtime in sorted(Path(tempfile.gettempdir()).glob(f"{begins}*")):
        pid = runtime.name.removeprefix(begins).partition("-")[0]
        with contextlib.suppress(OSError):
            if runtime.is_symlink() or runtime.stat().st_uid != os.getuid() or not pid.isdecimal():
                continue
            worker = LocalWorker((runtime / _NODE).read_text(), int(pid), runtime)
            if worker.alive:
                yield worker
