"""Turns in an output folder: of the jobs that write to it, only one works at a time, the oldest that has begun.

A step that must wait ends: its message is acknowledged, so that it occupies no worker, and leaves a marker in the job's
directory (`tasks/process-1.waits.json`). The end of a job puts the waiting steps of the next one on the queue; failing
that, the search for lost messages (requeue.py) finds the marker.
"""

from __future__ import annotations

import contextlib

from orchestrator.errors import JobError
from orchestrator.job.atomic_json import object_in, write_quick
from orchestrator.job.files import AnyPath, file_at, names_in
from orchestrator.job.jobdir import JOBS_FOLDER, Job, is_id, now


class Turns:
    """A snapshot of turns: each folder is read only once, however many jobs ask."""

    def __init__(self, lease_s: float) -> None:
        self._lease_s = lease_s
        self._begun: dict[AnyPath, list[Job]] = {}

    def before(self, job: Job) -> Job | None:
        """Return the job that `job` must wait for: an older one that has begun and not ended, or a younger one at
        work."""
        if job.home not in self._begun:
            self._begun[job.home] = begun(job.home)
        for other in self._begun[job.home]:
            if other.id == job.id:
                continue
            if _age(other) < _age(job) or other.live(self._lease_s):
                return other
        return None

    def must_wait(self, job: Job, key: str) -> Job | None:
        """Return the job to wait for; the step is then marked as waiting."""
        other = self.before(job)
        if other is None:
            return None
        pause(job, key, {"for": other.id})
        # A job that ended meanwhile may have looked for waiting steps before the marker existed.
        again = Turns(self._lease_s).before(job)
        if again is None:
            proceed(job, key)
        return again


def begun(home: AnyPath) -> list[Job]:
    """Return the jobs that write to the same place, have begun and have not ended, the oldest first.

    Ended jobs are skipped without being opened, because there may be hundreds.
    """
    found = []
    with contextlib.suppress(OSError):
        for name in names_in(home / JOBS_FOLDER):
            folder = home / JOBS_FOLDER / name
            if not file_at(folder / "start.json").exists() or file_at(folder / "end.json").exists():
                continue
            with contextlib.suppress(JobError):
                job = Job.open(folder)
                if job.spec.task != "log_start":
                    found.append(job)
    return sorted(found, key=_age)


def next_waiting(home: AnyPath, lease_s: float) -> tuple[Job, list[str]] | None:
    """Return the job whose turn has come in a folder, and its waiting steps; None if none waits."""
    turns = Turns(lease_s)
    for job in begun(home):
        keys = waiting(job)
        if keys and turns.before(job) is None:
            return job, keys
    return None


def pause(job: Job, key: str, why: dict[str, str]) -> None:
    """Mark a step as waiting; `why` names what it waits for. Raises OSError."""
    write_quick(_marker(job, key), {**why, "at": now()})


def waits_since(job: Job, key: str) -> str:
    """Return since when a step has been waiting, as ISO 8601; "" if unknown."""
    at = (object_in(_marker(job, key)) or {}).get("at")
    return at if isinstance(at, str) else ""


def quota_of(job: Job, key: str) -> str | None:
    """Return the name of the quota in which a step waits for room, None if it does not."""
    named = (object_in(_marker(job, key)) or {}).get("quota")
    return named if isinstance(named, str) else None


def waits_in(job: Job) -> str | None:
    """Return the name of the quota in which a job's steps wait for room, None if none does."""
    return next((named for key in waiting(job) if (named := quota_of(job, key)) is not None), None)


def waiting(job: Job) -> list[str]:
    """Return the waiting steps of a job."""
    return [key for key in (f"process-{number}" for number in range(1, job.workers + 1)) if waits(job, key)]


def waits_for(job: Job) -> str | None:
    """Return the id of the job that a job's steps wait for; None if none waits."""
    for key in waiting(job):
        named = (object_in(_marker(job, key)) or {}).get("for")
        if is_id(named):
            return str(named)
    return None


def waits(job: Job, key: str) -> bool:
    return file_at(_marker(job, key)).exists()


def proceed(job: Job, key: str) -> None:
    """Remove the marker of a step that no longer waits, because it is running or queued."""
    with contextlib.suppress(OSError):
        file_at(_marker(job, key)).remove()


def _marker(job: Job, key: str) -> AnyPath:
    return job.folder / "tasks" / f"{key}.waits.json"


def _age(job: Job) -> tuple[str, str]:
    return job.spec.created_at, job.id
