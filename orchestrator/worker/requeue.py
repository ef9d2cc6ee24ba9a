"""Find jobs that nobody continues, and put their next step on the queue again.

Messages are lost when a broker without persistence restarts, when its memory is flushed or purged, or when a worker is
killed (its message stays in the broker until the visibility timeout). A step that could not continue has acknowledged
its message: another job writes to the same folder, the disk is full, another process runs the same step. The job's
directory knows what is left to do, so a step that nobody works on and that waits in no queue is sent again. A surplus
message does no harm: it finds nothing to take.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import redis

from orchestrator.broker import heartbeats, keys, queues
from orchestrator.broker.publish import publish, queue_of, task_id, times_sent, withdraw
from orchestrator.errors import JobError
from orchestrator.job import turns
from orchestrator.job.jobdir import Job
from orchestrator.job.leases import age_of
from orchestrator.job.registry import open_jobs
from orchestrator.job.turns import Turns
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

_LOCK_MS = 4000
AGAIN_AFTER_S = 15.0
_MAX_ANNOUNCED = 500


def requeue_lost(app: Celery, client: redis.Redis, settings: Settings) -> list[str]:
    """Send lost messages again and return their ids. Raises what the broker's client raises.

    Workers and monitors all call it; only one of them searches at a time.
    """
    left = list(_jobs(client, settings))
    if not left or not client.set(keys.REQUEUE_LOCK, "1", nx=True, px=_LOCK_MS):
        return []
    found = queues.message_ids(client, settings.known_queues)
    if found is None:
        return []
    waiting = found | messages_held(client)
    sent = []
    folders = Turns(settings.lease_s)
    for job in left:
        try:
            paused = turns.waiting(job)
            if paused and not (job.cancelled or job.given_up) and folders.before(job) is not None:
                continue
            lost = [
                key
                for key in jobs.next_step(job, settings.lease_s)
                if not _is_on_its_way(job, key, waiting, settings) and queue_of(job) in settings.known_queues
            ]
        except OSError as error:  # one job's disk is away
            log.debug("job %s can't be looked at: %s", job.id, error)
            continue
        for key in lost:
            again = times_sent(job, key)
            if key in paused:
                log.info("job %s: it is its turn, %s goes on", job.id, key, extra={"job": job.id})
            else:
                log.warning("job %s: nobody has %s, it is sent again", job.id, key, extra={"job": job.id})
                job.note("sent again", step=key)
            sent.append(publish(app, job, key, again=again))
    return sent


def messages_held(client: redis.Redis) -> set[str]:
    """Return the ids of the messages that live workers hold."""
    return {task for beat in heartbeats.live(client) for task in beat.tasks}


def _jobs(client: redis.Redis, settings: Settings) -> Iterable[Job]:
    seen = set()
    for job in open_jobs(settings):
        seen.add(job.id)
        yield job
    # Whoever may submit may announce: another part of them at each look, so that many hold up nothing for long.
    announced = client.hrandfield(keys.JOBS, _MAX_ANNOUNCED)
    ids = list(map(_text, announced)) if isinstance(announced, list) else []
    for job_id, folder in zip(ids, map(_text, client.hmget(keys.JOBS, ids) if ids else ()), strict=True):
        if job_id in seen or os.path.basename(folder) != job_id or not os.path.exists(os.path.join(folder, "job.json")):
            continue  # of another machine, or of nobody: that is quickly seen, the checks below take a while
        try:
            job = jobs.open_job(folder, settings)
        except JobError as error:
            log.debug("job %s is not for this machine: %s", job_id, error)
            continue
        if job.settled:
            withdraw(client, job_id)
        else:
            yield job


def _is_on_its_way(job: Job, key: str, waiting: set[str], settings: Settings) -> bool:
    lease = job.leases("tasks").get(key)
    if lease is not None and lease.held(settings.lease_s):
        return True
    wanted = task_id(job, key)
    died = lease is not None and lease.ending() is None  # neither held nor ended
    if any(found == wanted or found.startswith(f"{wanted}.again-") for found in waiting):
        return True
    if key == "start" and job.id in waiting:  # `complete_pipeline`, which sends it
        return True
    if died or turns.waits(job, key):
        return False
    age_s = age_of(job.folder / "tasks" / f"{key}.sent.json")
    if age_s is None:
        age_s = jobs.age_s(job)
    return age_s < AGAIN_AFTER_S


def _text(value: object) -> str:
    """Return a text from the broker, or an empty one."""
    return value.decode(errors="replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
