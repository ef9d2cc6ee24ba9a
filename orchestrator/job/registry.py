"""Which jobs there are: an id leads to a directory, without asking the broker.

Each machine remembers the jobs that were submitted or worked on here, in `YOLO_STATE_DIR/jobs`, and those that have
ended in `jobs/ended` below it, so that who looks for what is left to do need not look at them all. Workers on other
machines learn of a job from its messages, which name the directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator.errors import JobError, UnknownJob, reason_of
from orchestrator.job.atomic_json import read_json, write_quick
from orchestrator.job.jobdir import JOBS_FOLDER, Job, is_id
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

_ENDED = "ended"
_MIN_LETTERS = 4
"""Letters of an id that may stand for it."""


def remember(job: Job, settings: Settings) -> None:
    """Best effort: a job that can't be remembered here still runs, and is found by its output folder."""
    path = _path(job.id, settings)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not job.ended:
            entry = {"folder": str(job.folder), "created_at": job.spec.created_at, "broker": _broker(settings)}
            write_quick(path, entry)
    except OSError as error:
        log.warning("job %s can't be remembered in %s: %s", job.id, path.parent, reason_of(error))


def settle(job_id: str, settings: Settings) -> None:
    """The job has ended: nobody need look after it. Best effort."""
    path = _path(job_id, settings)
    with contextlib.suppress(OSError):
        if path.exists():
            (path.parent / _ENDED).mkdir(exist_ok=True)
            os.replace(path, path.parent / _ENDED / path.name)


def open_jobs(settings: Settings) -> list[Job]:
    """The jobs of this broker that are remembered here and have not ended, newest first. Those of another broker are
    for its own workers."""
    found = []
    for job in _jobs(_path("", settings).parent, broker=_broker(settings)):
        if job.ended:
            settle(job.id, settings)
        else:
            found.append(job)
    return found


def known_jobs(settings: Settings) -> Iterator[Job]:
    """Every job that this machine remembers and whose directory is still there, newest first."""
    folder = _path("", settings).parent
    yield from _jobs(folder, folder / _ENDED)


def _jobs(*folders: Path, broker: str | None = None) -> Iterator[Job]:
    entries = []
    for path in (path for folder in folders for path in folder.glob("*.json")):
        value = _entry(path)
        if value is not None and broker in (None, value.get("broker")):
            entries.append((value["created_at"], path.stem, value["folder"]))
    for _, _, folder in sorted(entries, reverse=True):
        with contextlib.suppress(JobError):
            yield Job.open(Path(folder))


def find_job(job_id: str, settings: Settings, *outputs: Path) -> Job:
    """The job of an id, as this machine remembers it or as it stands in one of `outputs`. The beginning of an id will
    do where it is that of one job. Raises UnknownJob."""
    if not is_id(job_id):
        raise UnknownJob(f"A job's id is made of letters, digits and dashes, 100 at most. Got {job_id[:200]!r}.")
    job_id = _whole(job_id, settings, outputs)
    folders = [output / JOBS_FOLDER / job_id for output in outputs]
    path = _path(job_id, settings)
    value = _entry(path) or _entry(path.parent / _ENDED / path.name)
    if value is not None:
        folders.insert(0, Path(value["folder"]))
    for folder in folders:
        if os.path.exists(folder / "job.json"):
            return Job.open(folder)
    if value is not None:
        raise UnknownJob(f"Job {job_id} is in {value['folder']}, and there is no such folder now. Is its disk away?")
    raise UnknownJob(
        f"No job {job_id} is known on this machine. `yolo-submit --list-tasks` shows those that are; for one that was "
        "submitted elsewhere, name its output folder with --output DIR."
    )


def _whole(begun: str, settings: Settings, outputs: tuple[Path, ...]) -> str:
    """The one id that begins so; the same again where there is none, or it is too short to mean one."""
    if len(begun) < _MIN_LETTERS:
        return begun
    jobs = _path("", settings).parent
    places = [(jobs, ".json"), (jobs / _ENDED, ".json"), *((output / JOBS_FOLDER, "") for output in outputs)]
    found = set[str]()
    for folder, suffix in places:
        with contextlib.suppress(OSError):
            names = (name.removesuffix(suffix) for name in os.listdir(folder) if name.endswith(suffix))
            found |= {name for name in names if name.startswith(begun) and is_id(name)}
    if begun in found or not found:
        return begun
    if len(found) > 1:
        named = ", ".join(sorted(found)[:5]) + (f" and {len(found) - 5} more" if len(found) > 5 else "")
        raise UnknownJob(f"{len(found)} jobs begin with {begun}: {named}. Give more of the id.")
    return found.pop()


def _broker(settings: Settings) -> str:
    """A name for the broker that gives no password away."""
    return hashlib.sha256(settings.broker_url.encode()).hexdigest()[:16]


def _path(job_id: str, settings: Settings) -> Path:
    return settings.state_dir / "jobs" / f"{job_id}.json"


def _entry(path: Path) -> dict[str, str] | None:
    """What is remembered of a job; None where nothing is, or it can't be read."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        value: Any = read_json(path)
        if type(value["folder"]) is str and type(value["created_at"]) is str:
            return dict(value)
    return None
