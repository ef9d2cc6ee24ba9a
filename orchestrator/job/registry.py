"""The known jobs: finds a job's directory by id, without asking the broker.

Each machine remembers the jobs that were submitted or processed here, in `YOLO_STATE_DIR/jobs`, and ended ones in
`jobs/ended` below it, so that a search for remaining work need not read them all. Workers on other machines learn of a
job from its messages, which name the directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from orchestrator.errors import JobError, UnknownJob, reason_of
from orchestrator.job import scratch
from orchestrator.job.atomic_json import object_in, write_quick
from orchestrator.job.files import AnyPath, any_path, names_in
from orchestrator.job.jobdir import JOBS_FOLDER, Job, holds_job, is_id
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

_ENDED = "ended"
_MIN_LETTERS = 4
"""The minimum length of an abbreviated id."""


@dataclass(frozen=True)
class Remembered:
    """What this machine remembers of a job: its directory, its creation time, and its broker."""

    folder: str
    created_at: str
    broker: str | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Self:
        """Raise ValueError."""
        folder, created_at, broker = (value.get(key) for key in ("folder", "created_at", "broker"))
        if not isinstance(folder, str) or not isinstance(created_at, str):
            raise ValueError("not a remembered job")
        return cls(folder, created_at, broker if isinstance(broker, str) else None)

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def remember(job: Job, settings: Settings) -> None:
    """Remember a job. Best effort: otherwise it still runs, and is found by its output folder."""
    path = _path(job.id, settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not job.settled:
            write_quick(path, Remembered(str(job.folder), job.spec.created_at, _broker(settings)).to_json())
    except OSError as error:
        log.warning("job %s can't be remembered in %s: %s", job.id, path.parent, reason_of(error))


def settle(job_id: str, settings: Settings) -> None:
    """Record that a job is settled and needs no more attention. Best effort."""
    path = _path(job_id, settings)
    with contextlib.suppress(OSError):
        if path.exists():
            (path.parent / _ENDED).mkdir(exist_ok=True)
            os.replace(path, path.parent / _ENDED / path.name)


def forget(job_id: str, settings: Settings) -> None:
    """Forget a job whose directory is gone. Best effort."""
    path = _path(job_id, settings)
    for each in (path, path.parent / _ENDED / path.name):
        with contextlib.suppress(OSError):
            each.unlink(missing_ok=True)


def open_jobs(settings: Settings) -> list[Job]:
    """Return the unsettled jobs of this broker that are remembered here, newest first. Those of another broker are left
    to its own workers."""
    found = []
    for job in _jobs(_path("", settings).parent, broker=_broker(settings)):
        try:
            settled = job.settled
        except OSError as error:  # its directory is away
            log.debug("job %s can't be looked at: %s", job.id, error)
            continue
        if settled:
            scratch.leave(job)
            settle(job.id, settings)
        else:
            found.append(job)
    return found


def known_jobs(settings: Settings) -> Iterator[Job]:
    """Yield the jobs that this machine remembers and whose directory still exists, newest first."""
    folder = _path("", settings).parent
    yield from _jobs(folder, folder / _ENDED)


def _jobs(*folders: Path, broker: str | None = None) -> Iterator[Job]:
    entries = []
    for path in (path for folder in folders for path in folder.glob("*.json")):
        found = _entry(path)
        if found is not None and broker in (None, found.broker):
            entries.append((found.created_at, path.stem, found.folder))
    for _, _, folder in sorted(entries, reverse=True):
        with contextlib.suppress(JobError):
            yield Job.open(any_path(folder))


def find_job(job_id: str, settings: Settings, *outputs: AnyPath) -> Job:
    """Find a job by id, among those that this machine remembers or in one of `outputs`. An id may be abbreviated if
    that is unambiguous. Raises UnknownJob."""
    if not is_id(job_id):
        raise UnknownJob(f"A job's id consists of letters, digits and dashes, 100 at most. Got {job_id[:200]!r}.")
    job_id = _whole(job_id, settings, outputs)
    folders = [output / JOBS_FOLDER / job_id for output in outputs]
    path = _path(job_id, settings)
    found = _entry(path) or _entry(path.parent / _ENDED / path.name)
    if found is not None:
        folders.insert(0, any_path(found.folder))
    for folder in folders:
        if _holds_a_job(folder):
            return Job.open(folder)
    if found is not None:
        raise UnknownJob(f"Job {job_id} is in {found.folder}, and there is no such folder now. Is its disk unmounted?")
    raise UnknownJob(
        f"No job {job_id} is known on this machine. `yolo-submit --list-tasks` shows those that are; for one that was "
        "submitted elsewhere, name its output folder with --output DIR."
    )


def _holds_a_job(folder: AnyPath) -> bool:
    """Return whether a job's directory is there. On disk, one that can't be looked at is not; storage that is away says
    so: raises StorageAway."""
    return os.path.exists(folder / "job.json") if isinstance(folder, Path) else holds_job(folder)


def _whole(begun: str, settings: Settings, outputs: tuple[AnyPath, ...]) -> str:
    """Complete an abbreviated id; return `begun` itself if no id begins so, or if it is too short."""
    if len(begun) < _MIN_LETTERS:
        return begun
    jobs = _path("", settings).parent
    entries = (name for folder in (jobs, jobs / _ENDED) for name in names_in(folder))
    names = [name.removesuffix(".json") for name in entries if name.endswith(".json")]
    names += [name for output in outputs for name in names_in(output / JOBS_FOLDER)]
    found = {name for name in names if name.startswith(begun) and is_id(name)}
    if begun in found or not found:
        return begun
    if len(found) > 1:
        named = ", ".join(sorted(found)[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise UnknownJob(f"{len(found)} jobs begin with {begun}: {named}. Give more of the id.")
    return found.pop()


def _broker(settings: Settings) -> str:
    """Return a name for the broker that does not reveal its password."""
    return hashlib.sha256(settings.broker_url.encode()).hexdigest()[:16]


def _path(job_id: str, settings: Settings) -> Path:
    return settings.state_dir / "jobs" / f"{job_id}.json"


def _entry(path: Path) -> Remembered | None:
    """Return what is remembered of a job; None if there is nothing or it can't be read."""
    try:
        return Remembered.from_json(object_in(path) or {})
    except ValueError:
        return None
