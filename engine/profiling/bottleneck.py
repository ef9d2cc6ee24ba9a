"""The verdict on a run: which stage binds it, at how many frames per second, and what a change would give.

As JSON, under `verdict` in a summary (`yolo-engine run --stats --json`, `Engine(config, stats=True)`):

    fps          frames per second of the run, `frames` in `elapsed_s`; of a continued one, those done now
    binding      the stage that binds; `cores` where it is all of them together
    stage        the stage whose repair gives most: the one that binds, or what takes most of the cores
    ceiling_fps  what the binding one allows at most; never less than was done, although costs are measured with errors
    explained    the part of what the limits together allow that was reached; far below 1, something binds that is not
                 measured, as Python's lock
    next         the best change of `changes` that is a repair of a stage
    changes      best first: `change`, `of` what, the `fps` it would give, and `then`: what binds then. A stage is left
                 out (`without`) or `halved`; worker, streams (decoders and sinks) or cores (and workers on them) are
                 `doubled`. What gives less than 5 % is not told, nor cores where workers alone give it
    limits       ceilings, the lowest first: `of` decode, worker, sink, cores, or streams where most is spent between
                 two videos; the `stage` with most of it, and its `fps`
    threads      of each kind: `count` at once; `busy`, `waits_input`, `waits_room` and `waits_end` (of a video, for
                 what was given) as shares of their time, 1 in all; and `stages`: `frames`, `busy` as a share of the
                 time of their threads, `wall_ms` per frame, and what of it was computing (`cpu_ms`) and waiting for a
                 core (`queued_ms`); the rest of it slept: for a disk, a network, a card or Python's lock
    cores        `count` that this process may use, `used` by it and by `others` on average, `left` to it

Stages are open, decode (`source` of a live one), gate (if there is one), recall (for a video in pieces),
preprocess, infer, postprocess, track, `sink NAME` of each sink, tally (counting, checkpoints) and finish (encoders
emptied, files moved to their place). Decode is on the decoders, and those from track to tally are on threads of kind
sink, or they are on the workers; of frames that are recalled, all are with whoever decodes. In `Engine.stream`, `sink
callback` is the caller. Numbers per frame are of the frames that the stage had; of open and finish, of the run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypedDict

from engine.profiling.ceilings import CORES, STREAMS, Ceiling, Load, load_of
from engine.profiling.thread_usage import ThreadsUsage, Usage

# A change that gives less than this is none.
_MIN_GAIN = 1.05

# A live source gives frames at its own pace: nothing here makes it faster.
_LIVE = "source"


class ChangeKind(StrEnum):
    """A stage left out, its cost halved, or the number of threads doubled, or of cores and the workers on them."""

    WITHOUT = "without"
    HALVED = "halved"
    DOUBLED = "doubled"


class ChangeJson(TypedDict):
    """A Change as JSON values."""

    change: str
    of: str
    fps: float
    then: str


class LimitJson(TypedDict):
    """A ceiling as JSON values."""

    of: str
    stage: str
    fps: float


class StageJson(TypedDict):
    """One stage of a kind of threads; see `threads` above."""

    stage: str
    frames: int
    wall_ms: float
    cpu_ms: float
    queued_ms: float
    busy: float


class ThreadsJson(TypedDict):
    """One kind of threads; see `threads` above."""

    of: str
    count: int
    busy: float
    waits_input: float
    waits_room: float
    waits_end: float
    stages: list[StageJson]


class CoresJson(TypedDict):
    """The cores; see `cores` above."""

    count: float
    used: float
    others: float
    left: float


class VerdictJson(TypedDict):
    """A Verdict as JSON values, as this module describes them."""

    fps: float
    frames: int
    elapsed_s: float
    binding: str
    stage: str
    ceiling_fps: float
    explained: float
    next: ChangeJson | None
    changes: list[ChangeJson]
    limits: list[LimitJson]
    threads: list[ThreadsJson]
    cores: CoresJson


@dataclass(frozen=True)
class Change:
    """A change of what it is made `of`, the frames per second it would give, and what binds `then`."""

    change: ChangeKind
    of: str
    fps: float
    then: str


@dataclass(frozen=True)
class Verdict:
    """What a run was bound by; see this module. `usage` is what was measured, `load` what follows from it."""

    usage: Usage
    load: Load
    limits: tuple[Ceiling, ...]
    changes: tuple[Change, ...]

    @property
    def fps(self) -> float:
        return self.usage.frames / self.usage.elapsed_s

    @property
    def binding(self) -> str:
        lowest = self.limits[0]
        return CORES if lowest.of == CORES else lowest.stage

    @property
    def stage(self) -> str:
        """The stage to repair."""
        return self.limits[0].stage

    @property
    def ceiling_fps(self) -> float:
        return self.limits[0].fps

    @property
    def explained(self) -> float:
        return min(1.0, self.fps / self.load.reached().fps)

    @property
    def next(self) -> Change | None:
        """The best repair of a stage; None if none gives more."""
        return next((change for change in self.changes if change.change is ChangeKind.WITHOUT), None)

    def predict(self, stage: str, left: float = 0.0) -> float:
        """Return the frames per second if a stage took `left` times what it takes: 0.5 is half of it, 0 nothing."""
        return self.explained * self.load.with_cost(stage, left).reached().fps

    def to_json(self) -> VerdictJson:
        """Return it as JSON values, as this module describes them."""
        usage = self.usage
        return {
            "fps": round(self.fps, 2),
            "frames": usage.frames,
            "elapsed_s": round(usage.elapsed_s, 3),
            "binding": self.binding,
            "stage": self.stage,
            "ceiling_fps": round(self.ceiling_fps, 2),
            "explained": round(self.explained, 3),
            "next": _change(self.next) if self.next else None,
            "changes": [_change(change) for change in self.changes],
            "limits": [{"of": item.of, "stage": item.stage, "fps": round(item.fps, 2)} for item in self.limits],
            "threads": [_threads(threads, usage.frames) for threads in usage.threads],
            "cores": {
                "count": round(usage.cores.usable, 2),
                "used": round(usage.cpu_s / usage.elapsed_s, 2),
                "others": round(usage.others, 2),
                "left": round(self.load.cores, 2),
            },
        }


def verdict_of(usage: Usage, *, on_card: bool = False) -> Verdict | None:
    """Return the verdict on a run; None if no frame was done. `on_card`: a card computes inference, and more workers
    don't make it faster."""
    if not usage.frames or usage.elapsed_s <= 0:
        return None
    load = load_of(usage)
    fps = usage.frames / usage.elapsed_s
    limits = tuple(replace(ceiling, fps=max(fps, ceiling.fps)) for ceiling in load.ceilings())
    if not limits:
        return None
    explained = min(1.0, fps / load.reached().fps)
    return Verdict(usage, load, limits, tuple(_changes(usage, load, explained, on_card)))


def _changes(usage: Usage, load: Load, explained: float, on_card: bool) -> list[Change]:
    found = []
    least_fps = _MIN_GAIN * usage.frames / usage.elapsed_s

    def consider(change: ChangeKind, of: str, changed: Load, instead: float = 0.0) -> None:
        after = changed.reached()
        if explained * after.fps >= least_fps and after.fps >= _MIN_GAIN * instead:
            found.append(Change(change, of, explained * after.fps, CORES if after.of == CORES else after.stage))

    for stage in dict.fromkeys(cost.stage for cost in load.costs if cost.stage != _LIVE):
        consider(ChangeKind.WITHOUT, stage, load.with_cost(stage, 0.0))
        consider(ChangeKind.HALVED, stage, load.with_cost(stage, 0.5))
    streams = next((threads.count for threads in usage.threads if threads.role == "decode"), 1)
    wider = load if on_card else load.with_more("worker", 2)
    consider(ChangeKind.DOUBLED, "worker", wider)
    if usage.videos > streams:
        consider(ChangeKind.DOUBLED, STREAMS, load.with_more(STREAMS, 2))
    consider(ChangeKind.DOUBLED, CORES, wider.with_more(CORES, 2), wider.reached().fps)
    return sorted(found, key=lambda change: -change.fps)


def _change(change: Change) -> ChangeJson:
    return {"change": change.change.value, "of": change.of, "fps": round(change.fps, 2), "then": change.then}


def _threads(threads: ThreadsUsage, frames: int) -> ThreadsJson:
    whole_s = threads.alive_s or 1.0
    return {
        "of": threads.role,
        "count": threads.count,
        "busy": round(threads.busy_s / whole_s, 3),
        "waits_input": round(threads.input_s / whole_s, 3),
        "waits_room": round(threads.room_s / whole_s, 3),
        "waits_end": round(threads.drain_s / whole_s, 3),
        "stages": [
            {
                "stage": stage.stage,
                "frames": stage.frames,
                "wall_ms": round(1000 * stage.wall_s / (stage.frames or frames), 3),
                "cpu_ms": round(1000 * stage.cpu_s / (stage.frames or frames), 3),
                "queued_ms": round(1000 * stage.queued_s / (stage.frames or frames), 3),
                "busy": round(stage.wall_s / whole_s, 3),
            }
            for stage in threads.stages
        ],
    }
