"""`yolo-submit --list-tasks`, `--purge` and `--health-check`: what the broker holds, and whether it is well."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import Protocol, TypeVar

import click
import redis
from redis import exceptions
from rich.console import Console
from rich.text import Text

from engine.text.printable import printable
from engine.text.say import say
from orchestrator.broker import health, heartbeats, queues, refusals
from orchestrator.broker.connection import client
from orchestrator.broker.preflight import explain, extra_s, within
from orchestrator.broker.publish import withdraw
from orchestrator.broker.queues import Message
from orchestrator.broker.resolve import resolved_settings
from orchestrator.client import submission, views
from orchestrator.client.commands_jobs import broker_note
from orchestrator.client.commands_submit import configuration
from orchestrator.client.options import SubmitOptions
from orchestrator.client.snapshot import Reader, Snapshot
from orchestrator.errors import JobError
from orchestrator.job.atomic_json import object_in
from orchestrator.job.job_config import JobConfig
from orchestrator.job.jobdir import Job, is_id
from orchestrator.job.records import EntryStatus, Sent
from orchestrator.job.registry import find_job, known_jobs
from orchestrator.settings import LOG_QUEUE, Settings
from orchestrator.worker import steps as jobs

_RECENT = 20
_MAX_LISTED = 30
_ASK_S, _ASK_TRIPS = 4.0, 20

T = TypeVar("T")


class Row(Protocol):
    """A line of a table."""

    def to_json(self) -> dict[str, object]: ...

    def cell(self, column: str, width: int) -> Text:
        """Draw one column of it for a console of this width."""


@dataclass(frozen=True)
class ActiveRow:
    """A step that a worker holds."""

    worker: str
    host: str
    job: str
    step: str
    id: str

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    def cell(self, column: str, width: int) -> Text:
        return _text({"worker": self.worker, "job": self.job, "step": self.step}[column], width)


@dataclass(frozen=True)
class MessageRow:
    """A step that waits; `eta` is when it may begin, where it asks for that."""

    queue: str
    job: str
    step: str
    age_s: float | None
    eta: str | None
    id: str

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    def cell(self, column: str, width: int) -> Text:
        if column == "age":
            return Text(views.ago(self.age_s))
        return _text({"queue": self.queue, "job": self.job, "step": self.step, "eta": self.eta or ""}[column], width)


@dataclass(frozen=True)
class RefusedRow:
    """A task or a sweep that was refused."""

    what: str
    why: str
    age_s: int

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    def cell(self, column: str, width: int) -> Text:
        return (
            Text(views.ago(self.age_s))
            if column == "age"
            else _text({"what": self.what, "why": self.why}[column], width)
        )


@dataclass(frozen=True)
class JobRow:
    """A job that this machine knows."""

    shot: Snapshot
    age_s: int | None

    def to_json(self) -> dict[str, object]:
        return {**views.as_json(self.shot), "age_s": self.age_s}

    def cell(self, column: str, width: int) -> Text:
        if column == "age":
            return Text(views.ago(self.age_s))
        if column == "videos":
            done = self.shot.counts[EntryStatus.OK]
            return Text("" if self.shot.videos is None else f"{done}/{self.shot.videos}")
        if column == "state":
            return views.state_text(self.shot.state)
        if column == "id":
            return _text(self.shot.id, width)
        folder = views.short_ids(printable(self.shot.video_folder), width)
        return Text(views.end_of(folder, max(20, width // 3)), no_wrap=True)


def _text(value: str, width: int) -> Text:
    return Text(views.short_ids(printable(value), width))


@dataclass(frozen=True)
class Held:
    """What the broker holds: steps at work, steps that wait, and steps that wait for their time."""

    active: list[ActiveRow] = field(default_factory=list)
    reserved: list[MessageRow] = field(default_factory=list)
    scheduled: list[MessageRow] = field(default_factory=list)


# -- --list-tasks -----------------------------------------------------------------------------------------------------


def list_tasks(options: SubmitOptions) -> int:
    """Show the jobs and return 0: without the broker, those that this machine knows, and why the rest is not there."""
    given = resolved_settings()
    note = broker_note(given)
    recent = _recent(given)
    trouble = note()
    held = Held()
    refused: list[RefusedRow] = []
    if trouble is None:
        try:
            held = _ask(given, lambda connection: _held(connection, given))
            refused = _ask(given, _refused)
        except (exceptions.RedisError, OSError) as error:
            trouble = explain(error, given.broker_url)[0]
    if options.as_json:
        rows: dict[str, Sequence[Row]] = {
            "active": held.active,
            "reserved": held.reserved,
            "scheduled": held.scheduled,
            "refused": refused,
            "recent": recent,
        }
        tables = {name: [row.to_json() for row in each] for name, each in rows.items()}
        click.echo(json.dumps({"success": True, "broker": trouble, **tables}))
        return 0
    console = views.screen()
    if trouble is None:
        _show(console, "active", held.active, ("worker", "job", "step"))
        _show(console, "reserved", held.reserved, ("queue", "job", "step", "age"))
        if held.scheduled:
            _show(console, "scheduled", held.scheduled, ("queue", "job", "step", "eta"))
        if refused:
            _show(console, "refused", refused, ("what", "why", "age"))
    else:
        say(f"The broker does not answer: {trouble}", err=True)
        say("The jobs that this machine knows of:", err=True)
    _show(console, "recent", recent, ("id", "state", "videos", "age", "video_folder"))
    return 0


def _held(connection: redis.Redis, given: Settings) -> Held:
    active = [
        ActiveRow(beat.node, beat.host, job, step, task)
        for beat in heartbeats.live(connection)
        for task in beat.tasks
        for job, step in [queues.step_of(task)]
    ]
    waiting = queues.waiting(connection, given.known_queues)
    try:
        later = queues.held_back(connection)
    except exceptions.ResponseError:  # a user who may not look there
        later = []
    reserved = [_row(message) for message in waiting if message.eta is None]
    return Held(active, reserved, [_row(message) for message in (*waiting, *later) if message.eta is not None])


def _row(message: Message) -> MessageRow:
    age_s = _age_s(message)
    age_s = None if age_s is None else round(age_s, 1)
    return MessageRow(message.queue, message.job, message.step, age_s, message.eta, message.id)


def _age_s(message: Message) -> float | None:
    """Return the seconds since it was sent, which its job's directory knows; None where that can't be read here."""
    if message.folder is None or message.folder.name != message.job or not is_id(message.job):
        return None  # not as we send it, and a place that anybody may have named
    try:
        sent = Sent.from_json(object_in(message.folder / "tasks" / f"{PurePath(message.step).name}.sent.json"))
    except ValueError:
        return None
    return views.age_s(sent.at)


def _refused(connection: redis.Redis) -> list[RefusedRow]:
    try:
        found = refusals.recent(connection)
    except exceptions.ResponseError:  # this user may not ask
        return []
    return [RefusedRow(refusal.what, refusal.why, round(refusal.age_s)) for refusal in found]


def _recent(given: Settings) -> list[JobRow]:
    found = []
    for job in known_jobs(given):
        shot = Reader(job, given.lease_s).read()
        age_s = views.age_s(shot.created_at)
        found.append(JobRow(shot, None if age_s is None else round(age_s)))
        if len(found) == _RECENT:
            break
    return found


def _show(console: Console, title: str, rows: Sequence[Row], columns: tuple[str, ...]) -> None:
    if not rows:
        console.print(Text.assemble((title, "bold"), "  none"))
        return
    console.print(Text(title, style="bold"))
    table = views.table_of(*columns)
    for row in rows[:_MAX_LISTED]:
        table.add_row(*(row.cell(column, console.width) for column in columns))
    console.print(table)
    if len(rows) > _MAX_LISTED:
        console.print(f"and {len(rows) - _MAX_LISTED} more: --json lists them all")


# -- --purge ----------------------------------------------------------------------------------------------------------


@dataclass
class _Purged:
    """What became of the jobs whose messages were removed."""

    messages: list[Message]
    cancelled: list[str] = field(default_factory=list)
    at_work: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)


def purge(options: SubmitOptions) -> int:
    """Remove what waits. Raises BrokerUnreachable; UsageError where nobody can be asked."""
    given, yes, as_json = resolved_settings(), options.yes, options.as_json
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
    if submission.cancel(job, f"{submission.who()}, by --purge", given).ended:
        purged.cancelled.append(job_id)
        submission.tell_result(job, given)
        _ask(given, lambda connection: withdraw(connection, job_id))


# -- --health-check ---------------------------------------------------------------------------------------------------


def health_check(options: SubmitOptions) -> int:
    """Check and return the exit status: 1 when something failed. Raises ConfigError for the file."""
    given = resolved_settings()
    config = configuration(options)
    checked = JobConfig.parse(config).engine
    began = time.monotonic()
    checks = health.check_health(
        given.broker_url,
        given.results_url,
        queues=tuple(dict.fromkeys((submission.queue_for("complete_pipeline", options.queue, config), LOG_QUEUE))),
        model=None if checked.backend == "fake" else checked.model,
        output=Path(options.output) if options.output else checked.output_folder,
    )
    status = health.exit_status(checks)
    if options.as_json:
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


def _ask(given: Settings, question: Callable[[redis.Redis], T]) -> T:
    def ask() -> T:
        with client(given.broker_url, 2.0) as connection:
            return question(connection)

    return within(_ASK_S + extra_s(given.broker_url, _ASK_TRIPS), ask)
