"""`yolo-submit --purge`: remove all waiting messages, and end the jobs that no worker is processing."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field

import click

from engine.text.say import say
from orchestrator.broker.messages import Message
from orchestrator.broker.publish import withdraw
from orchestrator.broker.resolve import resolved_settings
from orchestrator.client import submission, views
from orchestrator.client.asking import ask
from orchestrator.client.options import SubmitOptions
from orchestrator.errors import JobError
from orchestrator.job.files import AnyPath
from orchestrator.job.jobdir import Job, who
from orchestrator.job.registry import find_job
from orchestrator.settings import Settings
from orchestrator.worker import steps


@dataclass
class _Purged:
    """The outcome for the jobs whose messages were removed."""

    messages: list[Message]
    cancelled: list[str] = field(default_factory=list)
    at_work: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


def purge(options: SubmitOptions) -> int:
    """Remove waiting messages. Raises BrokerUnreachable, and UsageError if confirmation is needed but there is no
    terminal."""
    given, yes, as_json = resolved_settings(), options.yes, options.as_json
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "--purge asks first, and there is no terminal to ask on. Add --yes to purge without asking."
        )
    submission.preflight_both(given)
    there = ask(given, lambda broker: broker.waiting(given.known_queues))
    if there and not yes:
        many = views.listed(sorted({message.job for message in there}))
        say(f"Waiting messages: {len(there)}, of {many}. Jobs that nobody is working on will be cancelled.", err=True)
        if not click.confirm("Remove them?", err=True):
            raise click.Abort
    purged = _Purged(ask(given, lambda broker: broker.take_away(given.known_queues)))
    for job_id, folder in {message.job: message.folder for message in purged.messages}.items():
        _end_job(job_id, folder, purged, given)
    if as_json:
        by_queue = {queue: sum(m.queue == queue for m in purged.messages) for queue in given.known_queues}
        value = {"success": True, "removed": len(purged.messages), "queues": by_queue}
        value |= {"cancelled": purged.cancelled, "at_work": purged.at_work, "elsewhere": purged.elsewhere}
        click.echo(json.dumps(value))
        return 0
    say(f"Messages removed: {len(purged.messages)}.")
    for name, ids in (
        ("cancelled", purged.cancelled),
        ("being processed, they continue", purged.at_work),
        ("not known on this machine, end them where they are: yolo-submit --cancel ID", purged.elsewhere),
    ):
        if ids:
            say(f"Jobs {name}: {', '.join(ids)}")
    return 0


def _end_job(job_id: str, folder: AnyPath | None, purged: _Purged, given: Settings) -> None:
    try:
        job: Job = steps.open_job(str(folder), given) if folder else find_job(job_id, given)
    except JobError:
        purged.elsewhere.append(job_id)
        return
    if job.ended:
        return
    if job.live(given.lease_s):
        purged.at_work.append(job_id)
        return
    if submission.cancel(job, f"{who()}, by --purge", given).ended:
        purged.cancelled.append(job_id)
        submission.tell_result(job, given)
        ask(given, lambda broker: withdraw(broker, job_id))
