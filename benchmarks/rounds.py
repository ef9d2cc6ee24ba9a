"""Measures peers together: every round runs each of them once, so that load affects all of them equally.

Ratios are taken within a round. Their median over the rounds is stable on a noisy machine, unlike medians of times.
"""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

# ONNX Runtime's idle threads spin briefly after a run; they must be asleep before the next one is timed.
PAUSE_S = 0.3
# Minimum duration of a round of short work, so that the clock and the scheduler don't matter.
MIN_S = 0.01


@dataclass
class Samples:
    """Seconds of each counted round: on the clock, and CPU time of all threads of this process."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def each(self, pieces: int, scale: float = 1.0) -> list[float]:
        """Return the clock time of one of `pieces` equal parts of the work, per round; `scale` 1e6 gives
        microseconds."""
        return [seconds * scale / pieces for seconds in self.wall_s]


def alternate(
    work: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 1,
    pause_s: float = 0.0,
    setup: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, Samples]:
    """Run each of `work` once per round, in turn, and in reverse in every second round. The first `warmup` rounds don't
    count.

    `setup` of the same name runs before it and isn't timed. Garbage is collected between runs, not within them. What
    either raises ends the measurement.
    """
    found = {name: Samples() for name in work}
    for number in range(warmup + rounds):
        for name in list(work)[:: -1 if number % 2 else 1]:
            if setup and name in setup:
                setup[name]()
            time.sleep(pause_s)
            gc.collect()
            gc.disable()
            try:
                cpu_s, start = time.process_time(), time.perf_counter()
                work[name]()
                wall_s, cpu_s = time.perf_counter() - start, time.process_time() - cpu_s
            finally:
                gc.enable()
            if number >= warmup:
                found[name].wall_s.append(wall_s)
                found[name].cpu_s.append(cpu_s)
    return found


class Repeated:
    """Repeats work that is too short for a round `times` times, so that it takes MIN_S. It is tried twice."""

    def __init__(self, work: Callable[..., object], *arguments: object) -> None:
        self._work = partial(work, *arguments)
        self._work()
        start = time.perf_counter()
        self._work()
        self.times = max(1, round(MIN_S / (time.perf_counter() - start)))

    def __call__(self) -> None:
        for _ in range(self.times):
            self._work()


def alternate_short(
    work: Mapping[str, Repeated], *, rounds: int, warmup: int = 1, scale: float = 1.0
) -> dict[str, list[float]]:
    """Return the clock time of each work, run once per round, as a row's figures. `scale` 1e3 gives milliseconds."""
    samples = alternate(work, rounds=rounds, warmup=warmup)
    return {name: sample.each(work[name].times, scale) for name, sample in samples.items()}
