"""A watched folder: its new and complete videos become a job, each video once.

A file is complete when it has not changed for a while. What is handed to a job is written down, by path, size and time
of change, before the job is made; two sweeps at once wait for each other; while a job of the last sweep is under way
there is no new one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self, TypeVar

from engine.media.listing import FolderWalk
from engine.media.suffixes import VIDEO_SUFFIXES
from engine.storage.urls import is_object
from models.file_lock import sole
from orchestrator.errors import JobError, RequestError
from orchestrator.job.atomic_json import MAX_LIST_BYTES, read_json, write_json
from orchestrator.job.jobdir import JOBS_FOLDER, Job, jobs_in, new_id
from orchestrator.job.paths import home_of, video_folder
from orchestrator.settings import Settings, Watch
from orchestrator.worker import steps as jobs

_LEDGER, _LAST = "swept.json", "last-sweep.json"


R = TypeVar("R")

Stamp = tuple[int, int]
"""Size in bytes, and time of change in nanoseconds."""


@dataclass(frozen=True)
class LastSweep:
    """The last sweep that found something: the job it made, the videos in it, and whether the folder was a mounted
    disk."""

    job: str = ""
    new: Mapping[str, Stamp] = field(default_factory=dict)
    mounted: bool = False

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raise ValueError."""
        if not isinstance(value, dict):
            raise ValueError("not a sweep")
        return cls(str(value.get("job")), _stamps(value.get("new", {})), value.get("mounted") is True)

    def to_json(self) -> dict[str, object]:
        return asdict(self)


def sweep(watch: Watch, settings: Settings) -> tuple[Job | None, dict[str, object]]:
    """Return the job made, None if there is nothing to do, and what is to be told. Raises RequestError, and JobError
    where the ledger is damaged."""
    source = video_folder(str(watch.folder), settings)
    if is_object(source):
        raise RequestError(f"A watched folder is one on disk, and {source} is in object storage: submit it as a job.")
    output = home_of(str(watch.output), settings)
    if not isinstance(output, Path):
        raise RequestError(
            f"The jobs of a watched folder keep their directories on disk, and {output} is in object storage. Leave "
            "jobs_dir (YOLO_JOBS_DIR) out of the settings of Beat and of the workers that sweep."
        )
    (output / JOBS_FOLDER).mkdir(parents=True, exist_ok=True)
    with sole(output / JOBS_FOLDER / "sweep.lock") as first:
        if not first:
            return None, {"swept": str(source), "new": 0, "why": "another sweep is at it"}
        before = next((job for job in jobs_in(output) if job.spec.task == "sweep" and not job.ended), None)
        if before is not None:
            return None, {"swept": str(source), "new": 0, "why": f"job {before.id} of an earlier sweep is under way"}
        ledger = _ledger(output / JOBS_FOLDER)
        mounted = os.path.ismount(source)
        if not mounted and _last(output / JOBS_FOLDER).mounted:
            raise RequestError(
                f"{source} was a mounted disk and is none now: is it unmounted? If it is meant to be a plain folder, "
                f"remove {output / JOBS_FOLDER / _LAST}."
            )
        new = {
            path: stamp
            for path, stamp in _complete(source, output, watch.quiet_s, settings.video_roots)
            if ledger.get(path) != stamp
        }
        if not new:
            return None, {"swept": str(source), "new": 0}
        config = {**watch.config, "output_folder": str(output)}
        job_id = new_id()
        write_json(output / JOBS_FOLDER / _LAST, LastSweep(job_id, new, mounted).to_json())
        job = jobs.begin(
            str(source),
            config,
            settings,
            task="sweep",
            job_id=job_id,
            output=str(watch.output),
            workers=watch.workers,
            only=sorted(new),
        )
        return job, {"swept": str(source), "new": len(new), "job": job.id}


def _complete(folder: Path, output: Path, quiet_s: float, within: tuple[Path, ...]) -> Iterator[tuple[str, Stamp]]:
    """Yield the videos that have not changed for `quiet_s`."""
    seen = set()
    for path in FolderWalk(output, within).files(folder):
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            continue
        if (real := os.path.realpath(path)) in seen:  # the engine, too, takes a file once, under its first name
            continue
        seen.add(real)
        try:
            found = path.stat()
        except OSError:
            continue
        if found.st_size and time.time() - found.st_mtime >= quiet_s:
            yield str(path), (found.st_size, found.st_mtime_ns)


def _ledger(folder: Path) -> Mapping[str, Stamp]:
    """Return what was handed to jobs, by path. What the last sweep found counts if its job is there: a sweep that is
    killed has made both, or neither."""
    ledger, last = _read(folder / _LEDGER, _stamps), _last(folder)
    new = {path: stamp for path, stamp in last.new.items() if ledger.get(path) != stamp}
    if new and (folder / last.job / "job.json").exists():
        ledger = {**ledger, **new}
        write_json(folder / _LEDGER, ledger)
    return ledger


def _last(folder: Path) -> LastSweep:
    return _read(folder / _LAST, LastSweep.from_json)


def _stamps(value: object) -> Mapping[str, Stamp]:
    """Read stamps by path; one that is damaged matches no file, so that its video is done once more. Raises
    ValueError."""
    if not isinstance(value, dict):
        raise ValueError("not stamps by path")
    return {path: (stamp[0], stamp[1]) for path, stamp in value.items() if isinstance(stamp, list) and len(stamp) == 2}


def _read(path: Path, parse: Callable[[object], R]) -> R:
    """Read and parse a file; one that is missing holds nothing. Raises JobError for a damaged one."""
    try:
        return parse(read_json(path, MAX_LIST_BYTES) or {})
    except ValueError:
        raise JobError(
            f"{path} is damaged. Remove it, and videos of the watched folder may be done once more."
        ) from None
