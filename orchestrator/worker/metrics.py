"""Serves the metrics of a worker. Needs the extra `metrics`; a worker without --metrics does not import it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.observe.address import Address
from engine.observe.prometheus import counter, counters, families, gauge, gauges, served
from engine.text.say import say
from orchestrator.worker.exposed import exposed

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


@contextlib.contextmanager
def serving(asked: str) -> Iterator[None]:
    """Serve the metrics of this worker for a block. Raises ConfigError."""
    with served(Address.of(asked), _families) as here:
        say(f"Metrics: http://{here}/metrics", err=True)
        yield


def _families() -> Iterator[Metric]:
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
