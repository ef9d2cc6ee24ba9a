"""Ceilings: how many frames per second each kind of thread, and the cores, could do at most.

* Threads: `n` of them that take `t` seconds per frame do `n / t`. Here `t` is wall time without the waiting for a core
  that other threads of ours had: a stage that sleeps (a slow disk, a card) binds by it, however idle the cores are.
* Decoders and sinks: one thread per stream, so `n` is the number of streams, and the opening and closing of videos, in
  which no frame moves, counts too. Where workers decode, track and write in passing, the frames of a stream still do so
  one after the other, as if it had threads for it.
* The cores: what all threads compute for a frame, on the cores that are left to this process.

The lowest ceiling binds. This is the operational analysis of queueing networks (Denning & Buzen 1978): asymptotic
bounds, which say nothing of the interpreter's lock, caches and clock rates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from engine.profiling.thread_usage import StageUsage, Usage

CORES, STREAMS = "cores", "streams"

# One thread per stream; the frames of a stream pass one after the other.
PER_STREAM = ("decode", "sink")

# Their stages that workers may have in their place, by the first words of their names.
_IN_PLACE_OF = {"decode": ("decode",), "sink": ("track", "sink", "tally")}

# How sharply the lower of two limits decides: see `Load.reached`.
_POWER = 8

# Below this, what other programs compute is as good as nothing: ticks are coarse.
_FEW = 0.05

# Where less than this share of the wanted time was had, threads were waiting for cores.
_CONTENDED = 0.9

# Stages in which no frame of a stream moves: its beginning and its end.
BETWEEN = ("open", "finish")


@dataclass(frozen=True)
class Cost:
    """What a frame of the run costs in a stage: seconds of its thread, and of them computed."""

    stage: str
    role: str
    own_s: float
    cpu_s: float

    def bears(self, role: str) -> bool:
        """Return whether it takes time of these threads, or of workers in their place."""
        return role == self.role or self.stage.split()[0] in _IN_PLACE_OF.get(role, ())


@dataclass(frozen=True)
class Ceiling:
    """`of` is a kind of thread, `cores`, or `streams` where most is spent between videos; `stage` takes most of it."""

    of: str
    stage: str
    fps: float


@dataclass(frozen=True)
class Load:
    """The costs of a frame, and what bears them.

    threads  how many of each kind there are at once
    cores    what is left to this process
    rest_s   seconds a frame computed by no stage: encoder threads, hashes of the inputs, the main thread
    videos   how many the run had, of `length` frames on average
    """

    costs: tuple[Cost, ...]
    threads: Mapping[str, float]
    cores: float
    rest_s: float
    videos: int
    length: float

    @property
    def streams(self) -> float:
        return self.threads.get("decode", 1.0)

    def ceilings(self) -> list[Ceiling]:
        """Return them, the lowest first."""
        found: dict[str, Ceiling] = {}
        for role, count in {"sink": self.streams, **self.threads}.items():
            costs = [cost for cost in self.costs if cost.bears(role) and cost.stage not in BETWEEN]
            at_once = 1.0 if role in PER_STREAM else count  # threads that one stream can keep busy
            self._limit(found, role, costs, sum(cost.own_s for cost in costs) / at_once)
        self._limit(found, CORES, [], (sum(cost.cpu_s for cost in self.costs) + self.rest_s) / self.cores)
        return sorted(found.values(), key=lambda ceiling: ceiling.fps)

    def reached(self) -> Ceiling:
        """Return the lowest ceiling, and how near it such a run would come.

        Where threads that compute and the cores allow about the same, each spoils it for the other: now and then a
        thread that could continue has no core. The sum of powers is a rule of thumb; two equal limits give 92 % of one.
        """
        ceilings = self.ceilings()
        lowest = ceilings[0]
        cores = next((ceiling for ceiling in ceilings if ceiling.of == CORES), None)
        threads = next((ceiling for ceiling in ceilings if ceiling.of != CORES), None)
        if cores is None or threads is None:
            return lowest
        costs = [cost for cost in self.costs if cost.bears(threads.of)]
        computing = sum(cost.cpu_s for cost in costs) / (sum(cost.own_s for cost in costs) or 1.0)
        other = max(cores, threads, key=lambda ceiling: ceiling.fps)
        return replace(lowest, fps=lowest.fps / (1 + (computing * lowest.fps / other.fps) ** _POWER) ** (1 / _POWER))

    def _limit(self, found: dict[str, Ceiling], of: str, costs: list[Cost], frame_s: float) -> None:
        """Add what a kind of thread, or the cores, allow if they take `frame_s` for a frame of one stream.

        Where all streams share them, they continue while one of the streams ends and begins, but not at the beginning
        and the end of the run. One stream takes its frames, the way of a first frame through all stages, and the time
        in which no frame moves.
        """
        between = [cost for cost in self.costs if cost.stage in BETWEEN]
        between_s = sum(cost.own_s for cost in between)
        way_s = sum(cost.own_s for cost in self.costs if cost.stage not in BETWEEN)
        stream_s = frame_s + max(0.0, way_s - frame_s) / self.length + between_s
        seconds = stream_s / self.streams
        if of not in PER_STREAM and frame_s + between_s / self.videos > seconds:
            seconds, between = frame_s + between_s / self.videos, []
        if seconds <= 0:
            return
        if between and (longest := max(between, key=lambda cost: cost.own_s)).own_s > frame_s:
            of, stage = STREAMS, longest.stage
        elif of == CORES:
            stage = max(self.costs, key=lambda cost: cost.cpu_s).stage
        elif costs:
            stage = max(costs, key=lambda cost: cost.own_s).stage
        else:
            return
        if of not in found or 1 / seconds < found[of].fps:
            found[of] = Ceiling(of, stage, 1 / seconds)

    def with_cost(self, stage: str, left: float) -> Load:
        """Return the same, were a stage to take `left` times what it takes: 0.5 is half of it."""

        def changed(cost: Cost) -> Cost:
            return replace(cost, own_s=left * cost.own_s, cpu_s=left * cost.cpu_s) if cost.stage == stage else cost

        return replace(self, costs=tuple(map(changed, self.costs)))

    def with_more(self, of: str, times: float) -> Load:
        """Return the same on `times` as many cores, or threads of a kind; more streams are more decoders and sinks."""
        if of == CORES:
            return replace(self, cores=times * self.cores)
        roles = PER_STREAM if of == STREAMS else (of,)
        return replace(self, threads={role: n * (times if role in roles else 1) for role, n in self.threads.items()})


def load_of(usage: Usage) -> Load:
    """Return what was measured, per frame. There is at least one."""
    frames = usage.frames
    cores = cores_left(usage)
    delayed, saturated = _of_others(usage), 0.0
    if not usage.queues_known:  # where the cores are nearly all in use, what was not computed was waited for them
        saturated = min(1.0, max(0.0, (usage.cpu_s / usage.elapsed_s / cores - 0.8) / 0.2))

    def own_s(stage: StageUsage) -> float:
        return stage.own_s + delayed * stage.queued_s - saturated * max(0.0, stage.own_s - stage.cpu_s)

    costs = tuple(
        Cost(stage.stage, threads.role, own_s(stage) / frames, stage.cpu_s / frames)
        for threads in usage.threads
        for stage in threads.stages
    )
    computed_s = frames * sum(cost.cpu_s for cost in costs)
    counts = {threads.role: float(threads.count) for threads in usage.threads}
    streams = _streams(usage)
    threads = {role: streams if role in PER_STREAM else count for role, count in counts.items()}
    rest_s = max(0.0, usage.cpu_s - computed_s) / frames
    return Load(costs, threads, cores, rest_s, max(1, usage.videos), frames / max(1, usage.videos))


def cores_left(usage: Usage) -> float:
    """Return cores that this process has, or would have if it wanted all of them: a fair share beside other programs,
    if they continue as they did. How many of their threads there are shows in how long ours had to wait for a core."""
    machine = usage.cores.machine
    if usage.others < _FEW:
        return usage.cores.usable
    wanted = (usage.cpu_s + _queued_s(usage)) / usage.elapsed_s
    had = max(1e-6, usage.cpu_s / usage.elapsed_s)
    theirs = usage.others
    if had < _CONTENDED * wanted:
        theirs = max(theirs, machine * wanted / had - wanted)
    ours = max(wanted, machine)
    return max(0.01, min(usage.cores.usable, machine * ours / (theirs + ours)))


def _of_others(usage: Usage) -> float:
    """Return the part of the waiting for cores that is due to other programs, and stays whatever is repaired here."""
    had = usage.cpu_s / usage.elapsed_s
    return usage.others / (usage.others + had) if usage.others >= _FEW else 0.0


def _queued_s(usage: Usage) -> float:
    return sum(stage.queued_s for threads in usage.threads for stage in threads.stages)


def _streams(usage: Usage) -> float:
    """Return streams at once, on average: fewer than allowed where there are few videos, or one is longer than the
    others."""
    for threads in usage.threads:
        if threads.role == "decode":
            return max(0.01, min(float(threads.count), threads.alive_s / usage.elapsed_s))
    return 1.0
