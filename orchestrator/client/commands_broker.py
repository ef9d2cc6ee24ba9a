"""`yolo-submit --list-tasks`, `--purge` and `--health-check`: what the broker holds, and whether it is well."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, TypeVar

import click
from redis import exceptions
from rich.console import Console
from rich.text import Text

from engine.text.printable import printable
from engine.text.say import say
from orchestrator.broker import heartbeats, queues, refusals
from orchestrator.broker.connection import client
from orchestrator.broker.preflight import explain, extra_s, within
from orchestrator.broker.queues import Message
from orchestrator.broker.resolve import resolved_settings
from orchestrator.client import submission, views
from orchestrator.client.commands_jobs import broker_note
from orchestrator.client.snapshot import Reader
from orchestrator.errors import JobError
from orchestrator.job.jobdir import ENDED_STATES, Job, is_id
from orchestrator.job.registry import find_job, known_jobs
from orchestrator.settings import LOG_QUEUE, Settings

_RECENT = 20
_MAX_LISTED = 30
_ASK_S, _ASK_TRIPS = 4.0, 20

T = TypeVar("T")
Row = dict[str, Any]
"""A line of a table, as `--json` has it."""


# -- --list-tasks -----------------------------------------------------------------------------------------------------


def list_tasks(as_json: bool) -> int:
    """Show the jobs and return 0: without the broker, those that this machine knows, and why the rest is not there."""
    given = resolved_settings()
    note = broker_note(given)
    recent = recent_jobs(given)
    trouble = note()
    held: dict[str, list[Row]] = {"active": [], "reserved": [], "scheduled": []}
    refused: list[Row] = []
    if trouble is None:
        try:
            held = _ask(given, lambda connection: _held(connection, given))
            refused = _ask(given, _refused)
        except (exceptions.RedisError, OSError) as error:
            trouble = explain(error, given.broker_url)[0]
    if as_json:
        click.echo(json.dumps({"success": True, "broker": trouble, **held, "refused": refused, "recent": recent}))
        return 0
    console = views.screen()
    if trouble is None:
        show(console, "active", held["active"], ("worker", "job", "step"))
        show(console, "reserved", held["reserved"], ("queue", "job", "step", "age"))
        if held["scheduled"]:
            show(console, "scheduled", held["scheduled"], ("queue", "job", "step", "eta"))
        if refused:
            show(console, "refused", refused, ("what", "why", "age"))
    else:
        say(f"The broker does not answer: {trouble}", err=True)
        say("The jobs that this machine knows of:", err=True)
    show(console, "recent", recent, ("id", "state", "videos", "age", "video_folder"))
    return 0


def _held(connection: Any, given: Settings) -> dict[str, list[Row]]:
    active = [
        {"worker": beat.node, "host": beat.host, "job": job, "step": step, "id": task}
        for beat in heartbeats.live(connection)
        for task in beat.tasks
        for job, step in [queues.step_of(task)]
    ]
    waiting = queues.waiting(connection, given.known_queues)
    try:
        later = queues.held_back(connection)
    except exceptions.ResponseError:  # a user who may not look there
        later = []
    return {
        "active": active,
        "reserved": [_row(message) for message in waiting if message.eta is None],
        "scheduled": [_row(message) for message in (*waiting, *later) if message.eta is not None],
    }


def _row(message: Message) -> Row:
    age_s = _age_s(message)
    return {
        "queue": message.queue,
        "job": message.job,
        "step": message.step,
        "age_s": None if age_s is None else round(age_s, 1),
        "eta": message.eta,
        "id": message.id,
    }


def _age_s(message: Message) -> float | None:
    """Since it was sent, which its job's directory knows; None where that is not to be read here."""
    if message.folder is None or message.folder.name != message.job or not is_id(message.job):
        return None  # not as we send it, and a place that anybody may have named
    from orchestrator.job.atomic_json import read_json

    try:
        sent = read_json(message.folder / "tasks" / f"{PurePath(message.step).name}.sent.json")
        return views.age_s(sent["at"]) if sent else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _refused(connection: Any) -> list[Row]:
    try:
        found = refusals.recent(connection)
    except exceptions.ResponseError:  # this user may not ask
        return []
    return [{"what": refusal.what, "why": refusal.why, "age_s": round(refusal.age_s)} for refusal in found]


def recent_jobs(given: Settings) -> list[Row]:
    """Return the rows of the jobs that were begun last, the newest first."""
    found = []
    for job in known_jobs(given):
        shot = Reader(job, given.lease_s).read()
        age_s = views.age_s(shot.created_at)
        found.append({**views.as_json(shot), "age_s": None if age_s is None else round(age_s)})
        if len(found) == _RECENT:
            break
    return found


def show(console: Console, title: str, rows: list[Row], columns: tuple[str, ...]) -> None:
    """Print a table of these columns under a title, or that there is nothing."""
    if not rows:
        console.print(Text.assemble((title, "bold"), "  none"))
        return
    console.print(Text(title, style="bold"))
    table = views.table_of(*columns)
    for row in rows[:_MAX_LISTED]:
        table.add_row(*(cell(row, column, console.width) for column in columns))
    console.print(table)
    if len(rows) > _MAX_LISTED:
        console.print(f"and {len(rows) - _MAX_LISTED} more: --json lists them all")


def cell(row: Row, column: str, width: int = views.WIDE) -> Text:
    """Return the text of one column of a row, fitted to a console this wide."""
    if column == "age":
        return Text(views.ago(row["age_s"]))
    if column == "videos":
        counts = row["counts"]
        return Text("" if counts["videos"] is None else f"{counts['done']}/{counts['videos']}")
    if column == "state":
        return views.state_text(row["state"])
    text = views.short_ids(printable(str(row[column] or "")), width)
    if column == "video_folder":
        return Text(views.end_of(text, max(20, width // 3)), no_wrap=True)
    return Text(text)


# -- --purge ----------------------------------------------------------------------------------------------------------


@dataclass
class _Purged:
    """What became of the jobs whose messages were removed."""

    messages: list[Message]
    cancelled: list[str] = field(default_factory=list)
    at_work: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


def purge(yes: bool, as_json: bool) -> int:
    """Remove what waits. Raises BrokerUnreachable; UsageError where nobody can be asked."""
    given = resolved_settings()
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(
            "--purge asks first, and there is no terminal to ask on. Add --yes to purge without asking."
        )
    submission.preflight_both(given)
    there = _ask(given, lambda connection: queues.waiting(connection, given.known_queues))
    if there and not yes:
        many = views.listed(sorted({message.job for message in there}))
        say(f"Messages that wait: {len(there)}, of {many}. Jobs that nobody works on are cancelled.", err=True)
        if not click.confirm("Remove them?", err=True):
            raise click.Abort
    purged = _Purged(_ask(given, lambda connection: queues.take_away(connection, given.known_queues)))
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
        ("being worked on, they go on", purged.at_work),
        ("not known on this machine, end them where they are: yolo-submit --cancel ID", purged.elsewhere),
    ):
        if ids:
            say(f"Jobs {name}: {', '.join(ids)}")
    return 0


def _end_job(job_id: str, folder: Path | None, purged: _Purged, given: Settings) -> None:
    from orchestrator.broker.publish import withdraw
    from orchestrator.worker import steps as jobs

    try:
        job: Job = jobs.open_job(str(folder), given) if folder else find_job(job_id, given)
    except JobError:
        purged.elsewhere.append(job_id)
        return
    if job.ended:
        return
    if job.live(given.lease_s):
        purged.at_work.append(job_id)
        return
    if submission.cancel(job, f"{submission.who()}, by --purge", given) in ENDED_STATES:
        purged.cancelled.append(job_id)
        submission.tell_result(job, given)
        _ask(given, lambda connection: withdraw(connection, job_id))


# -- --health-check ---------------------------------------------------------------------------------------------------


def health_check(options: dict[str, Any], output: Path | None, as_json: bool) -> int:
    """Check and return the exit status: 1 when something failed. Raises ConfigError for the file."""
    from orchestrator.broker import health
    from orchestrator.client.commands_submit import configuration
    from orchestrator.job.job_config import JobConfig

    given, queue = resolved_settings(), options["queue"]
    config = configuration(options)
    checked = JobConfig.parse(config).engine
    began = time.monotonic()
    checks = health.check_health(
        given.broker_url,
        given.results_url,
        queues=tuple(dict.fromkeys((submission.queue_for("complete_pipeline", queue, config), LOG_QUEUE))),
        model=None if checked.backend == "fake" else checked.model,
        output=output or checked.output_folder,
    )
    status = health.exit_status(checks)
    if as_json:
        took = {"elapsed_s": round(time.monotonic() - began, 2)}
        click.echo(json.dumps({"success": status == 0, **health.as_json(checks), **took}))
        return status
    table = views.table_of("check", "state", "finding")
    for check in checks:
        finding = Text(printable(check.detail))
        if check.remedy and check.state != "ok":
            finding.append(f"\n{printable(check.remedy)}", style="dim")
        table.add_row(Text(check.name), views.state_text(check.state), finding)
    views.screen().print(table)
    return status


def _ask(given: Settings, question: Callable[[Any], T]) -> T:
    def ask() -> T:
        with client(given.broker_url, 2.0) as connection:
            return question(connection)

    return within(_ASK_S + extra_s(given.broker_url, _ASK_TRIPS), ask)
