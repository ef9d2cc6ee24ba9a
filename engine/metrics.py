"""How long each stage is busy, counted per thread without locks and added up when asked."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


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
        self._all: list[dict[str, list[float]]] = []

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
            totals = self._own.totals = defaultdict(lambda: [0.0, 0])
            with self._lock:
                self._all.append(totals)
        entry = totals[stage]
        entry[0] += seconds
        entry[1] += records

    def totals(self) -> dict[str, StageTime]:
        """Busy time of each stage so far."""
        summed: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
        with self._lock:
            everyone = list(self._all)
        for totals in everyone:
            for stage, (seconds, records) in list(totals.items()):
                summed[stage][0] += seconds
                summed[stage][1] += records
        return {stage: StageTime(stage, int(records), seconds) for stage, (seconds, records) in summed.items()}
