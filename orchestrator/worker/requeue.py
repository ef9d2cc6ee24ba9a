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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.broker.publish import publish, queue_for_step, queue_of, task_id, times_sent, withdraw
from orchestrator.broker.view import Broker
from orchestrator.errors import JobError
from orchestrator.job import turns
from orchestrator.job.files import any_path
from orchestrator.job.jobdir import Job
from orchestrator.job.leases import age_of
from orchestrator.job.registry import open_jobs
from orchestrator.job.turns import Turns
from orchestrator.settings import Settings
from orchestrator.worker import steps as jobs
from orchestrator.worker.quotas import Quotas

if TYPE_CHECKING:
    from celery import Celery

log = logging.getLogger(__name__)

_ALONE_S = 4.0
AGAIN_AFTER_S = 15.0
_MAX_ANNOUNCED = 500


def requeue_lost(app: Celery, broker: Broker, settings: Settings) -> list[str]:
    """Send lost messages again and return their ids. Raises what the broker's client raises.

    Workers and monitors all call it; only one of them searches at a time.
    """
    left = list(known_jobs(broker, settings))
    if not left or not broker.looks_alone(_ALONE_S):
        return []
    found = broker.message_ids(settings.known_queues)
    if found is None:
        return []
    waiting = found | messages_held(broker)
    lengths = {} if broker.tells_which else broker.lengths(settings.known_queues)
    seen = _Seen(waiting, frozenset(queue for queue, count in lengths.items() if count))
    sent = []
    folders, room = Turns(settings.lease_s), Quotas(left, settings)
    chosen = _with_room(room)
    for job in left:
        try:
            paused = turns.waiting(job)
            if paused and not (job.cancelled or job.given_up) and folders.before(job) is not None:
                continue
            lost = [
                key
                for key in jobs.next_step(job, settings.lease_s)
                if not _is_on_its_way(job, key, seen, settings)
                and queue_of(job) in settings.known_queues
                and (key not in paused or (job.id, key) in chosen or room.full(job, key) is None)
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


def _with_room(room: Quotas) -> set[tuple[str, str]]:
    """Choose the steps that wait for room in a quota and have it now, in their order; ask others to give way."""
    chosen = set()
    for step in room.in_order():
        if room.full(step.job, step.key) is None:
            room.give(step.job)
            chosen.add((step.job.id, step.key))
    room.ask_for_way()
    return chosen


def messages_held(broker: Broker) -> set[str]:
    """Return the ids of the messages that live workers hold."""
    return {task for beat in broker.live() for task in beat.tasks}


@dataclass(frozen=True)
class _Seen:
    """What one look found: the ids of messages that wait or are held, and the queues of which it is only known that
    something waits there."""

    ids: set[str]
    crowded: frozenset[str]


def known_jobs(broker: Broker, settings: Settings) -> Iterable[Job]:
    """Yield the jobs that are not settled: those that this machine remembers, and others that it may work on."""
    seen = set()
    for job in open_jobs(settings):
        seen.add(job.id)
        yield job
    # Whoever may submit may announce: another part of them at each look, so that many hold up nothing for long.
    for job_id, folder in broker.announced(_MAX_ANNOUNCED):
        path = any_path(folder)
        if job_id in seen or path.name != job_id or (isinstance(path, Path) and not os.path.exists(path / "job.json")):
            continue  # of another machine, or of nobody: that is quickly seen, the checks below take a while
        try:
            job = jobs.open_job(folder, settings)
        except JobError as error:
            log.debug("job %s is not for this machine: %s", job_id, error)
            continue
        if job.settled:
            withdraw(broker, job_id)
        else:
            yield job


def _is_on_its_way(job: Job, key: str, seen: _Seen, settings: Settings) -> bool:
    lease = job.leases("tasks").get(key)
    if lease is not None and lease.held(settings.lease_s):
        return True
    wanted = task_id(job, key)
    died = lease is not None and lease.ending() is None  # neither held nor ended
    if any(found == wanted or found.startswith(f"{wanted}.again-") for found in seen.ids):
        return True
    if key == "start" and job.id in seen.ids:  # `complete_pipeline`, which sends it
        return True
    if turns.waits(job, key):
        return False
    age_s = age_of(job.folder / "tasks" / f"{key}.sent.json")
    if queue_for_step(job, key) in seen.crowded:
        # It may well be among them, a killed worker's too: the broker has put that back. Not for ever: a queue that is
        # never empty must not hide a loss.
        return age_s is not None and age_s < settings.visibility_timeout_s
    if died:
        return False
    if age_s is None:
        age_s = jobs.age_s(job)
    return age_s < AGAIN_AFTER_S
