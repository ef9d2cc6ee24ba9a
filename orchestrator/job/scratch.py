"""The folder in which a machine works at jobs whose directory is in storage, and whose workers share no disk.

    out/       the output folder of the engines here: unfinished attempts, and what waits to be sent
    .sent/     notes on what was sent from here, or fetched
    pieces/    what engines here have made, and need, of the pieces of long videos, by job
    job        the job that worked here last

The engines of one machine share it as those of other jobs share the output folder. Once a job has completed, each
machine that worked on it removes what is left there; after any other end it stays, for the next job into the same
place.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from engine.errors import OutputError
from engine.storage.shared_output import SharedOutput
from engine.storage.urls import place_of
from models.file_lock import held
from orchestrator.errors import JobError
from orchestrator.job.jobdir import JOBS_FOLDER, Job, holds_job, is_id
from orchestrator.job.records import EntryStatus, JobState, JobSummary, VideoEntry

_LAST = "job"


def prepare(job: Job) -> None:
    """Make the folder of this machine for a job that needs one. Raises OSError."""
    if not job.apart:
        return
    with _alone(job) as folder:
        last = _last(folder)
        if last != job.id and _is_over(job, last):
            _empty(folder)
        job.output.mkdir(parents=True, exist_ok=True)
        (folder / _LAST).write_text(job.id, encoding="utf-8")


def clear(job: Job) -> None:
    """Remove what a completed job has left on this machine, unless another job has worked there since. Best effort."""
    if not job.apart or not job.scratch.is_dir():
        return
    with contextlib.suppress(OSError), _alone(job) as folder:
        if _last(folder) == job.id:
            _empty(folder)


def leave(job: Job) -> None:
    """Do the same for a job that has ended, if it has completed: after any other end the next job goes on with it, but
    for the pieces of long videos."""
    if not job.apart or (end := job.end_record()) is None:
        return
    if end.state is JobState.COMPLETED:
        clear(job)
    shutil.rmtree(job.pieces_here, ignore_errors=True)


def fetch(job: Job, summary: JobSummary, *, keeps_videos: bool, tick: Callable[[], None]) -> JobSummary:
    """Fetch what other machines have sent of the videos, and return the summary with paths of this one. Only these
    files are then in the folder. Without `keeps_videos`, annotated videos are files without content. `tick` is called
    from time to time. Raises OutputError."""
    place = place_of(job.spec.stored or "")
    if not job.apart or place is None:
        return summary
    stored = SharedOutput(place, job.output, job.notes, job.id, keeps_videos=keeps_videos)
    url, present = place.url.rstrip("/"), set[Path]()

    def here(entry: VideoEntry) -> VideoEntry:
        found = {}
        for kind, text in entry.outputs.items():
            name = PurePosixPath(text.removeprefix(f"{url}/"))
            if name.is_absolute() or ".." in name.parts or not text.startswith(f"{url}/"):
                raise OutputError(f"The result of {entry.path} names {text}, which is not below {url}.")
            path = stored.fetch(str(name))
            if path is None and entry.status is EntryStatus.OK:
                raise OutputError(f"{text} was sent and is not there any more. Submit the folder again.")
            if path is not None:  # else what a cancelled video had reached is on the machine of its worker
                found[kind] = str(path)
                present.add(path)
            tick()
        return replace(entry, outputs=found)

    try:
        job.output.mkdir(parents=True, exist_ok=True)
        videos = tuple(map(here, summary.videos))
        for path in job.output.rglob("*"):
            hidden = any(part.startswith(".") for part in path.relative_to(job.output).parts)
            if not hidden and path not in present and path.is_file():
                path.unlink()
    except OSError as error:
        raise OutputError(f"{job.output} can't be written: {error.strerror}.") from error
    return replace(summary, videos=videos)


@contextlib.contextmanager
def _alone(job: Job) -> Iterator[Path]:
    """Hold the folder against the other processes of this machine. Raises OSError."""
    folder = job.scratch
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with held(folder.with_name(f".{folder.name}.lock")):
        folder.mkdir(mode=0o700, exist_ok=True)
        yield folder


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, exist_ok=True)


def _last(folder: Path) -> str | None:
    """Return the job that worked in a folder last; None if there was none."""
    try:
        found = (folder / _LAST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return found if is_id(found) else None


def _is_over(job: Job, other: str | None) -> bool:
    """Return whether nothing of what another job left is of use: it has completed, or its directory is gone. Raises
    OSError."""
    if other is None:
        return True
    folder = job.home / JOBS_FOLDER / other
    if not holds_job(folder):
        return True
    with contextlib.suppress(JobError):
        end = Job.open(folder).end_record()
        return end is not None and end.state is JobState.COMPLETED
    return False
