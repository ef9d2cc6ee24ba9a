"""Reads an engine that is at work."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from pathlib import Path

from engine.engine import Engine
from engine.observe.snapshot import Snapshot, Stage
from engine.profiling.thread_usage import Usage

_OVER_S = 10.0
_STATM = Path("/proc/self/statm")


class Meter:
    """Gives a Snapshot of an engine whenever it is asked, from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def read(self) -> Snapshot:
        """Return what the engine has done in its last run. Its speed is over the last ten seconds, or since it was
        asked before that."""
        run, spent = self._engine.last_run, os.times()
        found = Snapshot(cpu_s=round(spent.user + spent.system, 2), memory_bytes=_memory_bytes())
        if run is None:
            return found
        usage, streams = run.pipeline.usage(), run.pipeline.progress()
        return Snapshot(
            frames=usage.frames,
            fps=self._speed(usage.frames),
            active=len(streams),
            ended=run.pipeline.statuses(),
            cpu_s=found.cpu_s,
            memory_bytes=found.memory_bytes,
            stages=tuple(_stages(usage)),
            queues=run.pipeline.queues(),
            gpu_s=self._engine.gpu_s(),
        )

    def _speed(self, frames: int) -> float:
        with self._lock:
            present = time.monotonic()
            while len(self._seen) > 1 and self._seen[1][0] < present - _OVER_S:
                self._seen.popleft()
            since, before = self._seen[0]
            if present - self._seen[-1][0] > _OVER_S / 10:
                self._seen.append((present, frames))
            return round((frames - before) / (present - since), 2) if present > since else 0.0


def _stages(usage: Usage) -> list[Stage]:
    return [
        Stage(threads.role, stage.stage, round(stage.wall_s, 3), round(min(1.0, stage.wall_s / threads.alive_s), 4))
        for threads in usage.threads
        for stage in threads.stages
        if threads.alive_s > 0
    ]


def _memory_bytes() -> int:
    """Return what the process holds in memory; 0 where Linux does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
