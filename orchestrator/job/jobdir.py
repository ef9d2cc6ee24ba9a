"""A job's directory, `<output>/.yolo-jobs/<id>/`: its request and its progress. The authoritative state.

    job.json                 the request; never changed
    start.json               the start record, with the list of videos
    videos/0007.2.json       attempt 2 at video 7: the lease and fencing token (see leases.py)
    videos/0007.2.end.json   how that attempt ended, if its worker lived to record it
    videos/0007.done.json    the video's result; its existence ends all work on it
    tasks/process-1.1.json   the lease of a step, against messages that are delivered twice
    tasks/process-1.progress.json
    tasks/process-1.waits.json  the step waits for another job that writes to the same folder
    pieces/0007-00012.bin    the detections in piece 12 of video 7, a long one (see pieces.py)
    carried/NAME-HASH.json   in object storage: what a camera's file left to the next one
    cancel.json              a request to cancel it
    given-up.json            why nobody can continue it: its folder has disappeared, a machine refuses it
    sent.json                the end record, once all results are in storage; then the output folder is emptied
    end.json                 the end record, with the pipeline's result; its existence ends the job
    manifest.json            a copy of the one in the output folder; written last: nothing is left to do
    events.jsonl             its history, one event per line

Files appear atomically (files.py), and those that must exist once can be created by only one process. Nothing here
needs a broker. The directory lies on disk, or in object storage; then the lines of `events.jsonl` are objects, and each
machine works in a folder of its own (scratch.py).
"""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from engine.errors import OutputError
from engine.files.folders import Folder, opened
from engine.storage.spooled import cache_of
from orchestrator.errors import JobError, RequestError, reason_of
from orchestrator.job.atomic_json import MAX_LIST_BYTES, append_line, object_in, read_json, write_once, write_quick
from orchestrator.job.files import AnyPath, any_path, file_at, names_in
from orchestrator.job.leases import Lease
from orchestrator.job.records import SCHEMA, EndRecord, JobSpec, Progress, StartRecord, VideoResult
from orchestrator.job.stored_path import StoredPath

R = TypeVar("R")

JOBS_FOLDER = ".yolo-jobs"
PARTS = ("videos", "tasks")
PIECES = "pieces"
"""The folder of pieces, if there are any."""
SENT = "sent.json"
NOTES = ".sent"
"""The folder, beside the jobs, of notes on what was sent to storage."""

_DONE = re.compile(r"([0-9]{4,9})\.done\.json")
_LEASE = re.compile(r"([^.]+)\.([1-9][0-9]{0,8})\.json")

_IN_AN_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


def new_id() -> str:
    return str(uuid.uuid4())


def is_id(text: object) -> bool:
    """Return whether a text is a valid job id; ids are used in paths."""
    return isinstance(text, str) and 0 < len(text) <= 100 and set(text) <= _IN_AN_ID


def now() -> str:
    """Return the current time in the format of records."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True)
class Job:
    """One job. Opening it reads `job.json`; everything else is read on demand."""

    folder: AnyPath
    spec: JobSpec

    @classmethod
    def create(cls, spec: JobSpec) -> Job:
        """Create the directory, or open the existing job with that id. Raises RequestError if the output folder can't
        be written."""
        output = any_path(spec.output)
        folder = output / JOBS_FOLDER / spec.id
        job = cls(folder, spec)
        try:
            if isinstance(output, Path):
                _make(output, spec.id)
            if not write_once(folder / "job.json", spec.to_json()):
                return cls.open(folder)
        except OutputError as error:
            raise RequestError(str(error)) from error
        except OSError as error:
            if job.apart:
                raise RequestError(f"The job's directory {folder} can't be written: {reason_of(error)}.") from error
            raise RequestError(
                f"Output folder {output} can't be written: {reason_of(error)}. Name another one with --output DIR."
            ) from error
        job.note("created")
        return job

    @classmethod
    def open(cls, folder: AnyPath) -> Job:
        """Open a job. Raises JobError if there is none, if it belongs to a later version, or if no client made it."""
        try:
            value = read_json(folder / "job.json", MAX_LIST_BYTES)
        except (OSError, ValueError) as error:
            raise JobError(f"Job file {folder / 'job.json'} can't be read: {reason_of(error)}.") from error
        if not isinstance(value, dict):
            raise JobError(f"There is no job in {folder}.")
        if value.get("schema") != SCHEMA:
            raise JobError(
                f"Job {folder.name} was made by another version (schema {str(value.get('schema'))[:20]}, this one "
                f"reads {SCHEMA}). Let it finish with that version, or submit its folder again."
            )
        try:
            spec = JobSpec.from_json(value)
            if spec.id != folder.name or not is_id(spec.id):
                raise ValueError(f"id must be the name of its folder. Got {spec.id[:200]!r}")
        except ValueError as error:
            raise JobError(f"Job file {folder / 'job.json'} is damaged, or not ours: {error}.") from None
        return cls(folder, spec)

    # -- what was requested -------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def home(self) -> AnyPath:
        """Return where the directories of all jobs that write to the same place are: the output folder, or a prefix in
        storage."""
        return self.folder.parent.parent

    @property
    def apart(self) -> bool:
        """Whether its directory is in storage: its workers share no folder."""
        return isinstance(self.folder, StoredPath)

    @property
    def scratch(self) -> Path:
        """Return the folder of this machine for a job whose workers share none."""
        return scratch_of(self.home)

    @property
    def output(self) -> Path:
        """Return the folder in which engines of this machine work: that of all machines, unless the job is `apart`."""
        return work_folder(self.home) if self.apart else Path(self.spec.output)

    @property
    def results(self) -> str:
        """Return where the results are for people: the output folder, or the place in storage."""
        return self.spec.stored or self.spec.output

    @property
    def result_path(self) -> AnyPath:
        """Return the path of the file with the result of the pipeline."""
        return (self.home if self.spec.stored is None else self.folder) / self.result_name

    @property
    def result_name(self) -> str:
        return f"celery_result_{self.id}.json"

    @property
    def notes(self) -> Path:
        """Return the folder of notes on what was sent to storage, which the next job into the same place reads, too."""
        return self.scratch / NOTES if isinstance(self.folder, StoredPath) else self.folder.parent / NOTES

    @property
    def config(self) -> dict[str, object]:
        return dict(self.spec.config)

    @property
    def for_engine(self) -> dict[str, object]:
        """Return the configuration for engine processes. A folder from which results go to storage holds nothing
        else: whether they may replace what is there is asked of storage."""
        stored = {} if self.spec.stored is None else {"overwrite": True}
        return {**self.config, "output_folder": str(self.output), **stored}

    @property
    def workers(self) -> int:
        return self.spec.workers

    # -- how far it has come ------------------------------------------------------------------------------------------

    @property
    def look_every_s(self) -> float:
        """Seconds between two looks at files that others may create: a look at a disk costs nothing."""
        return 2.0 if self.apart else 0.0

    @cached_property
    def start_path(self) -> AnyPath:
        return self.folder / "start.json"

    def start_record(self) -> StartRecord | None:
        """Return the record; None before the start. A damaged one counts as a refusal, because its list of videos is
        unknown."""
        try:
            value = read_json(self.start_path, MAX_LIST_BYTES)
        except (OSError, ValueError) as error:
            return StartRecord.refusal(f"{self.start_path} can't be read: {reason_of(error)}")
        try:
            return None if value is None else StartRecord.from_json(value)
        except ValueError as error:
            return StartRecord.refusal(f"{self.start_path} is damaged: {error}")

    def end_record(self) -> EndRecord | None:
        """Return the record; None before the end, and if it is damaged."""
        return _record(EndRecord.from_json, object_in(self.folder / "end.json", MAX_LIST_BYTES))

    @property
    def ended(self) -> bool:
        return self._has("end.json")

    @property
    def kept_manifest(self) -> AnyPath:
        """Return the path of the job's own copy of its manifest, the last file written at its end."""
        return self.folder / "manifest.json"

    @property
    def settled(self) -> bool:
        """Return whether it has ended and its results are written: nothing is left to do."""
        return self.ended and self._has(self.kept_manifest.name)

    @property
    def cancelled(self) -> bool:
        """Return whether its cancellation was requested."""
        return self._has("cancel.json")

    def cancel(self, who: str) -> bool:
        """Request cancellation durably, without a worker or a broker. Return False if it was already requested."""
        asked = write_once(self.folder / "cancel.json", {"by": who, "at": now()})
        if asked:
            self.note("cancel asked for", by=who)
        return asked

    @property
    def given_up(self) -> str | None:
        """Return why nobody can continue it; None if somebody can."""
        if not self._has("given-up.json"):
            return None
        return str((object_in(self.folder / "given-up.json") or {}).get("why") or "it was given up")[:2000]

    def give_up(self, why: str) -> None:
        """Stop all further work: the job ends with the finished work and the reason. Raises OSError."""
        if write_once(self.folder / "given-up.json", {"why": why, "at": now()}):
            self.note("given up", why=why)

    def video_base(self, index: int) -> AnyPath:
        return self.folder / "videos" / f"{index:04d}"

    def done_path(self, index: int) -> AnyPath:
        return self.folder / "videos" / f"{index:04d}.done.json"

    @property
    def pieces(self) -> AnyPath:
        """Return the folder of pieces, and of who works at which."""
        return self.folder / PIECES

    @property
    def pieces_here(self) -> Path:
        """Return the folder of pieces in which engines of this machine work: that of all machines, unless the job is
        `apart`."""
        return self.folder / PIECES if isinstance(self.folder, Path) else self.scratch / PIECES / self.id

    def task_base(self, key: str) -> AnyPath:
        return self.folder / "tasks" / key

    def done(self, index: int) -> VideoResult | None:
        """Return the result of a video; None while it has none, and if it is damaged."""
        return _record(VideoResult.from_json, object_in(self.done_path(index)))

    def done_indices(self) -> set[int]:
        """Return the videos that have a result."""
        return {int(match[1]) for name in names_in(self.folder / "videos") if (match := _DONE.fullmatch(name))}

    def leases(self, kind: str) -> dict[str, Lease]:
        """Return the last lease of each video (`videos`) or step (`tasks`) that ever had one, by its base name."""
        last: dict[str, int] = {}
        for name in names_in(self.folder / kind):
            if match := _LEASE.fullmatch(name):
                last[match[1]] = max(int(match[2]), last.get(match[1], 0))
        return {base: Lease(self.folder / kind / base, number) for base, number in last.items()}

    def live(self, lease_s: float) -> list[Lease]:
        """Return the leases under which somebody is working now."""
        done = {f"{index:04d}" for index in self.done_indices()}
        leases = {**self.leases("tasks"), **{k: v for k, v in self.leases("videos").items() if k not in done}}
        return [lease for lease in leases.values() if lease.held(lease_s)]

    def progress(self) -> list[Progress]:
        """Return what each process step wrote last."""
        folder = self.folder / "tasks"
        values = (object_in(folder / name) for name in names_in(folder) if name.endswith(".progress.json"))
        found = (_record(Progress.from_json, value) for value in values)
        return [progress for progress in found if progress is not None]

    def tell_progress(self, progress: Progress) -> None:
        """Write it, on a best-effort basis: a failure is made up for the next time."""
        with contextlib.suppress(OSError):
            write_quick(self.task_base(progress.key).with_name(f"{progress.key}.progress.json"), progress.to_json())

    def note(self, event: str, **facts: object) -> None:
        """Add a line to the job's own log. A full disk must not end the job for it."""
        with contextlib.suppress(OSError):
            append_line(self.folder / "events.jsonl", {"at": now(), "event": event, **facts})

    def _has(self, name: str) -> bool:
        return file_at(self.folder / name).exists()


def holds_job(folder: AnyPath) -> bool:
    """Return whether a folder is a job's directory. Raises OSError if it can't be looked at."""
    return file_at(folder / "job.json").exists()


def scratch_of(home: AnyPath) -> Path:
    """Return the folder of this machine for jobs whose directories are at `home`, in storage."""
    return cache_of("jobs", str(home))


def work_folder(home: AnyPath) -> Path:
    """Return the folder in which this machine works at jobs whose directories are at `home`."""
    return scratch_of(home) / "out" if isinstance(home, StoredPath) else home


def jobs_in(home: AnyPath) -> list[Job]:
    """Return all jobs that wrote, or write, to an output folder, or whose directories have this prefix, oldest first;
    unreadable ones are left out."""
    found = []
    for name in names_in(home / JOBS_FOLDER) if isinstance(home, StoredPath) else _unlinked(home):
        with contextlib.suppress(JobError):
            found.append(Job.open(home / JOBS_FOLDER / name))
    return sorted(found, key=lambda job: (job.spec.created_at, job.id))


def _unlinked(output: Path) -> list[str]:
    """Return the names of the jobs' directories in an output folder; links are left out."""
    with opened(output, JOBS_FOLDER) as folder, contextlib.suppress(OSError):
        if folder is not None:
            return [name for name in folder.names() if not folder.is_link(name)]
    return []


def _make(output: Path, name: str) -> None:
    """Create the folders of a job, without following links. Raises OutputError and OSError."""
    with contextlib.suppress(FileExistsError):  # checked below
        output.mkdir(parents=True, exist_ok=True)
    with (
        Folder.at(output) as root,
        root.sub(JOBS_FOLDER, make=True) as jobs,
        jobs.sub(name, make=True) as job,
    ):
        for part in PARTS:
            job.sub(part, make=True).close()


def _record(parse: Callable[[object], R], value: object) -> R | None:
    """Parse a record; None if there is none, or if it is damaged."""
    try:
        return None if value is None else parse(value)
    except ValueError:
        return None


def this_client() -> dict[str, object]:
    """Describe the creator of a job, for its records."""
    return {"host": socket.gethostname(), "user": _user(), "pid": os.getpid()}


def who() -> str:
    """Describe the requester, in the format of a job's records."""
    return f"{_user()}@{socket.gethostname()}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
