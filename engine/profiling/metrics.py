"""What the threads of a run do with their time. Each divides its own without locks; it is added up when asked."""

from __future__ import annotations

import threading
from collections import defaultdict
from time import perf_counter, process_time, thread_time
from types import TracebackType

from engine.profiling.cores import cores_of_process, queued_s, stolen_by_others
from engine.profiling.thread_usage import StageUsage, ThreadsUsage, Usage

# What a thread does while it has no work: it waits for records, for room behind it, for the end of what it gave, or it
# has no video.
INPUT, ROOM, DRAIN, IDLE = "input", "room", "drain", "idle"
_WAITS = (INPUT, ROOM, DRAIN, IDLE)


class Clock:
    """The time of one thread. Each `lap` gives all since the one before to a stage, or to a wait, so that nothing is
    left out. Costs under a microsecond; only its own thread may use it."""

    __slots__ = ("_cpu_s", "_metrics", "_queued_s", "_wall_s", "laps", "role")

    def __init__(self, metrics: Metrics, role: str) -> None:
        self.role = role
        self.laps: Laps = defaultdict(_none)
        self._metrics = metrics

    def __enter__(self) -> Clock:
        self._metrics.begun(self)
        self._queued_s = queued_s()
        self._wall_s, self._cpu_s = perf_counter(), thread_time()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        now = queued_s()
        self._metrics.ended(self, None if now is None or self._queued_s is None else now - self._queued_s)

    def lap(self, what: str, frames: int = 0) -> None:
        wall_s, cpu_s = perf_counter(), thread_time()
        entry = self.laps[what]
        entry[0] += wall_s - self._wall_s
        entry[1] += cpu_s - self._cpu_s
        entry[2] += frames
        self._wall_s, self._cpu_s = wall_s, cpu_s


# Stage or wait -> seconds, of them computed, frames, seconds it waited for a core.
Laps = dict[str, list[float]]


def _none() -> list[float]:
    return [0.0, 0.0, 0, 0.0]


class Metrics:
    """The clocks of a run's threads, and what the run took as a whole.

    `with metrics.clock("worker") as clock:` is the life of a thread. `start` and `stop` stand around the run.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._alive: list[Clock] = []
        self._ended: dict[str, Laps] = {}
        self._queues_known = True
        self._stolen = stolen_by_others()
        self._started_s = self._cpu_s = 0.0
        self._took: tuple[float, float, float] | None = None

    def start(self) -> None:
        self._stolen = stolen_by_others()
        self._started_s, self._cpu_s = perf_counter(), process_time()

    def stop(self) -> None:
        self._took = self._so_far()

    def clock(self, role: str) -> Clock:
        """Return the clock of a thread of this role: decode, worker or sink."""
        return Clock(self, role)

    def begun(self, clock: Clock) -> None:
        with self._lock:
            self._alive.append(clock)

    def ended(self, clock: Clock, queued_s: float | None) -> None:
        """Add a thread up: a run of many videos starts many, and must not grow with them."""
        with self._lock:
            self._alive.remove(clock)
            if queued_s is None:
                self._queues_known = False
            else:
                share_out(clock.laps, queued_s)
            _add(self._ended.setdefault(clock.role, {}), clock.laps)

    def usage(self, *, streams: int, workers: int, videos: int) -> Usage:
        """Return all so far. What a thread that is still alive waited for a core is not known yet."""
        elapsed_s, cpu_s, others = self._took or self._so_far()
        roles: dict[str, Laps] = defaultdict(dict)
        with self._lock:
            for role, laps in [*self._ended.items(), *((clock.role, clock.laps) for clock in self._alive)]:
                _add(roles[role], laps)
        counts = {"decode": streams, "worker": workers, "sink": streams}
        threads = tuple(_of_role(role, count, roles[role]) for role, count in counts.items() if roles[role])
        return Usage(elapsed_s, videos, cpu_s, cores_of_process(), others, threads, self._queues_known)

    def _so_far(self) -> tuple[float, float, float]:
        elapsed_s, cpu_s = perf_counter() - self._started_s, process_time() - self._cpu_s
        return elapsed_s, cpu_s, self._stolen(elapsed_s, cpu_s)


def _of_role(role: str, count: int, laps: Laps) -> ThreadsUsage:
    stages = tuple(
        StageUsage(what, int(frames), wall_s, cpu_s, queued_s)
        for what, (wall_s, cpu_s, frames, queued_s) in laps.items()
        if what not in _WAITS
    )
    waits = {what: laps[what][0] if what in laps else 0.0 for what in (INPUT, ROOM, DRAIN)}
    return ThreadsUsage(role, count, waits[INPUT], waits[ROOM], waits[DRAIN], stages)


def share_out(laps: Laps, queued_s: float) -> None:
    """Share the time waited for cores among a thread's stages. The system tells the sum; a stage has the share of it
    that it has of the computing, since that is what waits."""
    computed_s = sum(entry[1] for entry in laps.values())
    for entry in laps.values():
        if computed_s > 0:
            entry[3] = max(0.0, min(entry[0] - entry[1], queued_s * entry[1] / computed_s))


def _add(into: Laps, laps: Laps) -> None:
    for what, entry in list(laps.items()):
        sums = into.setdefault(what, _none())
        for i, value in enumerate(entry):
            sums[i] += value
