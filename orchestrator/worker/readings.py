"""What the tasks of a worker have done, in numbers: written by each task, added up by the worker's parent process.

A task writes its numbers to a file of the worker's runtime folder, as it does its signs of life (alive.py). They only
grow; what a task has left when it ended, or died, is added to what the worker has done.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from engine.observe.snapshot import Snapshot, added
from orchestrator.job.atomic_json import object_in, write_quick
from orchestrator.worker import alive

_PREFIX = "readings-"
_SETTLED_S = 10.0
"""Seconds since the last change from which a task that the worker does not hold writes no more."""


@dataclass(frozen=True)
class Reading:
    """The numbers of one task, or of several. `attempts` at videos by how they ended, `videos` by their results, and
    `engine_failures`, in which no video was to blame, only grow; `leases` are those held now."""

    engines: Snapshot = field(default_factory=Snapshot)
    attempts: Mapping[str, int] = field(default_factory=dict)
    videos: Mapping[str, int] = field(default_factory=dict)
    engine_failures: int = 0
    leases: int = 0

    def at_its_end(self) -> Reading:
        """Return what is left of it when the task has ended: what only grows."""
        return replace(self, engines=self.engines.at_its_end(), leases=0)

    def to_json(self) -> dict[str, object]:
        return {
            "engines": self.engines.to_json(),
            "attempts": dict(self.attempts),
            "videos": dict(self.videos),
            "engine_failures": self.engine_failures,
            "leases": self.leases,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Self:
        """Raise ValueError, KeyError or TypeError for what `to_json` does not give."""
        found = json.loads(json.dumps(value))
        return cls(
            Snapshot.from_json(found["engines"]),
            {str(key): int(count) for key, count in found["attempts"].items()},
            {str(key): int(count) for key, count in found["videos"].items()},
            int(found["engine_failures"]),
            int(found["leases"]),
        )


def total(readings: Iterable[Reading]) -> Reading:
    """Return the sum of some tasks."""
    found = list(readings)
    attempts: Counter[str] = Counter()
    videos: Counter[str] = Counter()
    for each in found:
        attempts.update(each.attempts)
        videos.update(each.videos)
    return Reading(
        added(each.engines for each in found),
        dict(attempts),
        dict(videos),
        sum(each.engine_failures for each in found),
        sum(each.leases for each in found),
    )


class Taken:
    """The numbers of a process step, over all its engine processes, one after the other."""

    def __init__(self, cpu_s: float = 0.0) -> None:
        """`cpu_s` is what was computed for the previous step, and is told nowhere else."""
        self._before = Snapshot()
        self._now = Snapshot()
        self._failures = 0
        self._carried_s = cpu_s

    def measured(self, engine: Snapshot) -> None:
        """Take what the engine at work has told of itself last."""
        self._now = engine

    def engine_ended(self) -> None:
        """Forget the engine at work, which has ended: another may follow."""
        self._before, self._now = added((self._before, self._now.at_its_end())), Snapshot()

    def engine_failed(self) -> None:
        """Note that no video was to blame for its end."""
        self._failures += 1

    @property
    def cpu_s(self) -> float:
        """CPU time of the step's engines so far."""
        return round(self._carried_s + self._before.cpu_s + self._now.cpu_s, 2)

    def reading(self, attempts: Mapping[str, int], videos: Mapping[str, int], leases: int) -> Reading:
        return Reading(added((self._before, self._now)), dict(attempts), dict(videos), self._failures, leases)


def show(task_id: str, reading: Reading) -> None:
    """Write the numbers of a task, as best effort. Does nothing outside a worker."""
    path = alive.path_of(_PREFIX, task_id)
    if path is not None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_quick(path, reading.to_json())


class Ledger:
    """What a worker has done since it began. Used by one thread at a time."""

    def __init__(self) -> None:
        self._ended = Reading()

    def read(self, held: Iterable[str]) -> Reading:
        """Return the numbers of all tasks so far, with those that are `held` now."""
        names = {path.name for task_id in held if (path := alive.path_of(_PREFIX, task_id)) is not None}
        present: list[Reading] = []
        for path in self._files():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                age_s = time.time() - path.stat().st_mtime
                reading = Reading.from_json(object_in(path) or {})
                if path.name in names or age_s < _SETTLED_S:
                    present.append(reading)
                    continue
                self._ended = total((self._ended, reading.at_its_end()))
                path.unlink()
        return total((self._ended, *present))

    @staticmethod
    def _files() -> list[Path]:
        runtime = os.environ.get(alive.RUNTIME)
        return sorted(Path(runtime).glob(f"{_PREFIX}*")) if runtime else []
