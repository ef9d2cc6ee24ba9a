"""How the threads of a run spent their time: plain numbers, measured by `metrics` and read by `ceilings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from engine.profiling.cores import Cores


class StageUsage(NamedTuple):
    """Seconds of a stage, added over its threads.

    wall_s    inside the stage
    cpu_s     of it, computing
    queued_s  of it, ready to compute without a core to do it on
    The rest is what the stage waits for itself: a disk, a network, a card, the interpreter's lock.
    """

    stage: str
    frames: int
    wall_s: float
    cpu_s: float
    queued_s: float

    @property
    def own_s(self) -> float:
        """What the stage would take with a core of its own always at hand."""
        return max(self.cpu_s, self.wall_s - self.queued_s)


@dataclass(frozen=True)
class ThreadsUsage:
    """Threads of one role: decode and sink have one a stream, worker some.

    `count` is how many there are at once. They wait for records (`input_s`), for room behind them (`room_s`), or at the
    end of a video for what they gave (`drain_s`).
    """

    role: str
    count: int
    input_s: float
    room_s: float
    drain_s: float
    stages: tuple[StageUsage, ...]

    @property
    def alive_s(self) -> float:
        return self.busy_s + self.input_s + self.room_s + self.drain_s

    @property
    def busy_s(self) -> float:
        return sum(stage.wall_s for stage in self.stages)


class Usage(NamedTuple):
    """A run. `cpu_s` is what the whole process computed, `others` how many of the process's cores others had on
    average. `queues_known`: whether the system told how long threads waited for a core."""

    elapsed_s: float
    videos: int
    cpu_s: float
    cores: Cores
    others: float
    threads: tuple[ThreadsUsage, ...]
    queues_known: bool = True

    @property
    def frames(self) -> int:
        """Frames of the run, inferred or not: each passes the tracker, once."""
        return sum(stage.frames for threads in self.threads for stage in threads.stages if stage.stage == "track")
