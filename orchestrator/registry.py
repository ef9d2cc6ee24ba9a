"""Which jobs there are: an id leads to a directory, without asking the broker.

Each machine remembers the jobs that were submitted or worked on here, in `YOLO_STATE_DIR/jobs`. Workers on other
machines learn of a job from its messages, which name the directory.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from orchestrator.errors import JobError, UnknownJob
from orchestrator.files import read_json, write_quick
from orchestrator.jobdir import JOBS_FOLDER, Job
from orchestrator.settings import Settings

log = logging.getLogger(__name__)

_SAFE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def remember(job: Job, settings: Settings) -> None:
    """Best effort: a job that can't be remembered here still runs, and is found by its output folder."""
    folder = settings.state_dir / "jobs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_quick(folder / f"{job.id}.json", {"folder": str(job.folder), "created_at": job.spec["created_at"]})
    except OSError as error:
        log.warning("job %s can't be remembered in %s: %s", job.id, folder, error)


def forget(job_id: str, settings: Settings) -> None:
    with contextlib.suppress(OSError):
        (settings.state_dir / "jobs" / f"{job_id}.json").unlink()


def known_jobs(settings: Settings) -> Iterator[Job]:
    """Every job that this machine remembers and whose directory is still there, newest first."""
    entries = []
    for path in (settings.state_dir / "jobs").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            value = read_json(path)
            if value:
                entries.append((value["created_at"], path.stem, value["folder"]))
    for _, _, folder in sorted(entries, reverse=True):
        with contextlib.suppress(JobError):
            yield Job.open(Path(folder))


def find_job(job_id: str, settings: Settings, *outputs: Path) -> Job:
    """The job of an id, as this machine remembers it or as it stands in one of `outputs`. Raises UnknownJob."""
    if not job_id or not set(job_id) <= _SAFE:
        raise UnknownJob(f"A job's id is made of letters, digits and dashes. Got {job_id!r}.")
    folders = [output / JOBS_FOLDER / job_id for output in outputs]
    with contextlib.suppress(OSError, ValueError, KeyError):
        value = read_json(settings.state_dir / "jobs" / f"{job_id}.json")
        if value:
            folders.insert(0, Path(value["folder"]))
    for folder in folders:
        if (folder / "job.json").exists():
            return Job.open(folder)
    raise UnknownJob(
        f"No job {job_id} is known on this machine. `yolo-submit --list-tasks` shows those that are; for one that was "
        "submitted elsewhere, name its output folder with --output DIR."
    )
