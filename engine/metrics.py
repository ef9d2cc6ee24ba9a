"""How long each stage is busy, counted per thread without locks and added up when asked."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# Seconds and records of each stage.
Totals = dict[str, list[float]]


@dataclass(frozen=True)
class StageTime:
    """`busy_s` is wall time inside the stage, added over its threads; `records` is how often it was entered."""

    stage: str
    records: int
    busy_s: float


class Metrics:
    """`with metrics.busy("infer"):` around the work of a stage."""

    def __init__(self) -> None:
        self._own = threading.local()
        self._lock = threading.Lock()
        self._all: list[tuple[threading.Thread, Totals]] = []
        self._ended: Totals = _nothing()

    @contextmanager
    def busy(self, stage: str, records: int = 1) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(stage, time.perf_counter() - start, records)

    def add(self, stage: str, seconds: float, records: int = 1) -> None:
        totals = getattr(self._own, "totals", None)
        if totals is None:
            totals = self._own.totals = _nothing()
            with self._lock:
                self._fold()
                self._all.append((threading.current_thread(), totals))
        entry = totals[stage]
        entry[0] += seconds
        entry[1] += records

    def totals(self) -> dict[str, StageTime]:
        """Busy time of each stage so far."""
        summed = _nothing()
        with self._lock:
            for totals in (self._ended, *(totals for _, totals in self._all)):
                _add(summed, totals)
        return {stage: StageTime(stage, int(records), seconds) for stage, (seconds, records) in summed.items()}

    def _fold(self) -> None:
        """Adds up the threads that have ended: a run of many videos starts many, and must not grow with them."""
        for thread, totals in self._all:
            if not thread.is_alive():
                _add(self._ended, totals)
        self._all = [entry for entry in self._all if entry[0].is_alive()]


def _nothing() -> Totals:
    return defaultdict(lambda: [0.0, 0])


def _add(into: Totals, totals: Totals) -> None:
    for stage, (seconds, records) in list(totals.items()):
        into[stage][0] += seconds
        into[stage][1] += records
