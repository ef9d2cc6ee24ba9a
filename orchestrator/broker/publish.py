"""Puts a job's steps on the queue. Messages are small: they only say which step of which job."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.choices.backends import needs_gpu
from engine.inference.trt.find import is_plan
from orchestrator.broker.messages import priority_of
from orchestrator.errors import RequestError
from orchestrator.job.atomic_json import object_in, write_quick
from orchestrator.job.files import file_at
from orchestrator.job.jobdir import Job, now
from orchestrator.job.leases import numbered
from orchestrator.job.records import Priority, Sent
from orchestrator.job.turns import proceed
from orchestrator.settings import GPU_QUEUE, LOG_QUEUE, QUEUE, is_amqp

if TYPE_CHECKING:
    from celery import Celery

    from orchestrator.broker.view import Broker

log = logging.getLogger(__name__)

_SHORT = {"start": "log_start_yolo", "end": "log_end_yolo"}


def task_id(job: Job, key: str) -> str:
    """Return the Celery id of a step's message."""
    return f"{job.id}.{key}"


def queue_of(job: Job) -> str:
    """Return the queue of the job's process steps."""
    return process_queue(job.spec.queue, job.spec.config)


def queue_for_step(job: Job, key: str) -> str:
    """Return the queue of one of the job's steps."""
    return LOG_QUEUE if key in _SHORT else queue_of(job)


def process_queue(asked: str | None, config: Mapping[str, object]) -> str:
    """Return the queue of a job's process steps: the requested one, otherwise the one that its configuration needs."""
    if asked:
        return asked
    device, backend, model = (str(config.get(key, "")) for key in ("device", "backend", "model"))
    on_gpu = device.startswith("cuda") or needs_gpu(backend) or is_plan(model)
    return GPU_QUEUE if on_gpu else QUEUE


def queue_for(task: str, asked: str | None, config: Mapping[str, object]) -> str:
    """Return the queue that matters most for a job of this task: that of its process steps, if it has any."""
    return LOG_QUEUE if task == "log_start" else process_queue(asked, config)


# The levels of a queue, of which Celery serves 0 first: for steps of a new job, and for those of a job that has had a
# turn. So a new job is taken before all others, and those take turns.
_NEW = {Priority.HIGH: 0, Priority.NORMAL: 0, Priority.LOW: 9}
_LATER = {Priority.HIGH: 3, Priority.NORMAL: 6, Priority.LOW: 9}


def level_of(job: Job, key: str) -> int:
    """Return the level at which a step waits."""
    if key in _SHORT:
        return 0
    begun = file_at(numbered(job.task_base(key), 1)).exists()
    return later_level(job) if begun else _NEW[job.spec.priority]


def later_level(job: Job) -> int:
    """Return the level at which the process steps of a job wait for their next turn."""
    return _LATER[job.spec.priority]


def times_sent(job: Job, key: str) -> int:
    """Return how often a step has been sent."""
    try:
        return Sent.from_json(object_in(job.folder / "tasks" / f"{key}.sent.json")).again + 1
    except ValueError:
        return 1


def publish(app: Celery, job: Job, key: str, *, again: int = 0) -> str:
    """Send the message of a step and return its id. Raises kombu's errors if the broker is unreachable, and
    RequestError if the job's queue is not one of this machine's."""
    queue = queue_for_step(job, key)
    if queue not in app.conf.task_queues:
        raise RequestError(
            f"Job {job.id} goes to the queue {queue}, and the settings of this machine have none of that name: "
            f'queues = ["{queue}"].'
        )
    sent = task_id(job, key) + (f".again-{again}" if again else "")
    proceed(job, key)
    level = level_of(job, key)
    app.send_task(
        _SHORT.get(key, "process_videos_yolo"),
        args=(job.spec.video_folder, job.config),
        kwargs={"job": str(job.folder)} | ({} if key in _SHORT else {"step": key}),
        task_id=sent,
        queue=queue,
        priority=priority_of(level) if is_amqp(app.conf.broker_url) else level,
    )
    with contextlib.suppress(OSError):
        write_quick(job.folder / "tasks" / f"{key}.sent.json", Sent(sent, queue, now(), again).to_json())
    log.info("job %s: %s is on queue %s", job.id, key, queue, extra={"job": job.id})
    return sent


def announce(broker: Broker, job: Job) -> None:
    """Announce a job to workers on other machines, in case its messages are lost. Best effort."""
    try:
        broker.announce(job.id, str(job.folder))
    except Exception as error:  # noqa: BLE001 - whatever the broker's client raises; the job's own files are the truth
        log.debug("job %s can't be announced: %s", job.id, error)


def withdraw(broker: Broker, job_id: str) -> None:
    try:
        broker.withdraw(job_id)
    except Exception as error:  # noqa: BLE001 - as above
        log.debug("job %s can't be withdrawn: %s", job_id, error)
