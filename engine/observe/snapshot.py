"""The numbers of one moment, of one engine or of several added up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Self, TypedDict, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

_Number = TypeVar("_Number", int, float)


class StageJson(TypedDict):
    """A Stage as JSON values."""

    threads: str
    stage: str
    seconds: float
    share: float


class SnapshotJson(TypedDict):
    """A Snapshot as JSON values."""

    frames: int
    fps: float
    active: int
    ended: dict[str, int]
    cpu_s: float
    memory_bytes: int
    stages: list[StageJson]
    queues: dict[str, int]
    gpu_s: dict[str, float]


@dataclass(frozen=True)
class Stage:
    """What a stage has taken so far: `seconds` in all its threads, and `share` of their time."""

    threads: str
    stage: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Snapshot:
    """What an engine has done by now.

    These only grow: `frames`, `ended` videos by status, `cpu_s` of the process, the seconds of `stages`, `gpu_s` by
    part. These are of the moment: `fps`, `active` videos, `memory_bytes`, the shares of `stages`, frames that wait in
    the `queues` between them.
    """

    frames: int = 0
    fps: float = 0.0
    active: int = 0
    ended: Mapping[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    memory_bytes: int = 0
    stages: tuple[Stage, ...] = ()
    queues: Mapping[str, int] = field(default_factory=dict)
    gpu_s: Mapping[str, float] = field(default_factory=dict)

    def at_its_end(self) -> Snapshot:
        """Return what is left of it when the engine has ended: what only grows."""
        stages = tuple(replace(stage, share=0.0) for stage in self.stages)
        return replace(self, fps=0.0, active=0, memory_bytes=0, stages=stages, queues={})

    def to_json(self) -> SnapshotJson:
        """Return it as JSON values."""
        return cast("SnapshotJson", {**asdict(self), "stages": [asdict(stage) for stage in self.stages]})

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` gives. Raises ValueError for anything else."""
        try:
            return TypeAdapter(cls).validate_json(json.dumps(value), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "a snapshot"
            raise ValueError(f"{where}: {first['msg']}. Got {first['input']!r:.80}") from None


def added(snapshots: Iterable[Snapshot]) -> Snapshot:
    """Return the sum of some engines. The share of a stage is the mean of those that are at work."""
    found = list(snapshots)
    stages: dict[tuple[str, str], list[Stage]] = {}
    for snapshot in found:
        for stage in snapshot.stages:
            stages.setdefault((stage.threads, stage.stage), []).append(stage)
    return Snapshot(
        frames=sum(each.frames for each in found),
        fps=sum(each.fps for each in found),
        active=sum(each.active for each in found),
        ended=_sum(each.ended for each in found),
        cpu_s=sum(each.cpu_s for each in found),
        memory_bytes=sum(each.memory_bytes for each in found),
        stages=tuple(Stage(*key, sum(each.seconds for each in of), _mean(of)) for key, of in stages.items()),
        queues=_sum(each.queues for each in found),
        gpu_s=_sum(each.gpu_s for each in found),
    )


def _mean(stages: list[Stage]) -> float:
    shares = [stage.share for stage in stages if stage.share]
    return sum(shares) / len(shares) if shares else 0.0


def _sum(counts: Iterable[Mapping[str, _Number]]) -> dict[str, _Number]:
    total: dict[str, _Number] = {}
    for each in counts:
        for key, number in each.items():
            total[key] = total.get(key, 0) + number
    return total
