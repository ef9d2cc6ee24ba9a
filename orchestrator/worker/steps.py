"""The steps of a job as plain functions; tasks.py puts them on the queue.

    begin  ->  start  ->  process (N in parallel)  ->  end

Each step may be delivered twice, killed or stopped at any moment, and then runs again: the job's directory says what is
done, and whatever must happen once is guarded by a file that only one process can create. `next_step` returns what a
job needs now; it is called at the end of each step, and by the search for lost messages (requeue.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from engine.config import EngineConfig
from engine.errors import OutputError
from engine.files.folders import Folder
from engine.output_folder.hashes import made_of
from engine.resume import attempts
from engine.storage.spooled import tell_pages, told
from engine.storage.urls import place_of
from engine.summary import AlarmsJson
from engine.text.printable import printable
from orchestrator.broker.publish import later_level
from orchestrator.engine_process.handle import EngineProcess
from orchestrator.engine_process.messages import (
    AllSent,
    Fatal,
    FollowedUp,
    FollowUp,
    LeftOut,
    Looked,
    ModelFound,
    Opening,
    Probe,
    Reported,
    SendRest,
    WriteReport,
)
from orchestrator.errors import (
    Duplicate,
    EngineFailed,
    FolderTaken,
    JobError,
    PathRefused,
    QuotaFull,
    RequestError,
    reason_of,
)
from orchestrator.job import outcomes, scratch, shared_folder
from orchestrator.job.atomic_json import MAX_LIST_BYTES, object_in, write_json, write_once
from orchestrator.job.claims import Claims
from orchestrator.job.events import Events
from orchestrator.job.files import AnyPath, any_path, file_at
from orchestrator.job.job_config import JobConfig
from orchestrator.job.jobdir import (
    JOBS_FOLDER,
    NOTES,
    PARTS,
    PIECES,
    SENT,
    Job,
    is_id,
    new_id,
    now,
    this_client,
)
from orchestrator.job.leases import Lease, Owner, take
from orchestrator.job.paths import (
    home_of,
    input_is_away,
    output_folder,
    scene_tables,
    stored_home,
    stored_output,
    trusted_model,
    video_folder,
)
from orchestrator.job.pieces import Pieces, forget_pieces
from orchestrator.job.records import (
    MAX_WORKERS,
    EndRecord,
    EngineFacts,
    EntryStatus,
    How,
    JobSpec,
    JobState,
    JobSummary,
    ModelFacts,
    PipelineResult,
    Priority,
    StartRecord,
    VideoFacts,
)
from orchestrator.job.registry import remember, settle
from orchestrator.job.resources import examine
from orchestrator.job.stored_path import StoredPath
from orchestrator.job.turns import Turns, proceed
from orchestrator.settings import Settings
from orchestrator.worker import quotas, tracing
from orchestrator.worker.readings import Reading, Taken
from orchestrator.worker.supervise import Watch, process_videos, salvaged_entry

log = logging.getLogger(__name__)

# One decoder gives enough for so many.
_CORES_A_PIECE = 4

# Of one step's engine, in a job that another step's engine could work on.
_FAILURES = 3
_ANSWERS_SILENCE_S = 600.0
# Until the list of the files is there, and from one file to the next.
_LISTING_SILENCE_S, PROBE_SILENCE_S = 600.0, 30.0


@dataclass(frozen=True)
class Context:
    """The environment of a step: this process's name, the settings, whether the worker was told to stop, and callbacks
    for the step's signs of life and its numbers. The thread that does the work calls both, the first only when it makes
    progress. `gives_way` says whether a step that will wait at a level gives way after this many seconds of work,
    `crowded` which quota has no room for a step of a job, `draining` whether the worker takes no more videos."""

    node: str
    settings: Settings
    stopping: Callable[[], bool] = lambda: False
    cores: int | None = None
    alive: Callable[[], None] = lambda: None
    show: Callable[[Reading], None] = lambda reading: None
    gives_way: Callable[[int, float], bool] = lambda level, worked_s: False
    crowded: Callable[[Job, str], quotas.Group | None] = lambda job, key: None
    draining: Callable[[], bool] = lambda: False

    def owner(self) -> Owner:
        return Owner.this_process(self.node)

    def renewal(self, *held: Lease | Claims | Pieces) -> Callable[[], None]:
        """Return a function that renews leases and shows the sign of life. Call it all the time; it acts only as often
        as needed."""
        due = 0.0

        def renew() -> None:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + self.settings.lease_s / 6
                for each in held:
                    each.touch()
                self.alive()  # last: a lease on a dead disk keeps us from coming here

        return renew


def begin(
    given_folder: str,
    config: object,
    settings: Settings,
    *,
    task: str = "complete_pipeline",
    job_id: str | None = None,
    output: str | None = None,
    workers: int = 1,
    queue: str | None = None,
    only: list[str] | None = None,
    priority: Priority = Priority.NORMAL,
) -> Job:
    """Validate the request and create the job's directory: from then on the job is durable.

    `config` is a JobConfig, or an untrusted value for one; `only` restricts the job to these files of the folder.
    Raises RequestError (PathRefused) with the remedy, also if the output folder's file system can't hold a job.
    """
    if job_id is not None and not is_id(job_id):
        raise RequestError(f"A job's id consists of letters, digits and dashes, 100 at most. Got {repr(job_id)[:200]}.")
    if type(workers) is not int or not 1 <= workers <= MAX_WORKERS:
        raise RequestError(f"workers must be an int in [1, {MAX_WORKERS}]. Got {repr(workers)[:200]}.")
    parsed = config if isinstance(config, JobConfig) else JobConfig.parse(config, settings)
    checked = parsed.engine
    trusted_model(checked.model, settings)
    source = video_folder(given_folder, settings)
    target = home_of(wanted := output or str(checked.output_folder), settings)
    place, stored = place_of(source), stored_output(wanted, settings)
    if checked.visualize and (source == target or (place and stored and place.url.rstrip("/") == stored.url)):
        raise RequestError(
            f"{given_folder} is the input, and annotated videos can't go there: a second run would take them for "
            "sources. Name another output folder with --output DIR."
        )
    with contextlib.suppress(OSError):  # told below, when the job's directory can't be made
        shared_folder.check(target)
    kept = parsed.kept()
    if checked.scene:
        kept["scene"] = scene_tables(checked.scene, settings)  # workers may not see the files
    spec = JobSpec(
        id=job_id or new_id(),
        task=task,
        video_folder=given_folder,
        inputs=(str(source) if place is None else place.url,),
        only=None if only is None else tuple(only),
        config={**kept, "output_folder": stored.url if stored and isinstance(target, StoredPath) else str(target)},
        workers=workers,
        queue=queue,
        priority=priority,
        output=str(target),
        created_at=now(),
        client=this_client(),
        stored=None if stored is None else stored.url,
    )
    job = Job.create(spec)
    remember(job, settings)
    return job


def process_steps(workers: int) -> list[str]:
    """Return the process steps of a job with this many workers: `process-1`, `process-2`, ..."""
    return [f"process-{number}" for number in range(1, workers + 1)]


def check_step(step: str, workers: int) -> None:
    """Raise RequestError if a message names a step that its job does not have; the name is used in paths."""
    if step not in process_steps(workers):
        raise RequestError(f"step must be one of process-1 to process-{workers}. Got {printable(repr(step), 100)}.")


def open_job(folder: str, settings: Settings) -> Job:
    """Open the job that a message names, treating the name as untrusted. Raises PathRefused, RequestError."""
    job = job_at(folder, settings)
    for name in job.spec.inputs:
        video_folder(name, settings)
    _check_trust(job, settings)
    return job


def job_to_go_on_with(folder: str, settings: Settings) -> Job:
    """Do the same for a job that may be under way: its inputs may have disappeared since, which ends it like any other
    reason. If this machine refuses its inputs, its model or its configuration, the job is given up, so that it ends
    with the reason instead of being sent again for ever. Raises PathRefused, JobError, OSError."""
    job = job_at(folder, settings)
    if job.ended:
        return job
    try:
        for name in job.spec.inputs:
            if input_is_away(name, settings) is None:
                video_folder(name, settings)
        _check_trust(job, settings)
    except JobError as error:
        job.give_up(str(error))
        log.error("job %s is given up: %s", job.id, error, extra={"job": job.id})
    return job


def job_at(folder: str, settings: Settings) -> Job:
    """Open the job in a directory, which must be below a folder that jobs may write to; ending a job needs no more.
    Raises PathRefused, JobError."""
    if not isinstance(folder, str) or "\0" in folder or not is_id(any_path(folder).name):
        raise PathRefused(f"{printable(repr(folder), 200)} is not a job's directory.")
    path = any_path(folder)
    home = _home_of(path, settings)
    if home is None or path.parent.name != JOBS_FOLDER:
        raise PathRefused(f"{folder[:200]} is not a job's directory.")
    job = Job.open(home / JOBS_FOLDER / path.name)
    if any_path(job.spec.output) != home:
        raise PathRefused(f"Job {job.id} names the output folder {job.spec.output}, and lies in {home}.")
    stored = None if job.spec.stored is None else stored_output(job.spec.stored, settings)
    if stored is None and (job.apart or job.spec.stored is not None):
        named = (job.spec.stored or "nowhere")[:200]
        raise PathRefused(f"Job {job.id} sends its results to {named}, which is no place in storage.")
    remember(job, settings)
    return job


def _home_of(path: AnyPath, settings: Settings) -> AnyPath | None:
    """Return the folder or prefix of a job's directory; None if a link leads elsewhere. Raises PathRefused."""
    if isinstance(path, StoredPath):
        return stored_home(str(path.parent.parent), settings)
    output = output_folder(str(path.parent.parent), settings)
    here = output / JOBS_FOLDER / path.name
    linked = any(os.path.realpath(path / part) != str(here / part) for part in (*PARTS, PIECES))
    return None if linked else output


def _check_trust(job: Job, settings: Settings) -> None:
    trusted_model(JobConfig.parse(job.config).engine.model, settings)


def start(job: Job, context: Context) -> StartRecord:
    """Record the start, count the videos, check the machine; return the same record however often it is called.

    Raises Duplicate while another process does it.
    """
    if (record := job.start_record()) is not None:
        return record
    with _step(job, "start", context) as step:
        given_up = job.given_up
        meanwhile = context.renewal(step.lease)
        found = Found() if given_up else probe(job, context.settings, meanwhile)
        videos = found.videos
        machine = examine(videos, found.model, _config_of(job), job.output)
        warnings = (*machine.warnings, *found.left_out)
        error = given_up or found.error or machine.refused
        if not videos and error is None:
            error = f"No video in {job.spec.video_folder}. Name a folder that holds some."
        record = StartRecord(
            started_at=now(),
            worker=context.node,
            videos=videos,
            model=found.model,
            resources=machine.resources.to_json(found.model),
            warnings=warnings,
            refused=error,
        )
        if write_once(job.start_path, record.to_json()):
            job.note("started", worker=context.node, videos=len(videos), refused=error)
            for warning in warnings:
                log.warning("job %s: %s", job.id, warning, extra={"job": job.id})
            if error:
                log.error("job %s refused: %s", job.id, error, extra={"job": job.id})
    return job.start_record() or record


def _config_of(job: Job) -> EngineConfig:
    """Return the job's configuration, or the default one if it is invalid; the job is then refused elsewhere."""
    try:
        return JobConfig.parse(job.config).engine
    except RequestError:
        return EngineConfig()


@dataclass(frozen=True)
class Processed:
    """The result of a process step: the summary of the job so far, and how the step ended."""

    summary: JobSummary
    how: How

    def to_json(self) -> dict[str, object]:
        """Return it as it is in the result store."""
        return {**outcomes.shortened(self.summary).to_json(), "how": self.how.value}


def process(job: Job, key: str, context: Context) -> Processed:
    """Work on the job's videos, together with others, until none is left to take.

    It ends as EXHAUSTED, CANCELLED, HANDED_BACK or GAVE_WAY. Raises Duplicate while another process runs this step,
    FolderTaken while another job writes to the same folder, QuotaFull while there is no room for another step, and
    EngineFailed if the engine can't run here.
    """
    record = job.start_record() or start(job, context)
    given_up = record.refused or job.given_up
    if job.ended or given_up:
        return Processed(outcomes.summarise(job, given_up), How.EXHAUSTED)
    _wait_for_turn(job, key, context)
    with _step(job, key, context) as step:
        proceed(job, key)
        quotas.begins(job, key)
        step.how = How.HANDED_BACK
        _wait_for_turn(job, key, context)  # now that others see us: of two that begin at once each finds the other
        claims = Claims(job, record.videos, context.owner(), context.settings)
        cores = context.cores or len(os.sched_getaffinity(0))
        config, at_once = _config_of(job), max(1, cores // _CORES_A_PIECE)
        pieces = Pieces(job, record.videos, config, context.owner(), context.settings, at_once=at_once)
        touch = context.renewal(step.lease, claims, pieces)
        watch = Watch(job, key, context.node, context.settings, context.stopping, touch, cores=context.cores)
        watch.taken, watch.show, watch.draining = step.taken, context.show, context.draining
        own, turn_s = later_level(job), context.settings.turn_s
        watch.gives_way = lambda worked_s: (
            context.gives_way(own, worked_s) or quotas.gives_way(job, key, own, worked_s, turn_s)
        )
        try:
            step.how = how = process_videos(watch, claims, pieces)
        except EngineFailed as error:
            step.how, step.error = How.FAILED, str(error)
            job.note("engine failed", worker=context.node, error=str(error))
            raise
        finally:
            step.engine = watch.engine
            for claim in list(claims.held.values()):
                claims.release(claim, How.HANDED_BACK)
            pieces.release_all(How.HANDED_BACK)
    if how in (How.HANDED_BACK, How.GAVE_WAY):
        job.note(how, step=key, worker=context.node)
    return Processed(outcomes.summarise(job), how)


def end(job: Job, context: Context) -> PipelineResult:
    """Record the end, once, and return the pipeline's result, the same one however often it is called. Raises OSError
    if its files can't be written.

    It needs no broker and no worker: a client uses it to end a job that was cancelled before it started.
    """
    record, ended_now = job.end_record(), None
    if record is None and job.spec.stored is not None:
        with _step(job, "end", context) as step:  # of two that send results, the second would find none
            touch = context.renewal(step.lease)
            record, ended_now = _ended(job, replace(context, alive=touch))
    elif record is None:
        record, ended_now = _ended(job, context)
    _write_results(job, record.result)
    settle(job.id, context.settings)
    if ended_now is not None:  # it was this one that ended it
        tracing.tell(job, ended_now, context.settings)
    return record.result


def _ended(job: Job, context: Context) -> tuple[EndRecord, EndRecord | None]:
    """Record the end, and return the record; also as the second value if it was this call that ended the job."""
    made = _sent_record(job)
    if made is None:
        made, sent = _made(job, context)
        if sent and made.state is JobState.COMPLETED:
            write_json(job.folder / SENT, made.to_json())
    if file_at(job.folder / SENT).exists():  # nothing here is needed, and before the end is there, nobody writes here
        scratch.clear(job) if job.apart else _empty(job.output)
    if write_once(job.folder / "end.json", made.to_json()):
        job.note("ended", state=made.state.value, worker=context.node)
        log.info("job %s: %s", job.id, made.state, extra={"job": job.id, "state": made.state.value})
        return made, made
    if job.end_record() is None:  # it is damaged
        write_json(job.folder / "end.json", made.to_json())
    return job.end_record() or made, None


def _made(job: Job, context: Context) -> tuple[EndRecord, bool]:
    """Do the work that follows the videos. Return what the end record will be, and whether all results are in storage,
    if that is where they go."""
    if job.cancelled:
        _salvage(job, context)
    error = _fatal(job)
    summary = outcomes.summarise(job, error)
    summary = _with_alarms(job, summary)
    why, begun = None, job.start_record()
    sends = job.spec.stored is not None and begun is not None and begun.refused is None
    if sends:
        summary = _fetched(job, summary, context)
        error = summary.error
    if not job.cancelled and error is None:  # of a refused job, the configuration may be none
        summary = _hashed(job, _followed_up(job, summary, context), context)
    record = _end_record(job, summary, context)
    forget_pieces(job)
    if sends and (why := _send_rest(job, record, context)) is not None:
        log.error("job %s: %s", job.id, why, extra={"job": job.id})
        record = _end_record(job, replace(summary, success=False, error=summary.error or why), context)
    if record.state is JobState.COMPLETED:
        _forget_journals(job)  # before the end is there: after it, another job may write to the folder
    return record, sends and why is None


def _fetched(job: Job, summary: JobSummary, context: Context) -> JobSummary:
    """Return the summary with the files of its videos on this machine, if the workers share no folder; or with why they
    can't be."""
    try:
        keeps_videos = _config_of(job).blur is not None
        return scratch.fetch(job, summary, keeps_videos=keeps_videos, tick=context.renewal())
    except OutputError as failed:
        log.error("job %s: %s", job.id, failed, extra={"job": job.id})
        return replace(summary, success=False, error=summary.error or str(failed))


def _end_record(job: Job, summary: JobSummary, context: Context) -> EndRecord:
    state, ended_at = outcomes.end_state(job, summary), now()
    end_log = {
        "ended_at": ended_at,
        "worker": context.node,
        "state": state.value,
        **summary.totals.to_json(),
        "attempts": sum(1 if video.attempts is None else video.attempts for video in summary.videos),
        "output_folder": str(job.output),
        "manifest": str(job.output / "manifest.json"),
    }
    made = EndRecord(state, ended_at, outcomes.pipeline_result(job, state, summary, end_log))
    return made if job.spec.stored is None else EndRecord.from_json(told(made.to_json(), job.output, job.spec.stored))


def _sent_record(job: Job) -> EndRecord | None:
    """Return the end record of a job whose results are all in storage, and whose end was not recorded yet."""
    try:
        value = object_in(job.folder / SENT, MAX_LIST_BYTES)
        return None if value is None else EndRecord.from_json(value)
    except ValueError:
        return None


def _send_rest(job: Job, record: EndRecord, context: Context) -> str | None:
    """Send what is not in storage yet, and the manifest last; return why that failed, None if it did not."""
    assert job.spec.stored is not None
    task = SendRest(
        output=str(job.output),
        stored=job.spec.stored,
        notes=str(job.notes),
        jobs=str(job.folder.parent),
        job=job.id,
        name=job.result_name,
        result=record.result.to_json(),
        manifest=outcomes.build_manifest(job, record.result.summary),
        overwrite=job.config.get("overwrite") is True,
        settled=record.state is JobState.COMPLETED,
    )
    try:
        with EngineProcess(task) as engine:
            for event in engine.events(_ANSWERS_SILENCE_S, _ANSWERS_SILENCE_S, context.renewal()):
                if isinstance(event, AllSent):
                    return None
                if isinstance(event, Fatal):
                    return event.error
            return f"the program that sends the results to {job.spec.stored} {engine.ended()}"
    except TimeoutError:
        return f"sending the results to {job.spec.stored} took too long"


def _empty(output: Path) -> None:
    """Remove the results from a folder, and what is noted of their objects; the jobs' records stay. Best effort."""
    with contextlib.suppress(OSError, OutputError), Folder.at(output) as folder:
        for name in folder.names():
            if not name.startswith("."):
                folder.remove_folder(name) if (output / name).is_dir() else folder.remove(name)
        with folder.sub(JOBS_FOLDER) as jobs:
            jobs.remove_folder(NOTES)


def cancel(job: Job, who: str, context: Context) -> JobState:
    """Request the job's cancellation and return its state. If nobody is working on it, the job ends at once."""
    if not job.ended:
        job.cancel(who)
    if not job.settled and not job.live(context.settings.lease_s):
        with contextlib.suppress(Duplicate):  # somebody else is ending it
            end(job, context)
    return outcomes.state_of(job, context.settings.lease_s)


def next_step(job: Job, lease_s: float) -> list[str]:
    """Return the steps that must be queued or running for the job to continue: none, `start`, `process-1` ..., or
    `end`."""
    if job.settled or job.spec.task == "log_start":
        return []
    if job.ended:  # whoever recorded the end died before the results were there
        return ["end"]
    record = job.start_record()
    if job.cancelled or job.given_up:
        return [] if _at_work(job, lease_s) else ["end"]
    if record is None:
        return ["start"]
    keys = process_steps(job.workers)
    if record.refused or len(job.done_indices()) >= len(record.videos):
        return ["end"]
    steps = job.leases("tasks")
    endings = {key: steps[key].ending() for key in keys if key in steps}
    hows = {key: end.how for key, end in endings.items() if end is not None}
    over = {key for key, how in hows.items() if how in (How.EXHAUSTED, How.FAILED)}
    if over != set(keys):
        return [key for key in keys if key not in over]
    # Every step has run out of videos to take, and still some have no result: their workers died since.
    if _at_work(job, lease_s):
        return []
    failed = {key for key, how in hows.items() if how == How.FAILED}
    if failed == set(keys):
        return ["end"]
    # The engine did run somewhere: a step that failed may come to that machine the next time. Not for ever.
    left = [key for key in keys if key not in failed or steps[key].number < _FAILURES]
    return left[:1] or ["end"]


# -- one step ---------------------------------------------------------------------------------------------------------


class _step:  # noqa: N801 - a context manager, used like a function
    """Holds a step's lease, so that a message that is delivered twice finds it taken."""

    def __init__(self, job: Job, key: str, context: Context) -> None:
        lease = take(job.task_base(key), context.owner(), context.settings.lease_s)
        if lease is None:
            raise Duplicate(f"step {key} of job {job.id} is being worked on")
        self._job = job
        self.lease: Lease = lease
        self.how = How.ENDED
        self.error: str | None = None
        self.engine: EngineFacts | None = None
        """The facts that the step's engine reported about itself."""
        self.taken = Taken(_killed_cpu_s(job, key, lease))
        """The work of the step's engines."""

    def __enter__(self) -> _step:
        scratch.prepare(self._job)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        how = self.how if kind in (None, FolderTaken, QuotaFull) or self.how == How.FAILED else How.BROKE_OFF
        try:
            self.lease.release(how, error=self.error, engine=self.engine, cpu_s=self.taken.cpu_s)
        except OSError as problem:
            log.warning("the end of step %s can't be noted: %s", self.lease.path.name, reason_of(problem))


def _killed_cpu_s(job: Job, key: str, lease: Lease) -> float:
    """Return the CPU seconds of the step's last attempt if it was killed; 0 if it could report them itself."""
    if lease.number == 1 or Lease(lease.base, lease.number - 1).ending() is not None:
        return 0.0
    return next((each.cpu_s for each in job.progress() if each.key == key), 0.0)


def _wait_for_turn(job: Job, key: str, context: Context) -> None:
    """Raise FolderTaken if another job writes to the folder, QuotaFull if there is no room for another step."""
    other = Turns(context.settings.lease_s).must_wait(job, key)
    if other is not None:
        raise FolderTaken(f"step {key} of job {job.id} waits: job {other.id} writes to {job.results} as well")
    group = context.crowded(job, key)
    if group is not None:
        quotas.set_aside(job, key, group)
        raise QuotaFull(f"step {key} of job {job.id} waits: {group.name} uses its quota of {group.limit}")


def _at_work(job: Job, lease_s: float) -> bool:
    return bool(job.live(lease_s))


@dataclass(frozen=True)
class Found:
    """The findings of the program that examines a job's inputs, and why it could not continue."""

    videos: tuple[VideoFacts, ...] = ()
    model: ModelFacts = field(default_factory=ModelFacts)
    error: str | None = None
    left_out: tuple[str, ...] = ()


def probe(job: Job, settings: Settings, meanwhile: Callable[[], None]) -> Found:
    """Find the job's videos and model. A file that crashes or hangs the examining program is skipped."""
    skip: tuple[str, ...] = ()
    while True:
        task = Probe(
            inputs=job.spec.inputs,
            only=job.spec.only,
            output=str(job.output),
            roots=tuple(map(str, settings.video_roots)),
            config=job.for_engine,
            skip=skip,
            stored=job.spec.stored,
            overwrite=job.config.get("overwrite") is True,
        )
        videos: list[VideoFacts] = []
        left_out: tuple[str, ...] = ()
        opening = None
        with EngineProcess(task) as engine:
            try:
                for event in engine.events(_LISTING_SILENCE_S, PROBE_SILENCE_S, meanwhile):
                    if isinstance(event, Opening):
                        opening = event.path
                    elif isinstance(event, Looked):
                        videos.append(event.video)
                    elif isinstance(event, LeftOut):
                        left_out = event.lines
                    elif isinstance(event, ModelFound):
                        return Found(tuple(videos), event.model, left_out=left_out)
                    elif isinstance(event, Fatal):
                        return Found(tuple(videos), error=event.error, left_out=left_out)
            except TimeoutError:
                log.warning("%s: looking at it took too long", opening)
        if opening is None or opening in skip:
            return Found(tuple(videos), error=f"the program that looks at the videos {engine.ended()}")
        skip = (*skip, opening)


def _fatal(job: Job) -> str | None:
    """Return why the job as a whole failed; None if it did not."""
    record = job.start_record()
    if record is None:
        return None if job.cancelled else job.given_up or "the job was never started"
    if record.refused:
        return record.refused
    if len(job.done_indices()) >= len(record.videos) or job.cancelled:
        return None
    if job.given_up:
        return job.given_up
    endings = (lease.ending() for lease in job.leases("tasks").values())
    return next((end.error for end in endings if end is not None and end.error), None)


def _write_results(job: Job, result: PipelineResult) -> None:
    """Write `celery_result_<id>.json` and the manifest from the end record, if they are missing; the job's own copy of
    the manifest comes last and settles the job. Raises OSError; the step is then repeated."""
    path = job.result_path
    if not file_at(path).exists():
        write_json(path, result.to_json())
    if not file_at(job.kept_manifest).exists():
        manifest = outcomes.build_manifest(job, result.summary)
        if job.spec.stored is None and not _is_of_a_later_job(job.output / "manifest.json", job):
            write_json(job.output / "manifest.json", manifest)
        write_json(job.kept_manifest, manifest)


def _is_of_a_later_job(manifest: Path, job: Job) -> bool:
    """Return whether another job has written its manifest to the folder since this one ended."""
    try:
        ended_at = file_at(job.folder / "end.json").touched()
        if ended_at is None or manifest.stat().st_mtime < ended_at:
            return False
    except FileNotFoundError:
        return False
    other = (object_in(manifest, MAX_LIST_BYTES) or {}).get("job")
    return other is not None and other != job.id


# What of a video's entry is needed to continue with its tracks.
_TO_GO_ON = tuple(
    "path stem status error frames inferred_frames detections tracks duration_s media outputs sequence input"
    " video_offset_s".split()
)


def _followed_up(job: Job, summary: JobSummary, context: Context) -> JobSummary:
    """Write counts, clips, exports and the report, and return the summary with them.

    A failure there is the job's error: submitting the same folder again makes them without processing the videos again.
    Only a missing report is just a note, because the job's data are complete; `yolo-engine report` writes one later.
    """
    try:
        config = JobConfig.parse(job.config).engine
    except RequestError:  # it was changed since, and the job's error says so
        return summary
    reported = config.report is not False
    if not summary.videos or not (config.goes_on or reported):
        return summary
    entries = [video.to_json() for video in summary.videos]
    task = FollowUp(
        output=str(job.output),
        config=job.for_engine,
        videos=tuple({key: entry[key] for key in _TO_GO_ON if key in entry} for entry in entries),
        model=summary.model,
        roots=tuple(map(str, context.settings.video_roots)),
        reported=reported,
        made=not config.goes_on,
    )

    def manifest(found: FollowedUp) -> Mapping[str, object]:
        return outcomes.build_manifest(job, _with_made(summary, found, config))

    found, page, why = _have_done(task, manifest, context)
    if found is None:
        found, failed = FollowedUp(error=why or "it was not told"), why
        if reported:  # what ended the program may have been a clip; the page does without

            def manifest_of_failed(again: FollowedUp) -> Mapping[str, object]:
                return manifest(replace(again, error=failed))

            again, page, why = _have_done(replace(task, made=True), manifest_of_failed, context)
            found = replace(again or found, error=failed)
    if reported and page is None:
        log.warning("job %s: no report: %s", job.id, why, extra={"job": job.id})
        job.note("no report", error=why)
    if job.spec.stored is not None:
        tell_pages(job.output, job.spec.stored)
    return replace(_with_made(summary, found, config), report=page)


def _with_made(summary: JobSummary, found: FollowedUp, config: EngineConfig) -> JobSummary:
    """Return the summary with the results of the follow-up work, its error, and the clocks of the videos."""
    made = found.made
    if config.writes_tables and "answers" not in made:
        made = {**made, "answers": {"cameras": [], "tables": {}, "error": found.error or "it was not told"}}
    if found.error is not None:
        summary = replace(summary, success=False, error=summary.error or found.error)
    clocks = found.clocks or (None,) * len(summary.videos)
    return replace(
        summary,
        videos=tuple(
            video if clock is None else replace(video, clock=clock)
            for video, clock in zip(summary.videos, clocks, strict=True)
        ),
        made=made,
    )


def _hashed(job: Job, summary: JobSummary, context: Context) -> JobSummary:
    """Return the summary with the hashes of the files besides the videos' outputs."""
    try:
        return replace(summary, files=made_of(job.output, summary.to_json(), context.renewal()))
    except OutputError as error:
        log.warning("job %s: no hashes: %s", job.id, error, extra={"job": job.id})
        job.note("no hashes", error=str(error))
        return summary


def _have_done(
    task: FollowUp, manifest: Callable[[FollowedUp], Mapping[str, object]], context: Context
) -> tuple[FollowedUp | None, str | None, str | None]:
    """Run one program that does the follow-up work and writes the report from the resulting `manifest`. Return both
    results, and the reason if one is missing; each may be None."""
    found, why = None, None
    try:
        with EngineProcess(task) as engine:
            for event in engine.events(_ANSWERS_SILENCE_S, _ANSWERS_SILENCE_S, context.renewal()):
                if isinstance(event, FollowedUp):
                    found = event
                    if not task.reported:
                        return found, None, None
                    engine.order(WriteReport(manifest(found)))
                elif isinstance(event, Reported):
                    return found, event.path, None
                elif isinstance(event, Fatal):
                    why = event.error
            why = why or f"the program that {'counts' if found is None else 'writes it'} {engine.ended()}"
    except TimeoutError:
        why = f"{'counting' if found is None else 'it'} took too long"
    return found, None, why


def _with_alarms(job: Job, summary: JobSummary) -> JobSummary:
    """Return the summary with the outcome of events, added up by receiver over the workers in the job's log."""
    told: dict[str, AlarmsJson] = {}
    for values in _history(job):
        try:
            if values["event"] == "events told":
                target, sent, given_up = str(values["target"]), _count(values["sent"]), _count(values["given_up"])
                one = told.setdefault(target, {"target": target, "sent": 0, "given_up": 0})
                one["sent"], one["given_up"] = one["sent"] + sent, one["given_up"] + given_up
                if "error" in values:
                    one["error"] = str(values["error"])
        except (ValueError, KeyError):  # a stranger's
            continue
    return replace(summary, alarms=tuple(told.values()))


def _history(job: Job) -> list[Mapping[str, object]]:
    """Return the events of a job, as far as they can be read."""
    found: list[Mapping[str, object]] = []
    with contextlib.suppress(OSError):
        found.extend(event.facts for event in Events(job.folder).new())
    return found


def _count(value: object) -> int:
    """Return a number in a record. Raises ValueError for anything else."""
    if type(value) is not int:
        raise ValueError("not a number")
    return value


def _salvage(job: Job, context: Context) -> None:
    """Turn the progress of dead workers in a cancelled job into partial results."""
    start = job.start_record()
    claims = Claims(job, start.videos if start else (), context.owner(), context.settings)
    touch = context.renewal(claims)
    while (claim := claims.next_begun()) is not None:
        claims.keep(claim, salvaged_entry(job, claim, context.settings, "cancelled", touch))


def _forget_journals(job: Job) -> None:
    """Remove the state from which a later attempt would resume: another job over a completed folder processes
    everything again. After any other end, finished work is not repeated."""
    record = job.start_record()
    for video in record.videos if record else ():
        done = job.done(video.index)
        if done and done.status is not EntryStatus.FAILED:
            attempts.forget(job.output, PurePosixPath(video.stem), job.id)
    attempts.clean(job.output)


def age_s(job: Job) -> float:
    """Return the seconds since the job was created."""
    return (datetime.now(UTC) - datetime.fromisoformat(job.spec.created_at)).total_seconds()
