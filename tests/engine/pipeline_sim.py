"""A simulation of the pipeline in virtual time: the same threads, queues and windows, on fairly shared cores.

It takes the same measurements as the real one, reproducibly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from engine.profiling.cores import Cores
from engine.profiling.thread_usage import StageUsage, ThreadsUsage, Usage

# A stage of a frame: seconds of sleep, then seconds of computing.
Costs = Mapping[str, tuple[float, float]]
Step = tuple[str, float, float] | tuple[str, Callable[[], bool]]

_NEVER = float("inf")
_TINY = 1e-12


@dataclass
class Thread:
    """A generator of steps (stage, sleep, compute) and (wait, until), and where its time went."""

    role: str
    steps: Iterator[Step]
    what: str = ""
    sleep_s: float = 0.0
    burn_s: float = 0.0
    until: Callable[[], bool] | None = None
    done: bool = False
    took: dict[str, list[float]] = field(default_factory=dict)

    def ready(self) -> bool:
        if self.done:
            return False
        return self.until() if self.until is not None else self.sleep_s <= _TINY and self.burn_s <= _TINY

    def step(self) -> None:
        found = next(self.steps, None)
        if found is None:
            self.done = True
            return
        self.what, self.until = found[0], None
        self.took.setdefault(self.what, [0.0, 0.0, 0.0, 0])[3] += 1
        if len(found) == 2:
            self.until = found[1]
        else:
            self.sleep_s, self.burn_s = found[1:]

    @property
    def burning(self) -> bool:
        return not self.done and self.until is None and self.sleep_s <= _TINY and self.burn_s > _TINY


def simulate(
    costs: Costs,
    *,
    videos: Sequence[int] = (200,),
    streams: int = 1,
    workers: int = 1,
    cores: float = 2,
    window: int = 8,
    hosted: bool = False,
) -> Usage:
    """What a run would measure. `videos` are their frames; `costs` has also what opening and finishing one takes.
    `hosted`: workers decode, track and write in passing; else two threads of each stream do."""
    streams = min(streams, len(videos))
    few = math.ceil(1.5 * workers / streams)
    queue, frames = list(videos), []
    slots = [Slot(window) for _ in range(streams)]

    def cost(stage: str) -> Step:
        return (stage, *costs.get(stage, (0.0, 0.0)))

    def decode(slot: Slot) -> Iterator[Step]:
        while queue:
            count = queue.pop(0)
            yield cost("open")
            if hosted:
                slot.left = count
                frames.insert(0, (slot, "decoder"))
            else:
                for _ in range(count):
                    yield cost("decode")
                    yield ("room", lambda: slot.free > 0)
                    slot.free -= 1
                    frames.append(slot)
                frames.append((slot, "end"))
            yield ("drain", lambda: slot.ended and slot.free == window)
            slot.ended = False
            yield cost("finish")

    def work() -> Iterator[Step]:
        while True:
            yield ("input", lambda: bool(frames))
            slot = frames.pop(0)
            if isinstance(slot, Slot):
                for stage in ("preprocess", "infer", "postprocess"):
                    yield cost(stage)
            elif slot[1] == "end":
                slot[0].ended = True
                continue
            else:
                yield from burst(slot[0])
                continue
            slot.results += 1
            if hosted and not slot.turn:
                slot.turn = True
                while slot.results:
                    yield from follow(slot)
                slot.turn = False

    def burst(slot: Slot) -> Iterator[Step]:
        while slot.left and window - slot.free < min(few + 3, window):
            yield cost("decode")
            slot.free -= 1
            slot.left -= 1
            frames.append(slot)
        if slot.left:
            slot.rests = True
        else:
            frames.append((slot, "end"))

    def sink(slot: Slot) -> Iterator[Step]:
        while True:
            yield ("input", lambda: slot.results > 0)
            yield from follow(slot)

    def follow(slot: Slot) -> Iterator[Step]:
        slot.results -= 1
        yield cost("track")
        yield cost("sink video")
        slot.free += 1
        if slot.rests and window - slot.free < few:
            slot.rests = False
            frames.insert(0, (slot, "decoder"))

    threads = [Thread("decode", decode(slot)) for slot in slots] + [Thread("worker", work()) for _ in range(workers)]
    if not hosted:
        threads += [Thread("sink", sink(slot)) for slot in slots]
    elapsed_s = _run(threads, cores)
    counts = {"decode": streams, "worker": workers, **({} if hosted else {"sink": streams})}
    used = tuple(_usage(role, count, [t for t in threads if t.role == role]) for role, count in counts.items())
    computed_s = sum(stage.cpu_s for threads in used for stage in threads.stages)
    return Usage(elapsed_s, len(videos), computed_s, Cores(int(cores), cores), 0.0, used)


@dataclass(eq=False)
class Slot:
    free: int
    results: int = 0
    turn: bool = False
    left: int = 0  # frames to decode, and whether the decoder rests
    rests: bool = False
    ended: bool = False


def _run(threads: list[Thread], cores: float) -> float:
    now_s = 0.0
    decoders = [thread for thread in threads if thread.role == "decode"]
    for thread in threads:
        thread.step()
    while True:
        while ready := [thread for thread in threads if thread.ready()]:
            ready[0].step()
        if all(thread.done for thread in decoders):
            return now_s
        burning = [thread for thread in threads if thread.burning]
        rate = min(1.0, cores / len(burning)) if burning else 1.0
        sleeps = [thread.sleep_s for thread in threads if thread.sleep_s > _TINY]
        ahead_s = min([*sleeps, *(thread.burn_s / rate for thread in burning)], default=_NEVER)
        assert ahead_s < _NEVER, "nobody moves"
        for thread in threads:
            if thread.done:
                continue
            took = thread.took[thread.what]
            took[0] += ahead_s
            if thread.burning:
                took[1] += ahead_s * rate
                took[2] += ahead_s * (1 - rate)
                thread.burn_s -= ahead_s * rate
            elif thread.sleep_s > _TINY:
                thread.sleep_s -= ahead_s
        now_s += ahead_s


def _usage(role: str, count: int, threads: list[Thread]) -> ThreadsUsage:
    sums: dict[str, list[float]] = {}
    for thread in threads:
        for what, took in thread.took.items():
            sums[what] = [a + b for a, b in zip(sums.get(what, [0.0, 0.0, 0.0, 0]), took, strict=True)]
    waits = {what: sums.pop(what, [0.0])[0] for what in ("input", "room", "drain")}
    stages = tuple(StageUsage(what, int(n), wall, cpu, queued) for what, (wall, cpu, queued, n) in sums.items())
    return ThreadsUsage(role, count, waits["input"], waits["room"], waits["drain"], stages)
