"""`yolo-submit --list-tasks`: running and waiting steps, refusals, and the jobs known on this machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Protocol

import click
from redis import exceptions
from rich.text import Text

from engine.text.printable import printable
from engine.text.say import say
from orchestrator.broker.messages import Message, step_of
from orchestrator.broker.preflight import explain
from orchestrator.broker.resolve import resolved_settings
from orchestrator.broker.view import Broker
from orchestrator.client import views
from orchestrator.client.asking import ask, broker_note
from orchestrator.client.options import SubmitOptions
from orchestrator.client.snapshot import Reader, Snapshot
from orchestrator.job.atomic_json import object_in
from orchestrator.job.jobdir import is_id
from orchestrator.job.records import EntryStatus, Sent
from orchestrator.job.registry import known_jobs
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from engine.cli.console import Screen

_RECENT = 20
_MAX_LISTED = 30


class Row(Protocol):
    """A line of a table."""

    def to_json(self) -> dict[str, object]: ...

    def cell(self, column: str, width: int) -> Text:
        """Render one column for a console of this width."""


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
    """A waiting step; `eta` is its earliest start, if it has one."""

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
    """A refused task or sweep."""

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
    """A job known on this machine."""

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
    """The steps at the broker: running, waiting, and delayed."""

    active: list[ActiveRow] = field(default_factory=list)
    reserved: list[MessageRow] = field(default_factory=list)
    scheduled: list[MessageRow] = field(default_factory=list)


def list_tasks(options: SubmitOptions) -> int:
    """Show the jobs and return 0; without the broker, only those known on this machine, and the reason."""
    given = resolved_settings()
    note = broker_note(given)
    recent = recent_jobs(given)
    trouble = note()
    held = Held()
    refused: list[RefusedRow] = []
    if trouble is None:
        try:
            held = ask(given, lambda broker: _held(broker, given))
            refused = ask(given, _refused)
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
        show(console, "active", held.active, ("worker", "job", "step"))
        show(console, "reserved", held.reserved, ("queue", "job", "step", "age"))
        if held.scheduled:
            show(console, "scheduled", held.scheduled, ("queue", "job", "step", "eta"))
        if refused:
            show(console, "refused", refused, ("what", "why", "age"))
    else:
        say(f"The broker does not answer: {trouble}", err=True)
        say("Jobs known on this machine:", err=True)
    show(console, "recent", recent, ("id", "state", "videos", "age", "video_folder"))
    return 0


def _held(broker: Broker, given: Settings) -> Held:
    active = [
        ActiveRow(beat.node, beat.host, job, step, task)
        for beat in broker.live()
        for task in beat.tasks
        for job, step in [step_of(task)]
    ]
    waiting = broker.waiting(given.known_queues)
    try:
        later = broker.held_back()
    except exceptions.ResponseError:  # this user lacks the permission
        later = []
    reserved = [_row(message) for message in waiting if message.eta is None]
    return Held(active, reserved, [_row(message) for message in (*waiting, *later) if message.eta is not None])


def _row(message: Message) -> MessageRow:
    age_s = _age_s(message)
    age_s = None if age_s is None else round(age_s, 1)
    return MessageRow(message.queue, message.job, message.step, age_s, message.eta, message.id)


def _age_s(message: Message) -> float | None:
    """Return the seconds since a message was sent, from its job's directory; None if that can't be read here."""
    if message.folder is None or message.folder.name != message.job or not is_id(message.job):
        return None  # not one of ours: the path is untrusted
    try:
        sent = Sent.from_json(object_in(message.folder / "tasks" / f"{PurePath(message.step).name}.sent.json"))
    except ValueError:
        return None
    return views.age_s(sent.at)


def _refused(broker: Broker) -> list[RefusedRow]:
    try:
        found = broker.refusals()
    except exceptions.ResponseError:  # this user may not ask
        return []
    return [RefusedRow(refusal.what, refusal.why, round(refusal.age_s)) for refusal in found]


def recent_jobs(given: Settings) -> list[JobRow]:
    found = []
    for job in known_jobs(given):
        shot = Reader(job, given.lease_s).read()
        age_s = views.age_s(shot.created_at)
        found.append(JobRow(shot, None if age_s is None else round(age_s)))
        if len(found) == _RECENT:
            break
    return found


def show(console: Screen, title: str, rows: Sequence[Row], columns: tuple[str, ...]) -> None:
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
