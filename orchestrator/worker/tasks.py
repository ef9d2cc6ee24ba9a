"""The Celery tasks. They are thin: steps.py does the work, this file decides when a message is returned or
acknowledged.

A step that can't continue now (it was delivered twice, another job writes to the same folder, the disk is full)
acknowledges its message and ends, so that it occupies no slot while it waits: the job's directory knows what is left to
do, and the search for lost messages (requeue.py) sends the step again when it can continue, or when its current owner
dies. A task that was told to stop returns its message.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Sequence

from celery import Task, shared_task, states
from celery.exceptions import Ignore, Reject

from orchestrator.broker import refusals
from orchestrator.broker.opened import open_broker
from orchestrator.broker.publish import announce, publish, times_sent, withdraw
from orchestrator.broker.resolve import resolved_settings
from orchestrator.broker.view import Broker
from orchestrator.errors import Duplicate, EngineFailed, FolderTaken, JobError, QuotaFull, RequestError, reason_of
from orchestrator.job import outcomes, turns
from orchestrator.job.job_config import JobConfig
from orchestrator.job.jobdir import Job, jobs_in
from orchestrator.job.paths import home_of, video_folder
from orchestrator.job.records import How, PipelineResult
from orchestrator.worker import alive, quotas, readings, sweep, ways
from orchestrator.worker import steps as jobs
from orchestrator.worker.arguments import checked_arguments
from orchestrator.worker.keeper import cores_for_a_task, stopping
from orchestrator.worker.requeue import known_jobs

log = logging.getLogger(__name__)

Config = dict[str, object] | None


class Step(Task):
    """A task whose refusal is in the worker's log and, for the list and the health check, at the broker."""

    def on_failure(
        self, exc: BaseException, task_id: str, args: Sequence[object], kwargs: object, einfo: object
    ) -> None:
        if isinstance(exc, JobError):
            what, kept_s = _what(self, task_id, args)
            log.error("%s is refused: %s", what, refusals.one_line(str(exc)))
            _tell_broker(lambda broker: broker.note_refusal(what, str(exc), kept_s))


def _what(task: Task, task_id: str, args: Sequence[object]) -> tuple[str, float]:
    """Describe a task in words, and return for how many seconds its refusal is of interest: a sweep's until the next
    one has been due."""
    if task.name != "sweep_yolo":
        return refusals.one_line(f"task {task.name} {task_id}"), refusals.KEPT_S
    folder = str(args[0]) if args else ""
    every = next((watch.every_minutes for watch in resolved_settings().watch if str(watch.folder) == folder), 60.0)
    return refusals.one_line(f"sweep {folder}"), max(300.0, 2.5 * 60 * every)


def _tell_broker(tell: Callable[[Broker], None]) -> None:
    """Tell the broker something, as best effort."""
    try:
        with open_broker(resolved_settings()) as broker:
            tell(broker)
    except Exception as error:  # noqa: BLE001 - whatever the broker's client raises; the log has it
        log.debug("the broker can't be told: %s", error)


def context_of(task: Task) -> jobs.Context:
    node = str(task.request.hostname or f"celery@{os.uname().nodename}")
    task_id = str(task.request.id)
    return jobs.Context(
        node,
        resolved_settings(),
        stopping,
        cores_for_a_task(),
        alive=lambda: alive.show(task_id),
        show=lambda reading: readings.show(task_id, reading),
        crowded=_full_quota,
        gives_way=lambda level, worked_s: ways.gives_way(task_id, level, worked_s, resolved_settings().turn_s),
        draining=ways.draining,
    )


@shared_task(bind=True, base=Step, name="complete_pipeline", throws=(JobError,))
@checked_arguments
def complete_pipeline(self: Task, video_folder: str, config: Config = None, workers: int = 1) -> None:
    """Run the whole pipeline under this task's id: start, process, end. The result appears under the id at the end."""
    job = jobs.begin(video_folder, config, resolved_settings(), job_id=self.request.id, workers=workers)
    self.backend.store_result(job.id, {"job": str(job.folder)}, states.STARTED)
    _tell_broker(lambda broker: announce(broker, job))
    if not job.ended:
        send(self, job, "start")
    raise Ignore


@shared_task(bind=True, base=Step, name="log_start_yolo", throws=(JobError,))
@checked_arguments
def log_start_yolo(self: Task, video_folder: str, config: Config = None, job: str | None = None) -> dict[str, object]:
    """Record the start of a job, count its videos, check the machine."""
    context = context_of(self)
    if job is None:
        made = jobs.begin(video_folder, config, resolved_settings(), job_id=self.request.id, task="log_start")
        return outcomes.without_long_lists(jobs.start(made, context))
    opened = jobs.job_to_go_on_with(job, resolved_settings())
    if opened.ended:  # it was cancelled before anybody had begun it
        raise Ignore
    try:
        record = jobs.start(opened, context)
        if not opened.ended:
            _go_on(self, opened, jobs.next_step(opened, context.settings.lease_s))
    except (Duplicate, OSError) as error:
        raise _waits(opened, error) from error
    return outcomes.without_long_lists(record)


@shared_task(bind=True, base=Step, name="process_videos_yolo", throws=(JobError,))
@checked_arguments
def process_videos_yolo(
    self: Task, video_folder: str, config: Config = None, job: str | None = None, step: str = "process-1"
) -> dict[str, object]:
    """Detect and track objects in the job's videos, together with other workers, until none is left."""
    context = context_of(self)
    if job:
        opened = jobs.job_to_go_on_with(job, resolved_settings())
        jobs.check_step(step, opened.workers)
    else:
        jobs.check_step(step, workers=1)
        opened = jobs.begin(video_folder, config, resolved_settings(), job_id=self.request.id, task="process_videos")
    if opened.ended and job is not None:
        raise Ignore
    try:
        done = jobs.process(opened, step, context)
    except (Duplicate, FolderTaken, QuotaFull, OSError) as error:
        raise _waits(opened, error) from error
    except EngineFailed as error:
        log.error("job %s: the engine can't run: %s", opened.id, error, extra={"job": opened.id})
        done = jobs.Processed(outcomes.summarise(opened, str(error)), How.FAILED)
    if done.how is How.HANDED_BACK:
        raise Reject(f"job {opened.id}: this worker stops, another one goes on", requeue=True)
    if done.how is How.GAVE_WAY:
        if not _waits_behind_others(opened, step):
            send(self, opened, step, again=times_sent(opened, step))
        raise Ignore(f"job {opened.id}: another job has its turn")
    if job is None:
        return outcomes.shortened(_ended(self, opened, context).summary).to_json()
    if jobs.next_step(opened, context.settings.lease_s) == ["end"]:
        send(self, opened, "end")
    return done.to_json()


@shared_task(bind=True, base=Step, name="log_end_yolo", throws=(JobError,))
@checked_arguments
def log_end_yolo(self: Task, video_folder: str, config: Config = None, job: str | None = None) -> dict[str, object]:
    """Record the end of a job and its final statistics, once; return the pipeline's result."""
    context = context_of(self)
    opened = jobs.job_at(job, resolved_settings()) if job else _last_job(video_folder, config)
    if job is None and not opened.ended and jobs.next_step(opened, context.settings.lease_s) != ["end"]:
        raise RequestError(
            f"Job {opened.id} is under way in {opened.results}: its end is recorded when its videos are done, or ask "
            f"for it with `yolo-submit --cancel {opened.id}`."
        )
    result = _ended(self, opened, context)
    if job is None:
        return dict(result.end_log)
    short = outcomes.shortened_result(result)
    alone = opened.spec.task == "process_videos"
    self.backend.store_result(opened.id, short.summary.to_json() if alone else short.to_json(), states.SUCCESS)
    _tell_broker(lambda broker: withdraw(broker, opened.id))
    return short.to_json()


@shared_task(bind=True, base=Step, name="sweep_yolo", throws=(JobError,))
@checked_arguments
def sweep_yolo(self: Task, folder: str) -> dict[str, object]:
    """Submit the new, complete videos in a folder as one job; this worker's settings must also watch the folder."""
    watch = next((watch for watch in resolved_settings().watch if str(watch.folder) == folder), None)
    if watch is None:
        raise RequestError(f"{folder} is not watched by this worker's settings: YOLO_SETTINGS must be Beat's.")
    try:
        job, told = sweep.sweep(watch, resolved_settings())
    except OSError as error:
        raise JobError(f"{error.filename or folder}: {reason_of(error)}.") from error
    _tell_broker(lambda broker: broker.forget_refusal(f"sweep {folder}"))
    if job is not None:
        _tell_broker(lambda broker: announce(broker, job))
        send(self, job, "start")
    return told


def _last_job(given_folder: str, config: Config) -> Job:
    """Find the newest job that processed this folder into the output folder of this configuration."""
    given = resolved_settings()
    home = home_of(str(JobConfig.parse(config, given).engine.output_folder), given)
    source = str(video_folder(given_folder, given))
    for job in reversed(jobs_in(home)):
        if source in job.spec.inputs and job.spec.task != "log_start":
            return job
    raise RequestError(f"No job has processed {given_folder} into {home}: submit process_videos or complete_pipeline.")


def _ended(task: Task, job: Job, context: jobs.Context) -> PipelineResult:
    """End the job, and put the next one that waits for its folder on the queue."""
    try:
        result = jobs.end(job, context)
    except (Duplicate, OSError) as error:
        raise _waits(job, error) from error
    following = turns.next_waiting(job.home, context.settings.lease_s)
    if following is not None:
        with contextlib.suppress(OSError):  # the look for lost messages sends it
            _go_on(task, *following)
    return result


def _go_on(task: Task, job: Job, keys: list[str]) -> None:
    """Put steps on the queue, if it is the job's turn in its folder."""
    for key in keys:
        if key in ("start", "end") or turns.Turns(resolved_settings().lease_s).must_wait(job, key) is None:
            send(task, job, key)


def send(task: Task, job: Job, key: str, *, again: int = 0) -> None:
    """Put a step on the queue. A failure does not undo this step's work: if the broker is unreachable for long, or the
    connection breaks while sending, the search for lost messages sends the step later."""
    try:
        publish(task.app, job, key, again=again)
    except JobError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever Celery raises
        # An AttributeError is kombu's, of a channel that was closed under its hands.
        why = "the connection to the broker broke" if isinstance(error, AttributeError) else str(error)
        log.warning(
            "job %s: %s can't be put on its queue now, it is sent later: %s", job.id, key, why, extra={"job": job.id}
        )


def _full_quota(job: Job, key: str) -> quotas.Group | None:
    """Return the quota that has no room for a step; None if there is room, or it can't be told."""
    found = _quotas(job)
    return None if found is None else found.full(job, key)


def _waits_behind_others(job: Job, key: str) -> bool:
    """Set a step that gave way aside if others wait for room in its quota, so that they come first. Return whether."""
    found = _quotas(job)
    if found is None or not found.others_wait(job):
        return False
    quotas.set_aside(job, key, quotas.groups_of(job, resolved_settings())[0])
    return True


def _quotas(job: Job) -> quotas.Quotas | None:
    """Return what counts for the quotas of a job; None if there is none, or the broker can't be asked for the jobs."""
    given = resolved_settings()
    if not quotas.groups_of(job, given):
        return None
    try:
        with open_broker(given) as broker:
            return quotas.Quotas(list(known_jobs(broker, given)), given)
    except Exception as error:  # noqa: BLE001 - whatever the broker's client raises: work goes on without quotas
        log.warning("quotas can't be looked at: %s", error)
        return None


def _waits(job: Job, error: Duplicate | FolderTaken | QuotaFull | OSError) -> Ignore:
    """Return the exception that acknowledges the message of a step that can't continue now.

    This includes a job's directory that can't be written, mostly because the disk is full: nothing could be saved now,
    and nothing is lost.
    """
    if isinstance(error, OSError):
        where = error.filename or job.folder
        log.error("job %s waits: %s can't be written: %s", job.id, where, error.strerror, extra={"job": job.id})
    else:
        log.info("%s", error, extra={"job": job.id})
    _tell_broker(lambda broker: announce(broker, job))  # any machine may continue with it
    return Ignore(str(error))
