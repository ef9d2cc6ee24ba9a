"""What `yolo-server` runs: a worker, which may bring a broker, the scheduler (Beat), or the web view (Flower)."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from engine.errors import ConfigError
from engine.install import extra
from engine.text.say import say
from models.file_lock import sole
from orchestrator.broker import exec_with_parent
from orchestrator.broker.local_server import EmbeddedBroker
from orchestrator.broker.preflight import preflight
from orchestrator.broker.resolve import resolved_settings
from orchestrator.errors import (
    FAILED,
    USAGE,
    BrokerUnreachable,
    EmbeddedBrokerError,
    RequestError,
    SettingsError,
    reason_of,
)
from orchestrator.job import shared_folder
from orchestrator.settings import Settings, settings
from orchestrator.worker import ways

if TYPE_CHECKING:
    from celery import Celery

__all__ = ["beat", "chosen_queues", "drain", "embedded", "flower", "resolved_settings", "the_only", "worker"]

_RESTART_PAUSE_S = 2.0


def _app() -> Celery:
    """Return the application. It is made when it is imported, with the broker that is in use by then."""
    from orchestrator.application import app

    return app


def worker(
    given: Settings,
    concurrency: int,
    loglevel: str,
    pool: str,
    queues: str | None,
    name: str,
    include: str | None,
    metrics: str | None = None,
) -> int:
    """Work on jobs until stopped, and return the exit status. Raises SettingsError."""
    from orchestrator.worker.keeper import told_to_stop  # Celery's side of a worker: Beat and Flower have none

    chosen = chosen_queues(given, queues)
    modules = _modules(include)
    with _serving(metrics):
        _warn_about_the_broker(given)
        warn_about_the_folders(given)
        _app().worker_main(
            [
                "worker",
                f"--concurrency={concurrency}",
                f"--loglevel={loglevel}",
                f"--pool={pool}",
                f"--hostname={name}@%h",
                "--without-mingle",
                "--without-gossip",
                *([f"--queues={','.join(chosen)}"] if chosen else []),
                *([f"--include={','.join(modules)}"] if modules else []),
            ]
        )
    return 0 if told_to_stop() else FAILED


@contextlib.contextmanager
def _serving(metrics: str | None) -> Iterator[None]:
    """Serve the metrics of this worker for a block, where that is asked for. Raises SettingsError."""
    if metrics is None:
        yield
        return
    try:
        from orchestrator.worker.metrics import serving  # needs the extra `metrics`

        with serving(metrics):
            yield
    except ConfigError as error:
        raise SettingsError(str(error)) from error


def chosen_queues(given: Settings, asked: str | None) -> list[str]:
    """Return the queues asked for; none: those that the worker serves by itself. Raises SettingsError."""
    chosen = [queue.strip() for queue in (asked or "").split(",") if queue.strip()]
    unknown = [queue for queue in chosen if queue not in given.known_queues]
    if unknown or (asked is not None and not chosen):
        raise SettingsError(
            f"--queues must be of {', '.join(given.known_queues)}. Got {', '.join(unknown) or 'none'}. "
            'Name your own queues in the settings file (YOLO_SETTINGS): queues = ["mine"].'
        )
    return chosen


def _modules(asked: str | None) -> list[str]:
    """Return the modules with tasks of the user's own, each imported once, so that a broken one is refused at the
    start. Raises SettingsError."""
    modules = [module.strip() for module in (asked or "").split(",") if module.strip()]
    if asked is not None and not modules:
        raise SettingsError("--include must name at least one Python module, such as mytasks. Got none.")
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever the module raises
            raise SettingsError(
                f"--include {module} can't be imported: {type(error).__name__}: {error}. Install it in this "
                "environment, or name its folder in PYTHONPATH; the current folder is not searched."
            ) from error
    return modules


def _warn_about_the_broker(given: Settings) -> None:
    """Tell the user of a worker that it waits for a broker that is away, and why."""
    for url in dict.fromkeys((given.broker_url, given.results_url)):
        try:
            preflight(url)
        except BrokerUnreachable as error:
            say(f"Warning: {error}", err=True)
            say("The worker tries again until it answers.", err=True)


def warn_about_the_folders(given: Settings) -> None:
    """Tell the user of a worker which output root is on a file system that can't hold jobs."""
    for root in given.output_roots:
        try:
            found = shared_folder.tried(root)
        except OSError as error:
            say(f"Warning: the output root {root} can't be written: {reason_of(error)}.", err=True)
            continue
        if found.lacks:
            say(f"Warning: the output root {shared_folder.told(root, found)}", err=True)


def embedded(arguments: list[str]) -> int:
    """Run a broker, and a worker beside it that is started again when it dies. The first signal ends both."""
    ending = False

    def end(number: int, _: object) -> None:
        nonlocal ending
        ending = True
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)

    with EmbeddedBroker(state=settings().broker_state) as broker:
        environment = {**os.environ, "CELERY_BROKER_URL": broker.url, "CELERY_RESULT_BACKEND": broker.url}
        say(f"Broker {broker.url}: `yolo-submit` on this machine finds it by itself.", err=True)
        while not ending:
            process = _start_worker(arguments, environment)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, end)
            while process.poll() is None:
                try:
                    broker.watch()
                except EmbeddedBrokerError as error:  # it is tried again; the worker waits for it
                    say(f"Warning: {error}", err=True)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.5)
            if process.returncode == USAGE and not ending:  # it would say the same again
                return USAGE
            if not ending:
                say(f"The worker ended with status {process.returncode} and is restarted.", err=True)
                time.sleep(_RESTART_PAUSE_S)
        return 0 if process.returncode == 0 else FAILED


def _start_worker(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a worker in a session of its own: Ctrl-C reaches it once, through us."""
    program = [sys.executable, "-P", "-m", "orchestrator.worker.server_cli", *arguments]
    command = [sys.executable, exec_with_parent.__file__, str(os.getpid()), *program]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def drain(name: str | None) -> int:
    """Have the workers of this machine, or the one of this name, finish the videos that they have in hand, take no
    others and end; return when they have. Raises RequestError if there is none."""
    workers = [each for each in ways.local_workers() if name is None or each.node.partition("@")[0] == name]
    if not workers:
        which = f" of the name {name}" if name is not None else ""
        raise RequestError(f"No worker{which} of this user is running on this machine.")
    for each in workers:
        each.drain()
        say(f"{each.node}: takes no new work, and stops when its current work is done.", err=True)
    for each in workers:
        each.wait()
        say(f"{each.node}: ended.", err=True)
    return 0


def beat(given: Settings, loglevel: str) -> int:
    """Sweep the watched folders until stopped, and return the exit status. Raises SettingsError."""
    if not given.watch:
        raise SettingsError(
            "No folder is watched. Name some in the file of YOLO_SETTINGS, e.g. "
            'watch = [{folder = "/videos/incoming", output = "/videos/results", every_minutes = 5}]'
        )
    for watch in given.watch:
        if not watch.folder.is_dir():
            say(f"Warning: the watched folder {watch.folder} does not exist. It will be swept once it does.", err=True)
    try:
        given.state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"YOLO_STATE_DIR: {given.state_dir} can't be made: {reason_of(error)}.") from error
    with the_only(given.state_dir / "beat.lock", "Beat"):
        _app().start(["beat", f"--loglevel={loglevel}", "--pidfile="])
    return 0


def flower(given: Settings, port: int) -> NoReturn:
    """Become the web view. Raises SettingsError."""
    if importlib.util.find_spec("flower") is None:
        raise SettingsError(f"Flower is not installed: {extra('flower')}.")
    auth = os.environ.get("YOLO_FLOWER_AUTH")
    if not auth:
        auth = f"yolo:{secrets.token_urlsafe(12)}"
        say(f"User and password for this run (YOLO_FLOWER_AUTH sets your own): {auth}", err=True)
    elif not all(":" in one for one in auth.split(",")):  # to Flower a comma begins another user
        raise SettingsError(
            "YOLO_FLOWER_AUTH must be USER:PASSWORD, without commas; for several users, with one between them."
        )
    say(f"Flower: http://127.0.0.1:{port}", err=True)
    # The password goes by the environment: other users of the machine can read a command line.
    environment = {**os.environ, "FLOWER_BASIC_AUTH": auth, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    options = ["--address=127.0.0.1", f"--port={port}", f"--conf={os.devnull}"]  # else a flowerconfig.py here is run
    command = [sys.executable, "-P", "-m", "orchestrator.worker.web", "-A", "orchestrator", "flower", *options]
    os.execve(sys.executable, command, environment)


@contextlib.contextmanager
def the_only(path: Path, what: str) -> Iterator[None]:
    """Be the only one of its kind on this machine for a block: two schedulers would send everything twice. Raises
    SettingsError."""
    with sole(path) as first:
        if not first:
            raise SettingsError(f"{what} is already running on this machine ({path} is locked). One is enough.")
        yield
