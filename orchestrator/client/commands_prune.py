"""`yolo-submit --prune`: remove what old, ended jobs have left."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from engine.errors import OutputError
from engine.files.folders import Folder
from engine.sinks.base import sole_writer
from engine.text.say import say
from orchestrator.broker.resolve import resolved_settings
from orchestrator.client import views
from orchestrator.client.commands_jobs import outputs_of
from orchestrator.client.options import SubmitOptions
from orchestrator.errors import reason_of
from orchestrator.job import scratch
from orchestrator.job.atomic_json import MAX_LIST_BYTES, object_in
from orchestrator.job.files import file_at
from orchestrator.job.jobdir import JOBS_FOLDER, PARTS, PIECES, Job, jobs_in
from orchestrator.job.records import EndRecord
from orchestrator.job.registry import forget, known_jobs
from orchestrator.job.stored_file import remove_all, size_of
from orchestrator.job.stored_path import StoredPath
from orchestrator.settings import Settings


@dataclass(frozen=True)
class _Old:
    """A job to remove. `files` are its results if they are removed as well; `size` is the total in bytes."""

    job: Job
    end: EndRecord
    files: tuple[Path, ...]
    size: int

    def to_json(self) -> dict[str, object]:
        return {
            "id": self.job.id,
            "output": self.job.spec.output,
            "state": self.end.state.value,
            "ended_at": self.end.ended_at,
            "bytes": self.size,
            "files": len(self.files),
        }


def prune(options: SubmitOptions) -> int:
    """Remove old jobs. Raises UsageError without criteria, or if confirmation is needed but there is no terminal."""
    if options.older_than is None and options.keep is None:
        raise click.UsageError("--prune needs to know which jobs: --older-than 30d, --keep 20, or both.")
    ask = not (options.yes or options.dry_run)
    if ask and not sys.stdin.isatty():
        raise click.UsageError(
            "--prune asks first, and there is no terminal to ask on. Add --yes to prune without asking, or --dry-run."
        )
    given = resolved_settings()
    found = jobs_in(*outputs_of(options.output, given)) if options.output else list(known_jobs(given))
    old, spared = _old(found, options, given)
    if ask and old:
        size = sum(each.size for each in old)
        say(f"{views.listed([each.job.id for each in old])}: {size / 1e6:,.1f} MB.", err=True)
        if not click.confirm("Remove them?", err=True):
            raise click.Abort
    gone = [each for each in old if options.dry_run or _remove(each, spared, given)]
    if options.as_json:
        removed = [each.to_json() for each in gone]
        click.echo(json.dumps({"success": True, "dry_run": options.dry_run, "removed": removed, "spared": spared}))
        return 0
    for each in gone:
        say(f"{each.job.id}  {each.end.state}  {each.end.ended_at}  {each.size / 1e6:,.1f} MB  {each.job.spec.output}")
    for job_id, why in spared.items():
        say(f"{job_id} stays: {why}")
    size = sum(each.size for each in gone)
    say(f"Jobs {'to remove' if options.dry_run else 'removed'}: {len(gone)}, {size / 1e6:,.1f} MB.")
    return 0


def _old(jobs: Iterable[Job], options: SubmitOptions, given: Settings) -> tuple[list[_Old], dict[str, str]]:
    """Return the jobs to remove, and by id why others that are old enough are kept."""
    ended = [(end, job) for job in jobs if job.ended and (end := job.end_record()) is not None]
    ended.sort(key=lambda each: (each[0].ended_at, each[1].id), reverse=True)
    chosen, spared = [], dict[str, str]()
    for place, (end, job) in enumerate(ended):
        if place < (options.keep or 0) or _age_s(end) < (options.older_than or 0.0):
            continue
        if job.live(given.lease_s):
            spared[job.id] = "a worker is processing it"
        elif object_in(job.folder / "manifest.json", MAX_LIST_BYTES) is None:
            spared[job.id] = "its results are still being written"
        elif options.results and (other := _open_beside(job)) is not None:
            spared[job.id] = f"job {other}, which has not ended, writes to the same folder"
        elif isinstance(job.folder, Path) and not os.access(job.folder, os.W_OK):
            spared[job.id] = f"{job.folder} can't be written"
        else:
            chosen.append((end, job))
    going = {job.id for _, job in chosen}
    old = []
    for end, job in chosen:
        if isinstance(job.folder, StoredPath):  # all of it is there
            old.append(_Old(job, end, (), size_of(job.folder)))
            continue
        files = tuple(_results(job, going) if options.results else _result_file(job))
        old.append(_Old(job, end, files, _size(job.folder) + sum(map(_size, files))))
    return old, spared


def _open_beside(job: Job) -> str | None:
    return next((other.id for other in jobs_in(job.home) if not other.ended), None)


def _age_s(end: EndRecord) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(end.ended_at)).total_seconds()


def _results(job: Job, going: set[str]) -> set[Path]:
    """Return the files that a job left in its output folder, except those shared with a job that is kept."""
    own = _named(job)
    for other in jobs_in(job.home):
        if other.id not in going:
            own -= _named(other)
    return own


def _result_file(job: Job) -> set[Path]:
    return {job.result_path} if isinstance(job.result_path, Path) else set()


def _named(job: Job) -> set[Path]:
    """Return the files named in a job's manifest that are below its output folder."""
    manifest = object_in(job.folder / "manifest.json", MAX_LIST_BYTES) or {}
    found = _result_file(job)
    files = manifest.get("files")
    found |= {job.output / name for name in files} if isinstance(files, dict) else set()
    videos = manifest.get("videos")
    for video in videos if isinstance(videos, list) else ():
        outputs = video.get("outputs") if isinstance(video, dict) else None
        found |= {Path(str(path)) for path in outputs.values()} if isinstance(outputs, dict) else set()
    present = object_in(job.output / "manifest.json", MAX_LIST_BYTES) or {}
    if present.get("job") == job.id:
        found.add(job.output / "manifest.json")
    # The manifest is untrusted and may name anything.
    return {path for path in found if ".." not in path.parts and path.is_relative_to(job.output)}


def _remove(old: _Old, spared: dict[str, str], given: Settings) -> bool:
    """Remove a job, results first, so that an interrupted removal can be repeated. Return False if it is kept because
    others write to its folder."""
    job = old.job
    if isinstance(job.folder, StoredPath):
        return _remove_stored(job, job.folder, spared, given)
    try:
        with sole_writer(job.output), Folder.at(job.output) as output:
            for path in sorted(old.files):
                relative = path.relative_to(job.output)
                with contextlib.suppress(FileNotFoundError), output.below(relative.parent) as folder:
                    folder.remove(relative.name)
            with output.sub(JOBS_FOLDER) as jobs:
                with jobs.sub(job.id) as own:
                    for part in (*PARTS, PIECES):
                        own.remove_folder(part)
                    own.remove("job.json")  # first, so that the rest does not count as a job
                jobs.remove_folder(job.id)
    except (OSError, OutputError) as error:
        spared[job.id] = reason_of(error) if isinstance(error, OSError) else str(error)
        return False
    forget(job.id, given)
    return True


def _remove_stored(job: Job, folder: StoredPath, spared: dict[str, str], given: Settings) -> bool:
    """Do the same for a job whose directory is in storage, and for what this machine has of it."""
    try:
        file_at(folder / "job.json").remove()  # first, so that the rest does not count as a job
        remove_all(folder)
    except OSError as error:
        spared[job.id] = reason_of(error)
        return False
    scratch.clear(job)
    forget(job.id, given)
    return True


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all in a folder; 0 if there is none."""
    with contextlib.suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            return path.lstat().st_size
        return sum(each.lstat().st_size for each in path.rglob("*") if not each.is_dir())
    return 0
