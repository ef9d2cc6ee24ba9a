"""The Celery tasks. Thin: what a step does is in jobs.py; here is when a message is kept, given back or answered.

A task that is delivered twice waits and gives its message back: to acknowledge it would take away the first one's,
since both carry the same tag. A task that was told to stop gives its message back as well.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Any

from celery import Task, shared_task, states
from celery.exceptions import Ignore, Reject

from orchestrator import jobs, outcomes, sweep
from orchestrator.arguments import checked_arguments
from orchestrator.broker import client
from orchestrator.errors import Duplicate, EngineFailed, JobError, RequestError
from orchestrator.jobdir import Job, jobs_in
from orchestrator.paths import output_folder, video_folder
from orchestrator.publish import announce, publish, withdraw
from orchestrator.settings import settings
from orchestrator.worker import cores_for_a_task, stopping

log = logging.getLogger(__name__)

_DUPLICATE_WAITS_S = 10.0

Config = dict[str, Any] | None


def context_of(task: Task) -> jobs.Context:
    node = str(task.request.hostname or f"celery@{os.uname().nodename}")
    return jobs.Context(node, settings(), stopping, cores_for_a_task())


@shared_task(bind=True, name="complete_pipeline", throws=(JobError,))
@checked_arguments
def complete_pipeline(self: Task, video_folder: str, config: Config = None, workers: int = 1) -> None:
    """The whole pipeline under this task's id: start, process, end. The result appears under the id at the end."""
    job = jobs.begin(video_folder, config, settings(), job_id=self.request.id, workers=workers)
    self.backend.store_result(job.id, {"job": str(job.folder)}, states.STARTED)
    announce(client(settings().broker_url), job)
    if not job.ended:
        publish(self.app, job, "start")
    raise Ignore


@shared_task(bind=True, name="log_start_yolo", throws=(JobError,))
@checked_arguments
def log_start_yolo(self: Task, video_folder: str, config: Config = None, job: str | None = None) -> dict[str, Any]:
    """Records the start of a job, counts its videos, checks the machine."""
    context = context_of(self)
    if job is None:
        made = jobs.begin(video_folder, config, settings(), job_id=self.request.id, task="log_start")
        return outcomes.without_long_lists(jobs.start(made, context))
    opened = jobs.open_job(job, settings())
    if opened.ended:  # it was cancelled before anybody had begun it
        raise Ignore
    try:
        record = jobs.start(opened, context)
    except (Duplicate, OSError) as error:
        raise _given_back(opened, error) from error
    if not opened.ended:
        for key in jobs.next_step(opened, context.settings.lease_s):
            publish(self.app, opened, key)
    return outcomes.without_long_lists(record)


@shared_task(bind=True, name="process_videos_yolo", throws=(JobError,))
@checked_arguments
def process_videos_yolo(
    self: Task, video_folder: str, config: Config = None, job: str | None = None, step: str = "process-1"
) -> dict[str, Any]:
    """Detects and tracks in the job's videos, beside other workers that do, until none is left."""
    context = context_of(self)
    if job is None:
        jobs.check_step(step, workers=1)
        opened = jobs.begin(video_folder, config, settings(), job_id=self.request.id, task="process_videos")
    else:
        opened = jobs.open_job(job, settings())
        jobs.check_step(step, opened.workers)
    if opened.ended and job is not None:
        raise Ignore
    try:
        summary = jobs.process(opened, step, context)
    except (Duplicate, OSError) as error:
        raise _given_back(opened, error) from error
    except EngineFailed as error:
        log.error("job %s: the engine can't run: %s", opened.id, error, extra={"job": opened.id})
        summary = {**outcomes.summarise(opened, str(error)), "how": "failed"}
    if summary["how"] == "handed back":
        raise Reject(f"job {opened.id}: this worker stops, another one goes on", requeue=True)
    if job is None:
        summary = _ended(opened, context)["processing_result"]
    elif jobs.next_step(opened, context.settings.lease_s) == ["end"]:
        publish(self.app, opened, "end")
    return outcomes.shortened(summary)


@shared_task(bind=True, name="log_end_yolo", throws=(JobError,))
@checked_arguments
def log_end_yolo(self: Task, video_folder: str, config: Config = None, job: str | None = None) -> dict[str, Any]:
    """Records the end of a job and its final statistics, once; returns the pipeline's result."""
    context = context_of(self)
    opened = jobs.open_job(job, settings()) if job else _last_job(video_folder, config)
    if job is None and not opened.ended and jobs.next_step(opened, context.settings.lease_s) != ["end"]:
        raise RequestError(
            f"Job {opened.id} is under way in {opened.output}: its end is recorded when its videos are done, or ask "
            f"for it with `yolo-submit --cancel {opened.id}`."
        )
    result = outcomes.shortened(_ended(opened, context))
    if job is None:
        return dict(result["end_log"])
    self.backend.store_result(opened.id, result, states.SUCCESS)
    withdraw(client(settings().broker_url), opened.id)
    return result


@shared_task(bind=True, name="sweep_yolo", throws=(JobError,))
@checked_arguments
def sweep_yolo(self: Task, folder: str) -> dict[str, Any]:
    """Makes one job of the new and complete videos in a folder that this worker's settings watch as well."""
    watch = next((watch for watch in settings().watch if str(watch.folder) == folder), None)
    if watch is None:
        raise RequestError(f"{folder} is not watched by this worker's settings: YOLO_SETTINGS must be Beat's.")
    job, told = sweep.sweep(watch, settings())
    if job is not None:
        announce(client(settings().broker_url), job)
        publish(self.app, job, "start")
    return told


def _last_job(given_folder: str, config: Config) -> Job:
    """The newest job that processed this folder into the output folder of this configuration."""
    output = output_folder(str(jobs.checked_config(config or {}).output_folder), settings())
    source = str(video_folder(given_folder, settings()))
    for job in reversed(jobs_in(output)):
        if source in job.spec["inputs"] and job.spec["task"] != "log_start":
            return job
    raise RequestError(
        f"No job has processed {given_folder} into {output}: submit process_videos or complete_pipeline."
    )


def _ended(job: Job, context: jobs.Context) -> dict[str, Any]:
    try:
        return jobs.end(job, context)
    except OSError as error:
        raise _given_back(job, error) from error


def _given_back(job: Job, error: Duplicate | OSError) -> Reject:
    """Waits a little, so that the message does not come straight back, and gives it back.

    A job's directory that can't be written, most often for a full disk, is waited for as well: nothing of the job could
    be kept now, and nothing of it is lost.
    """
    if isinstance(error, OSError):
        where = error.filename or job.folder
        log.error("job %s waits: %s can't be written: %s", job.id, where, error.strerror, extra={"job": job.id})
    else:
        log.info("job %s: %s", job.id, error, extra={"job": job.id})
    until = time.monotonic() + _DUPLICATE_WAITS_S
    while time.monotonic() < until and not stopping():
        time.sleep(0.1)
    return Reject(str(error), requeue=True)
