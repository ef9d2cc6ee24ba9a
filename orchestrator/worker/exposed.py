"""The metrics of a worker, under the names of docs/metrics.md.

The keeper notes each of its looks here; the server, which lives in the worker's parent process, asks at each scrape.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from engine.errors import ConfigError
from engine.text.say import say
from orchestrator.errors import SettingsError
from orchestrator.worker.readings import Ledger, Reading

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


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


@contextlib.contextmanager
def serving(asked: str | None) -> Iterator[None]:
    """Serve the metrics of this worker for a block, where that is asked for. Raises SettingsError."""
    if asked is None:
        yield
        return
    try:
        from engine.observe import prometheus
        from engine.observe.address import Address

        with prometheus.served(Address.of(asked), _families) as here:
            say(f"Metrics: http://{here}/metrics", err=True)
            yield
    except ConfigError as error:
        raise SettingsError(str(error)) from error


def _families() -> Iterator[Metric]:
    from engine.observe.prometheus import counter, counters, families, gauge, gauges

    look, reading = exposed.read()
    yield from families(replace(reading.engines, ended=reading.videos))
    yield counters("yolo_attempts", "Attempts at videos that have ended, by how.", "how", reading.attempts)
    yield counter("yolo_engine_failures", "Ends of engines for which no video was to blame.", reading.engine_failures)
    yield gauge("yolo_leases", "Videos that are leased to this worker.", reading.leases)
    yield gauge("yolo_worker_slots", "Tasks that may run at the same time.", look.slots)
    yield gauge("yolo_worker_slots_busy", "Tasks that run.", look.busy)
    yield gauge("yolo_worker_slots_silent", "Tasks that give no sign of life.", look.silent)
    yield gauges("yolo_queue_messages", "Messages that wait in a queue of this worker.", "queue", look.queues)
    yield gauge("yolo_dead_messages", "Messages that were set aside at the broker.", look.dead)
    yield gauge("yolo_broker_up", "Whether the broker answered at the last look.", look.broker)
