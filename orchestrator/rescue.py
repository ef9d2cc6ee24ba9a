"""Finds jobs whose messages were lost, and puts their next step on the queue again.

Messages are lost when a broker without persistence restarts, when its memory is flushed, when a worker is killed (its
message sleeps in the broker until the visibility timeout). The job's directory knows what is left to do, so a step that
nobody works on and that waits in no queue is sent again. A message too many does no harm: it finds nothing to take.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from celery import Celery

from orchestrator import jobs
from orchestrator.errors import JobError
from orchestrator.files import read_json
from orchestrator.jobdir import Job
from orchestrator.leases import Owner, age_of
from orchestrator.publish import JOBS_KEY, publish, task_id
from orchestrator.registry import known_jobs
from orchestrator.settings import HEARTBEAT_KEY, Settings

log = logging.getLogger(__name__)

_AGAIN_AFTER_S = 15.0
_LONGEST_LOOK = 5000


def rescue(app: Celery, client: Any, settings: Settings) -> list[str]:
    """Sends what was lost; returns the ids of the messages sent. Raises what the broker's client raises."""
    open_jobs = [job for job in _jobs(client, settings) if not job.ended]
    if not open_jobs:
        return []
    waiting = messages_waiting(client, settings) | messages_held(client)
    sent = []
    for job in open_jobs:
        for key in jobs.next_step(job, settings.lease_s):
            if _is_on_its_way(job, key, waiting, settings):
                continue
            again = _times_sent(job, key)
            log.warning("job %s: the message of %s was lost, it is sent again", job.id, key, extra={"job": job.id})
            job.note("message lost", step=key)
            sent.append(publish(app, job, key, again=again))
    return sent


def messages_waiting(client: Any, settings: Settings) -> set[str]:
    """Ids of the messages in all queues."""
    found = set()
    for queue in settings.known_queues:
        for raw in client.lrange(queue, 0, _LONGEST_LOOK):
            found.add(_id_of(raw))
    return found


def messages_held(client: Any) -> set[str]:
    """Ids of the messages that live workers hold."""
    found: set[str] = set()
    for heartbeat in heartbeats(client):
        if not Owner(**heartbeat["owner"]).gone:  # a killed worker's last words stay for a while
            found |= set(heartbeat["tasks"])
    return found


def heartbeats(client: Any) -> list[dict[str, Any]]:
    """What the workers that are alive last said of themselves."""
    found = []
    for key in client.scan_iter(match=f"{HEARTBEAT_KEY}*", count=1000):
        raw = client.get(key)
        if raw:
            found.append(json.loads(raw))
    return sorted(found, key=lambda value: str(value.get("node")))


def _jobs(client: Any, settings: Settings) -> Iterable[Job]:
    seen = set()
    for job in known_jobs(settings):
        seen.add(job.id)
        yield job
    for raw_id, raw_folder in client.hgetall(JOBS_KEY).items():
        job_id, folder = _text(raw_id), _text(raw_folder)
        if job_id in seen:
            continue
        try:
            yield jobs.open_job(folder, settings)
        except JobError as error:
            log.debug("job %s is not for this machine: %s", job_id, error)


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
    if died:
        return False
    age_s = age_of(job.folder / "tasks" / f"{key}.sent.json")
    if age_s is None:
        age_s = jobs.age_s(job)
    return age_s < _AGAIN_AFTER_S


def _times_sent(job: Job, key: str) -> int:
    try:
        value = read_json(Path(job.folder) / "tasks" / f"{key}.sent.json")
    except (OSError, ValueError):
        value = None
    return int(value["again"]) + 1 if value else 1


def _id_of(raw: bytes | str) -> str:
    try:
        return str(json.loads(raw)["headers"]["id"])
    except (ValueError, KeyError, TypeError):
        return ""


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
