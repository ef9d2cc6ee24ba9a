"""`yolo-submit --follow`: a job's events as they happen, for programs."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator

import click

from engine.text.say import say
from orchestrator.broker.resolve import resolved_settings
from orchestrator.client.commands_jobs import outputs_of
from orchestrator.client.options import SubmitOptions
from orchestrator.errors import FAILED, INTERRUPTED, reason_of
from orchestrator.job.events import Event, Events
from orchestrator.job.jobdir import Job, holds_job, now
from orchestrator.job.outcomes import state_of
from orchestrator.job.records import JobState
from orchestrator.job.registry import find_job
from orchestrator.settings import Settings
from orchestrator.stop_signals import interrupting

_LOOK_EVERY_S = 0.2
_AWAY_S = 2.0
_LAST_WORD_S = 2.0
"""How long after a job's end the event about it may arrive."""


def follow(options: SubmitOptions) -> int:
    """Print a line of JSON for each event after `after`, until the job has ended. Returns 0 if it completed, otherwise
    1. Raises UnknownJob."""
    given = resolved_settings()
    job = find_job(options.job_id, given, *outputs_of(options.output, given))
    with interrupting(signal.SIGINT):
        try:
            for event in _events(job, given):
                if event.number > options.after:
                    click.echo(json.dumps({"n": event.number, "job": job.id, **event.facts}))
        except KeyboardInterrupt:
            return INTERRUPTED
    return 0 if state_of(job, given.lease_s) is JobState.COMPLETED else FAILED


def _events(job: Job, given: Settings) -> Iterator[Event]:
    """Yield the events of a job until its end; there is always a final event. If the directory is temporarily
    unavailable, wait for it."""
    events, last, away = Events(job.folder), 0, False
    ended_since: float | None = None
    while True:
        try:
            ended = job.ended  # read first, so that only the event of the end itself can be missing
            for event in events.new():
                last = event.number
                yield event
                if event.facts.get("event") == "ended":
                    return
            if not ended and not holds_job(job.folder):
                raise FileNotFoundError(f"{job.folder} is unavailable")
            if away:
                say(f"{job.folder} is back.", err=True)
            away = False
        except OSError as error:
            if not away:
                say(f"{job.folder} can't be read: {reason_of(error)}. Waiting for it.", err=True)
            away = True
            time.sleep(_AWAY_S)
            continue
        if ended:
            ended_since = ended_since or time.monotonic()
            if time.monotonic() - ended_since > _LAST_WORD_S:  # its worker died before writing it
                state = state_of(job, given.lease_s)
                yield Event(last + 1, {"at": now(), "event": "ended", "state": state.value})
                return
        time.sleep(max(_LOOK_EVERY_S, job.look_every_s))
