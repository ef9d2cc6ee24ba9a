"""Quotas: how many steps of the jobs of one queue, or of one user, are at work at once, over all workers.

A step that finds no room is set aside like one that waits for a folder (orchestrator/job/turns.py): its message is
answered, and a marker stays in the job's directory. The look for lost messages sends the one that has waited longest as
soon as there is room, a job that has not begun before the others. While it waits, one of the steps at work is asked to
give way, by a file in its own job's directory, and does so by the rules of ways.py: jobs take turns within a quota as
they do on a worker.

What is at work is known by the leases of the steps. Of two that begin in the same moment the one whose lease is older
goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from orchestrator.broker.publish import level_of, queue_of
from orchestrator.job import turns
from orchestrator.job.atomic_json import object_in, write_quick
from orchestrator.job.files import AnyPath, file_at
from orchestrator.job.jobdir import Job
from orchestrator.job.leases import Lease, age_of
from orchestrator.settings import Settings
from orchestrator.worker import ways

_ASKED_FOR_S = 20.0
"""Seconds for which a request to give way holds; it is repeated while it is needed."""


@dataclass(frozen=True)
class Group:
    """The steps that share a quota, by what they have in common (`queue night`, `user ana`), and how many it has."""

    name: str
    limit: int


@dataclass(frozen=True)
class Step:
    """A process step of a job; `lease` is the last one that it had."""

    job: Job
    key: str
    lease: Lease | None

    @property
    def is_paused(self) -> bool:
        """Whether it waits for room."""
        return turns.quota_of(self.job, self.key) is not None

    @property
    def order(self) -> tuple[int, str, str, str]:
        """Return what says which of several waiting steps comes first: its level, and since when it waits."""
        return level_of(self.job, self.key), turns.waits_since(self.job, self.key), self.job.id, self.key


def groups_of(job: Job, settings: Settings) -> list[Group]:
    """Return the quotas that hold for a job."""
    queue, user = queue_of(job), job.spec.client.get("user")
    groups = [Group(f"queue {queue}", settings.quotas[queue])] if queue in settings.quotas else []
    if settings.user_quota is not None and isinstance(user, str):
        groups.append(Group(f"user {user}", settings.user_quota))
    return groups


def are_set(settings: Settings) -> bool:
    """Return whether there is any quota."""
    return bool(settings.quotas) or settings.user_quota is not None


class Quotas:
    """The steps of one moment that count for quotas, of all jobs that are open."""

    def __init__(self, jobs: Iterable[Job], settings: Settings) -> None:
        self._settings = settings
        self._jobs = list(jobs) if are_set(settings) else []
        self._given: dict[str, int] = {}

    @cached_property
    def _steps(self) -> list[tuple[Step, list[Group]]]:
        found = []
        for job in self._jobs:
            if groups := groups_of(job, self._settings):
                with contextlib.suppress(OSError):
                    leases = job.leases("tasks")
                    keys = (f"process-{number}" for number in range(1, job.workers + 1))
                    found += [(Step(job, key, leases.get(key)), groups) for key in keys]
        return found

    @cached_property
    def _at_work(self) -> list[tuple[Step, list[Group]]]:
        lease_s = self._settings.lease_s
        return [(step, groups) for step, groups in self._steps if step.lease is not None and step.lease.held(lease_s)]

    def full(self, job: Job, key: str) -> Group | None:
        """Return the quota that leaves no room for a step; None if it may begin, or go on."""
        others = [each for each in self._at_work if (each[0].job.id, each[0].key) != (job.id, key)]
        own = next((step.lease for step, _ in self._at_work if (step.job.id, step.key) == (job.id, key)), None)
        if own is not None:  # it has just begun: those that began later give up
            begun = own.record().at, job.id, key
            others = [each for each in others if _begun(each[0]) < begun]
        for group in groups_of(job, self._settings):
            taken = sum(any(each.name == group.name for each in groups) for _, groups in others)
            if taken + self._given.get(group.name, 0) >= group.limit:
                return group
        return None

    def give(self, job: Job) -> None:
        """Count a step of a job that is about to be sent."""
        for group in groups_of(job, self._settings):
            self._given[group.name] = self._given.get(group.name, 0) + 1

    def in_order(self) -> list[Step]:
        """Return the steps that wait, the one that comes first in front."""
        return sorted((step for step, _ in self._steps if step.is_paused), key=lambda step: step.order)

    def others_wait(self, job: Job) -> bool:
        """Return whether a step of another job waits for a quota of this job."""
        names = {group.name for group in groups_of(job, self._settings)}
        return any(
            step.is_paused and step.job.id != job.id and not names.isdisjoint(group.name for group in groups)
            for step, groups in self._steps
        )

    def ask_for_way(self) -> None:
        """Ask steps at work to give way to those that wait and have no room, one for each. Best effort."""
        able = list(self._at_work)
        for step in self.in_order():
            group = self.full(step.job, step.key)
            if group is None:
                continue
            for each in able:
                if each[0].job.id != step.job.id and any(one.name == group.name for one in each[1]):
                    able.remove(each)
                    with contextlib.suppress(OSError):
                        write_quick(_asked(each[0].job, each[0].key), {"level": step.order[0]})
                    break


def set_aside(job: Job, key: str, group: Group) -> None:
    """Mark a step as waiting for room. Raises OSError."""
    turns.pause(job, key, {"quota": group.name})


def begins(job: Job, key: str) -> None:
    """Forget an earlier request to give way."""
    with contextlib.suppress(OSError):
        file_at(_asked(job, key)).remove()


def gives_way(job: Job, key: str, own_level: int, worked_s: float, turn_s: float) -> bool:
    """Return whether a step at work gives way to one that waits for room in a quota."""
    path = _asked(job, key)
    age_s = age_of(path)
    if age_s is None or age_s > _ASKED_FOR_S:
        return False
    level = (object_in(path) or {}).get("level")
    return isinstance(level, int) and ways.allows(level, own_level, worked_s, turn_s)


def _begun(step: Step) -> tuple[str, str, str]:
    return ("" if step.lease is None else step.lease.record().at), step.job.id, step.key


def _asked(job: Job, key: str) -> AnyPath:
    return job.folder / "tasks" / f"{key}.way.json"
