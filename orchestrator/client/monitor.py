"""`--monitor`: a live view of one job, until it has ended.

It only reads the job's directory, so restarts of workers, Redis or the monitor itself make no difference. A separate
thread (Attendant) looks after the job at the broker if that is reachable.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from redis.exceptions import NoPermissionError
from rich.console import Console
from rich.live import Live

from engine.text.printable import printable
from orchestrator.broker import publish
from orchestrator.broker.heartbeats import consumers
from orchestrator.broker.opened import open_broker
from orchestrator.broker.preflight import explain
from orchestrator.client import views
from orchestrator.client.snapshot import Reader, Snapshot
from orchestrator.errors import JobError
from orchestrator.job.jobdir import Job, holds_job
from orchestrator.job.records import JobState
from orchestrator.settings import Settings, worker_command

LOOK_EVERY_S = 0.5
LINE_EVERY_S, MAX_LINE_PAUSE_S = 3.0, 300.0
NOBODY_AFTER_S = 20.0

AWAY_S = 20.0
ASK_EVERY_S = 5.0
REQUEUE_EVERY_S = 15.0
_WAITING_STATES = (JobState.QUEUED, JobState.WAITING, JobState.ENDING)


class Attendant:
    """Looks after a job at the broker: sends lost messages again, and counts the workers that could take them. Best
    effort, on a separate thread, so that a hanging broker delays nothing."""

    def __init__(self, job: Job, settings: Settings) -> None:
        self._job = job
        self._settings = settings
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="attendant", daemon=True)
        self.workers: int | None = None
        """Number of live workers that serve the job's queues; None while unknown."""
        self.trouble: str | None = None
        """Why the broker does not answer."""

    def __enter__(self) -> Attendant:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=3.0)

    def _run(self) -> None:
        # Loading Celery's application and the steps of a job takes 0.4 s, while the view is already being drawn.
        from orchestrator.application import client_app
        from orchestrator.worker.requeue import requeue_lost

        url = self._settings.broker_url
        queue = queue_for(self._job)
        requeue_at = time.monotonic() + REQUEUE_EVERY_S
        with client_app() as app, open_broker(self._settings) as broker:
            while True:
                try:
                    self.workers = len(consumers(broker.live(), queue))
                    if time.monotonic() > requeue_at:
                        requeue_at = time.monotonic() + REQUEUE_EVERY_S
                        with contextlib.suppress(NoPermissionError):  # the user may only submit
                            requeue_lost(app, broker, self._settings)
                    self.trouble = None
                except Exception as error:  # noqa: BLE001 - whatever the broker's clients raise
                    self.workers = None
                    self.trouble = explain(error, url)[0]
                if self._over.wait(ASK_EVERY_S):
                    return


class Display(Protocol):
    """Shows snapshots, and prints messages above them."""

    def show(self, shot: Snapshot) -> None: ...

    def say(self, text: str) -> None: ...


class Table:
    """A table that is redrawn each time."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, shot: Snapshot) -> None:
        rows = max(3, self._live.console.height - 6 - 2 * len(shot.warnings))
        self._live.update(views.live_view(shot, rows), refresh=True)

    def say(self, text: str) -> None:
        self._live.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


class Lines:
    """A line per change: changes of state at once, progress every few seconds at first and less often later, so that
    the log of a long job stays readable."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ("", "", 0.0)  # state, line, when
        self._every_s = LINE_EVERY_S

    def show(self, shot: Snapshot) -> None:
        text = views.line(shot)
        state, before, at = self._last
        late = time.monotonic() - at >= self._every_s
        if shot.state == state and (text == before or not late):
            return
        grown = min(MAX_LINE_PAUSE_S, 1.5 * self._every_s)
        self._every_s = grown if shot.state == state else LINE_EVERY_S
        self._last = (shot.state, text, time.monotonic())
        self.say(f"{time.strftime('%H:%M:%S')} {text}")

    def say(self, text: str) -> None:
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def follow(
    job: Job,
    settings: Settings,
    console: Console,
    *,
    tick: Callable[[Callable[[str], None]], None] = lambda say: None,
    until: float | None = None,
) -> Snapshot:
    """Show the job on `console` until it has ended; returns the last snapshot.

    `until`, on the monotonic clock, ends it earlier. `tick` is called each time with a function that prints a message.
    Raises JobError if the job's directory is gone, and the errors of `tick`.
    """
    reader = Reader(job, settings.lease_s)
    nobody = _Nobody(job)
    with Attendant(job, settings) as attendant:
        if not console.is_terminal:
            return _watch(reader, Lines(console), nobody, attendant, tick, until)
        with Live(console=console, transient=True, auto_refresh=False) as live:
            return _watch(reader, Table(live), nobody, attendant, tick, until)


def _watch(
    reader: Reader,
    display: Display,
    nobody: _Nobody,
    attendant: Attendant,
    tick: Callable[[Callable[[str], None]], None],
    until: float | None,
) -> Snapshot:
    seen_at = time.monotonic()
    while True:
        began = time.monotonic()
        tick(display.say)
        if holds_job(reader.job.folder):
            seen_at = began
        elif began - seen_at < AWAY_S:  # a disk that is briefly unavailable
            time.sleep(LOOK_EVERY_S)
            continue
        else:
            raise JobError(
                f"The directory of job {reader.job.id} is gone: {reader.job.folder}. Nothing is left to show."
            )
        shot = reader.read()
        display.show(shot)
        if shot.ended or (until is not None and began > until):
            return shot
        nobody.look(shot, attendant, display.say)
        # Polling thousands of videos must not keep a slow file system busy.
        time.sleep(max(LOOK_EVERY_S, 2 * (time.monotonic() - began)))


class _Nobody:
    """Reports, once, that a job waits and no worker can take it, or that the broker does not answer."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._since: float | None = None
        self._said: str | None = None

    def look(self, shot: Snapshot, attendant: Attendant, say: Callable[[str], None]) -> None:
        if attendant.trouble is not None:
            self._since = None
            self._say_once(
                "trouble",
                f"The broker does not answer ({attendant.trouble}). Running work continues, and so does the job "
                "once the broker is back.",
                say,
            )
        elif attendant.workers:
            self._since = self._said = None
        elif attendant.workers == 0 and shot.state in _WAITING_STATES:
            self._since = self._since or time.monotonic()
            if time.monotonic() - self._since >= NOBODY_AFTER_S:
                self._say_once("nobody", f"The job waits. {no_worker(queue_for(self._job))}.", say)
        else:
            self._since = None

    def _say_once(self, what: str, text: str, say: Callable[[str], None]) -> None:
        if self._said != what:
            self._said = what
            say(text)


def queue_for(job: Job) -> str:
    """Return the queue on which a job depends most."""
    return publish.queue_for(job.spec.task, job.spec.queue, job.spec.config)


def no_worker(queue: str) -> str:
    """Say that nobody serves a queue, and the command that repairs it; without a full stop."""
    return f"No worker is alive for queue {queue}. Start one: `{worker_command(queue)}`"
