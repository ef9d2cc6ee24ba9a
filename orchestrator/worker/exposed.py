"""The metrics of a worker, under the names of docs/metrics.md.

The keeper notes each of its looks here; the server (`metrics`), which lives in the worker's parent process, asks at
each scrape.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from orchestrator.worker.readings import Ledger, Reading


@dataclass(frozen=True)
class KeepersLook:
    """What the keeper saw last: `queues` have the messages that wait in each, `dead` those that were set aside;
    `silent` are tasks that give no sign of life. `broker` says whether it answered."""

    slots: int = 0
    busy: int = 0
    silent: int = 0
    queues: Mapping[str, int] = field(default_factory=dict)
    dead: int = 0
    broker: bool = False


class Exposed:
    """What is told of this worker. The keeper writes, the server reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._look = KeepersLook()
        self._held: Callable[[], Iterable[str]] = tuple
        self._ledger = Ledger()

    def held_by(self, held: Callable[[], Iterable[str]]) -> None:
        """Say who knows the ids of the tasks that the worker holds."""
        self._held = held

    def note(self, look: KeepersLook) -> None:
        """Take a look of the keeper, and what tasks have left."""
        with self._lock:
            self._look = look
            self._ledger.read(self._held())

    def broker_is_away(self) -> None:
        """Note that the keeper could not ask the broker."""
        with self._lock:
            self._look = replace(self._look, broker=False)

    def read(self) -> tuple[KeepersLook, Reading]:
        with self._lock:
            return self._look, self._ledger.read(self._held())


exposed = Exposed()
