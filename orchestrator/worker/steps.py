"""The steps of a job as plain functions; tasks.py puts them on the queue.

    begin  ->  start  ->  process (N at once)  ->  end

Each step may be delivered twice, killed or stopped at any moment, and then runs again: what is done is read from the
job's directory, and what must happen once is made by a file that only one can make. `next_step` says what a job needs
now; it is asked at the end of each step, and by the look for lost messages (requeue.py) when a message was lost.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from engine.resume import attempts
from engine.text.printable import printable
from orchestrator.engine_process.handle import EngineProcess
from orchestrator.errors import Duplicate, EngineFailed, FolderTaken, JobError, PathRefused, RequestError, reason_of
from orchestrator.job import outcomes
from orchestrator.job.atomic_json import write_json, write_once
from orchestrator.job.claims import Claims
from orchestrator.job.job_config import JobConfig
from orchestrator.job.jobdir import JOBS_FOLDER, PARTS, Job, is_id, new_id, now, this_client
from orchestrator.job.leases import Lease, Owner, take
from orchestrator.job.paths import input_is_away, output_folder, scene_tables, trusted_model, video_folder
from orchestrator.job.records import (
    MAX_WORKERS,
    EndRecord,
    EngineFacts,
    How,
    JobSpec,
    ModelFacts,
    StartRecord,
    VideoFacts,
)
from orchestrator.job.registry import remember, settle
from orchestrator.job.resources import examine
from orchestrator.job.turns import Turns, proceed
from orchestrator.settings import Settings
from orchestrator.worker.supervise import Watch, process_videos, salvaged_entry

log = logging.getLogger(__name__)

# Of one step's engine, in a job that another step's engine could work on.
_FAILURES = 3
_ANSWERS_SILENCE_S = 600.0
_LONGEST_LOG = 1 << 26
# Until the list of the files is there, and from one file to the next.
_LISTING_SILENCE_S, PROBE_SILENCE_S = 600.0, 30.0


@dataclass(frozen=True)
class Context:
    """Who runs a step: this process's name, the settings, whether the worker was told to stop, and how the worker is
    told that the step is alive. That is called by the thread that does the work, and only when it gets further."""

    node: str
    settings: Settings
    stopping: Callable[[], bool] = lambda: False
    cores: int | None = None
    alive: Callable[[], None] = lambda: None

    def owner(self) -> Owner:
        return Owner.this_process(self.node)

    def renewal(self, *held: Lease | Claims) -> Callable[[], None]:
        """Renews leases and gives the sign of life, often enough and no more, when it is called all the time."""
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
) -> Job:
    """Checks what is asked for and makes the job's directory: from here on it is durable.

    `config` is a JobConfig, or what a stranger sent as one; `only` restricts the job to these files of the folder.
    Raises RequestError (PathRefused) with the remedy.
    """
    if job_id is not None and not is_id(job_id):
        raise RequestError(f"A job's id is made of letters, digits and dashes, 100 at most. Got {repr(job_id)[:200]}.")
    if type(workers) is not int or not 1 <= workers <= MAX_WORKERS:
        raise RequestError(f"workers must be an int in [1, {MAX_WORKERS}]. Got {repr(workers)[:200]}.")
    parsed = config if isinstance(config, JobConfig) else JobConfig.parse(config, settings)
    checked = parsed.engine
    trusted_model(checked.model, settings)
    source = video_folder(given_folder, settings)
    target = output_folder(output or str(checked.output_folder), settings)
    if checked.visualize and source == target:
        raise RequestError(
            f"{given_folder} is the input, and annotated videos can't go there: a second run would take them for "
            "sources. Name another output folder with --output DIR."
        )
    kept = parsed.kept()
    if checked.scene:
        kept["scene"] = scene_tables(checked.scene, settings)  # workers may not see the files
    spec = JobSpec(
        id=job_id or new_id(),
        task=task,
        video_folder=given_folder,
        inputs=(str(source),),
        only=None if only is None else tuple(only),
        config={**kept, "output_folder": str(target)},
        workers=workers,
        queue=queue,
        output=str(target),
        created_at=now(),
        client=this_client(),
    )
    job = Job.create(spec)
    remember(job, settings)
    return job


def process_steps(workers: int) -> list[str]:
    """The process steps of a job with so many workers: `process-1`, `process-2`, ..."""
    return [f"process-{number}" for number in range(1, workers + 1)]


def check_step(step: str, workers: int) -> None:
    """Raises RequestError where a message names a step that its job does not have: it becomes a part of paths."""
    if step not in process_steps(workers):
        raise RequestError(f"step must be one of process-1 to process-{workers}. Got {printable(repr(step), 100)}.")


def open_job(folder: str, settings: Settings) -> Job:
    """The job that a message names. It is checked as if a stranger had sent it. Raises PathRefused, RequestError."""
    job = job_at(folder, settings)
    for name in job.spec.inputs:
        video_folder(name, settings)
    _check_trust(job, settings)
    return job


def job_to_go_on_with(folder: str, settings: Settings) -> Job:
    """The same for a job that may have come some way: what it reads may have disappeared since, which is an end like
    another. What it reads, its model or its configuration may be refused by this machine: then the job is given up,
    so that it ends with the reason instead of being sent again for ever. Raises PathRefused, JobError, OSError."""
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
    """The job of a directory, which must be where this machine lets jobs write: no more is needed to end it. Raises
    PathRefused, JobError."""
    if not isinstance(folder, str) or "\0" in folder or not is_id(Path(folder).name):
        raise PathRefused(f"{printable(repr(folder), 200)} is not a job's directory.")
    path = Path(folder)
    output = output_folder(str(path.parent.parent), settings)
    here = output / JOBS_FOLDER / path.name
    if path.parent.name != JOBS_FOLDER or any(os.path.realpath(path / part) != str(here / part) for part in PARTS):
        raise PathRefused(f"{folder[:200]} is not a job's directory.")
    job = Job.open(here)
    if job.output != output:
        raise PathRefused(f"Job {job.id} names the output folder {job.output}, and lies in {output}.")
    remember(job, settings)
    return job


def _check_trust(job: Job, settings: Settings) -> None:
    trusted_model(JobConfig.parse(job.config).engine.model, settings)


def start(job: Job, context: Context) -> StartRecord:
    """Records the start, counts the videos, checks the machine. The same record however often it is called.

    Raises Duplicate while somebody else does it.
    """
    if (record := job.start_record()) is not None:
        return record
    with _step(job, "start", context) as step:
        given_up = job.given_up
        meanwhile = context.renewal(step.lease)
        found = Found() if given_up else probe(job, context.settings, meanwhile)
        videos = found.videos
        facts, warnings, refused = examine(videos, found.model, job.config, job.output)
        warnings = [*warnings, *found.left_out]
        error = given_up or found.error or refused
        if not videos and error is None:
            error = f"No video in {job.spec.video_folder}. Name a folder that holds some."
        record = StartRecord(
            started_at=now(),
            worker=context.node,
            videos=tuple(videos),
            model=found.model,
            resources=facts,
            warnings=tuple(warnings),
            refused=error,
        )
        if write_once(job.start_path, record.to_json()):
            job.note("started", worker=context.node, videos=len(videos), refused=error)
            for warning in warnings:
                log.warning("job %s: %s", job.id, warning, extra={"job": job.id})
            if error:
                log.error("job %s refused: %s", job.id, error, extra={"job": job.id})
    return job.start_record() or record


def process(job: Job, key: str, context: Context) -> dict[str, Any]:
    """Works on the job's videos, beside others who do, until none is left to take.

    Returns the summary so far, with `how`: exhausted, cancelled or handed back. Raises Duplicate while somebody else
    has this very step, FolderTaken while another job writes to the same folder, EngineFailed where the engine can't run
    here.
    """
    record = job.start_record() or start(job, context)
    given_up = record.refused or job.given_up
    if job.ended or given_up:
        return {**outcomes.summarise(job, given_up), "how": How.EXHAUSTED}
    _wait_for_turn(job, key, context)
    with _step(job, key, context) as step:
        proceed(job, key)
        step.how = How.HANDED_BACK
        _wait_for_turn(job, key, context)  # now that others see us: of two that begin at once each finds the other
        claims = Claims(job, record.videos, context.owner(), context.settings)
        touch = context.renewal(step.lease, claims)
        watch = Watch(job, key, context.node, context.settings, context.stopping, touch, context.cores)
        try:
            step.how = how = process_videos(watch, claims)
        except EngineFailed as error:
            step.how, step.error = How.FAILED, str(error)
            job.note("engine failed", worker=context.node, error=str(error))
            raise
        finally:
            step.engine = watch.engine
            for claim in list(claims.held.values()):
                claims.release(claim, How.HANDED_BACK)
    if how == How.HANDED_BACK:
        job.note("handed back", step=key, worker=context.node)
    return {**outcomes.summarise(job), "how": how}


def end(job: Job, context: Context) -> dict[str, Any]:
    """Records the end, once, and returns the pipeline's result; the same one however often it is called. Raises OSError
    where its files can't be written.

    Needs no broker and no worker: a client ends a job in this way that was cancelled before anybody had begun it.
    """
    record = job.end_record()
    if record is None:
        if job.cancelled:
            _salvage(job, context)
        error = _fatal(job)
        summary = outcomes.summarise(job, error)
        if not job.cancelled and error is None:  # of a refused job, the configuration may be none
            summary = _answered(job, summary, context)
        summary = _with_alarms(job, summary)
        state = outcomes.end_state(job, summary)
        totals = summary["totals"]
        end_log = {
            "ended_at": now(),
            "worker": context.node,
            "state": state,
            **totals,
            "attempts": sum(video.get("attempts", 1) for video in summary["videos"]),
            "output_folder": str(job.output),
            "manifest": str(job.output / "manifest.json"),
        }
        result = outcomes.pipeline_result(job, state, summary, end_log)
        if state == "completed":
            _forget_journals(job)  # before the end is there: after it, another job may write to the folder
        made = EndRecord(state, end_log["ended_at"], result)
        if write_once(job.folder / "end.json", made.to_json()):
            job.note("ended", state=state, worker=context.node)
            log.info("job %s: %s", job.id, state, extra={"job": job.id, "state": state})
        elif job.end_record() is None:  # it is damaged
            write_json(job.folder / "end.json", made.to_json())
        record = job.end_record() or made
    result = dict(record.result)
    _write_results(job, result)
    settle(job.id, context.settings)
    return result


def cancel(job: Job, who: str, context: Context) -> str:
    """Asks for the job's end and returns its state. Where nobody is at work the job ends here and now."""
    if job.ended:
        return outcomes.state_of(job, context.settings.lease_s)
    job.cancel(who)
    if not job.live(context.settings.lease_s):
        end(job, context)
    return outcomes.state_of(job, context.settings.lease_s)


def next_step(job: Job, lease_s: float) -> list[str]:
    """The steps that must be on the queue or at work for the job to go on: nothing, `start`, `process-1` ..., `end`."""
    if job.ended or job.spec.task == "log_start":
        return []
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
    """Holds a step's lease: a message that is delivered twice finds it taken."""

    def __init__(self, job: Job, key: str, context: Context) -> None:
        lease = take(job.task_base(key), context.owner(), context.settings.lease_s)
        if lease is None:
            raise Duplicate(f"step {key} of job {job.id} is being worked on")
        self.lease: Lease = lease
        self.how: str = How.ENDED
        self.error: str | None = None
        self.engine: EngineFacts | None = None
        """What the step's engine told of itself."""

    def __enter__(self) -> _step:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        how = self.how if kind in (None, FolderTaken) or self.how == How.FAILED else How.BROKE_OFF
        try:
            self.lease.release(how, error=self.error, engine=self.engine)
        except OSError as problem:
            log.warning("the end of step %s can't be noted: %s", self.lease.path.name, reason_of(problem))


def _wait_for_turn(job: Job, key: str, context: Context) -> None:
    """Raises FolderTaken."""
    other = Turns(context.settings.lease_s).must_wait(job, key)
    if other is not None:
        raise FolderTaken(f"step {key} of job {job.id} waits: job {other.id} writes to {job.output} as well")


def _at_work(job: Job, lease_s: float) -> bool:
    return bool(job.live(lease_s))


@dataclass(frozen=True)
class Found:
    """What the program that looks at a job's inputs has found, and why it could not go on."""

    videos: tuple[VideoFacts, ...] = ()
    model: ModelFacts = field(default_factory=ModelFacts)
    error: str | None = None
    left_out: tuple[str, ...] = ()


def probe(job: Job, settings: Settings, meanwhile: Callable[[], None]) -> Found:
    """The job's videos and model. A file that crashes or hangs the program that looks at it is passed over."""
    skip: list[str] = []
    while True:
        task = {
            "kind": "probe",
            "inputs": list(job.spec.inputs),
            "only": None if job.spec.only is None else list(job.spec.only),
            "output": str(job.output),
            "roots": list(map(str, settings.video_roots)),
            "config": job.config,
            "skip": skip,
        }
        videos: list[VideoFacts] = []
        left_out: tuple[str, ...] = ()
        opening = None
        with EngineProcess(task) as engine:
            try:
                for event in engine.events(_LISTING_SILENCE_S, PROBE_SILENCE_S, meanwhile):
                    kind = event.pop("kind")
                    if kind == "opening":
                        opening = event["path"]
                    elif kind == "video":
                        videos.append(VideoFacts.from_json(event))
                    elif kind == "left_out":
                        left_out = tuple(event["lines"])
                    elif kind == "model":
                        return Found(tuple(videos), ModelFacts.from_json(event), left_out=left_out)
                    elif kind == "fatal":
                        return Found(tuple(videos), error=event["error"], left_out=left_out)
            except TimeoutError:
                log.warning("%s: looking at it took too long", opening)
        if opening is None or opening in skip:
            return Found(tuple(videos), error=f"the program that looks at the videos {engine.ended()}")
        skip.append(opening)


def _fatal(job: Job) -> str | None:
    """Why the job as a whole failed, None where it did not."""
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


def _write_results(job: Job, result: dict[str, Any]) -> None:
    """Manifest and `celery_result_<id>.json`, from the end record: made again where they are missing. Raises OSError;
    the step is then done again."""
    kept = job.folder / "manifest.json"
    if not kept.exists():
        manifest = outcomes.build_manifest(job, result["processing_result"])
        write_json(job.output / "manifest.json", manifest)
        write_json(kept, manifest)
    path = job.output / f"celery_result_{job.id}.json"
    if not path.exists():
        write_json(path, result)


def _answered(job: Job, summary: dict[str, Any], context: Context) -> dict[str, Any]:
    """The summary with the counts of what was asked for, whose tables are written, and what else was made of the
    tracks. What is wrong with them is the job's error: the same folder submitted again makes them, without doing the
    videos again."""
    try:
        config = JobConfig.parse(job.config).engine
    except RequestError:  # it was changed since, and the job's error says so
        return summary
    if not summary["videos"] or not config.goes_on:
        return summary
    keys = (
        "path", "stem", "status", "error", "frames", "inferred_frames", "detections", "tracks", "media", "outputs",
        "sequence", "input", "video_offset_s",
    )  # fmt: skip
    videos = [{key: video[key] for key in keys if key in video} for video in summary["videos"]]
    task = {
        "kind": "answers",
        "output": str(job.output),
        "config": job.config,
        "videos": videos,
        "model": summary.get("model") or {},
        "roots": list(map(str, context.settings.video_roots)),
    }
    event: dict[str, Any] = {}
    try:
        with EngineProcess(task) as engine:
            for each in engine.events(_ANSWERS_SILENCE_S, _ANSWERS_SILENCE_S, context.renewal()):
                event = each if each["kind"] in ("answered", "fatal") else event
            why = None if event else f"the program that counts {engine.ended()}"
    except TimeoutError:
        why = "counting took too long"
    found: dict[str, Any] = event.get("found") or {}
    error = why or event.get("error") or next((each["error"] for each in found.values() if "error" in each), None)
    if config.writes_tables and "answers" not in found:
        found["answers"] = {"cameras": [], "tables": {}, "error": error}
    if error is not None:
        summary = {**summary, "success": False, "error": summary.get("error") or error}
    clocks = event.get("clocks") or [None] * len(videos)
    return {
        **summary,
        "videos": [
            video if clock is None else {**video, "clock": clock}
            for video, clock in zip(summary["videos"], clocks, strict=True)
        ],
        **found,
    }


def _with_alarms(job: Job, summary: dict[str, Any]) -> dict[str, Any]:
    """The summary with what became of events, as the job's log has it of each worker, added up by receiver."""
    told: dict[str, dict[str, Any]] = {}
    for line in _log_of(job).splitlines():
        try:
            values = json.loads(line)
            if values["event"] == "events told":
                target, sent, given_up = str(values["target"]), int(values["sent"]), int(values["given_up"])
                one = told.setdefault(target, {"target": target, "sent": 0, "given_up": 0})
                one["sent"], one["given_up"] = one["sent"] + sent, one["given_up"] + given_up
                if "error" in values:
                    one["error"] = str(values["error"])
        except (ValueError, KeyError, TypeError):  # cut short by a kill
            continue
    return {**summary, "alarms": list(told.values())} if told else summary


def _log_of(job: Job) -> bytes:
    """The job's own log, as far as it is a file; a link is not followed, a FIFO not waited for."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(job.folder / "events.jsonl", flags), "rb") as file:
            return file.read(_LONGEST_LOG) if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else b""
    except OSError:
        return b""


def _salvage(job: Job, context: Context) -> None:
    """What workers that died had reached in a cancelled job becomes partial results."""
    start = job.start_record()
    claims = Claims(job, start.videos if start else (), context.owner(), context.settings)
    touch = context.renewal(claims)
    while (claim := claims.next_begun()) is not None:
        claims.keep(claim, salvaged_entry(job, claim, context.settings, "cancelled", touch))


def _forget_journals(job: Job) -> None:
    """A job that is complete leaves nothing to go on with: the next one over its folder does everything anew. After
    any other end, what was done is not done again."""
    record = job.start_record()
    for video in record.videos if record else ():
        done = job.done(video.index)
        if done and done.status != "failed":
            attempts.forget(job.output, PurePosixPath(video.stem), job.id)
    attempts.clean(job.output)


def age_s(job: Job) -> float:
    """Seconds since the job was made."""
    return (datetime.now(UTC) - datetime.fromisoformat(job.spec.created_at)).total_seconds()
