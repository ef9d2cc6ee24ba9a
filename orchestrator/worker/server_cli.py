"""The command line `yolo-server`: a worker, the scheduler (Beat) or the web view (Flower), with our one configuration.

Exit status: 0 stopped, 1 failed, 2 wrong usage or settings.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.text.say import say, show_usage

if TYPE_CHECKING:
    from orchestrator.settings import Settings

# Nothing heavy is imported up here: --help answers at once.

FAILED, USAGE = 1, 2

POOLS = ("prefork", "threads", "solo")
_RESTART_PAUSE_S = 2.0


def main() -> None:
    """Run the console script and exit with its status."""
    from orchestrator.errors import JobError, RequestError, SettingsError

    try:
        status = server.main(prog_name="yolo-server", standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        status = 130
    except click.ClickException as error:
        show_usage(error)
        status = USAGE
    except JobError as error:
        say(f"Error: {error}", err=True)
        status = USAGE if isinstance(error, RequestError | SettingsError) else FAILED
    sys.exit(status or 0)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, no_args_is_help=True)
@click.version_option(package_name="yolo-engine")
@click.option("--worker", is_flag=True, help="Work on jobs until stopped.")
@click.option("--beat", is_flag=True, help="Sweep the watched folders of the settings, on schedule.")
@click.option("--flower", is_flag=True, help="Show the queue in a browser, on this machine only.")
@click.option("--concurrency", type=click.IntRange(1, 64), default=1, help="Tasks run at the same time.  [1]")
@click.option(
    "--loglevel",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    help="Messages of this severity and above, on standard error.  [info]",
)
@click.option("--pool", type=click.Choice(POOLS), default="prefork", help="How tasks are run.  [prefork]")
@click.option("--queues", metavar="Q,...", help="Queues to serve.  [all, yolo-gpu where there is an NVIDIA driver]")
@click.option("--name", metavar="NAME", help="The worker's name; unique on this machine.  [yolo-PID]")
@click.option("--include", metavar="MODULE,...", help="Python modules with tasks of your own, for --worker.")
@click.option("--embedded", is_flag=True, help="Bring a broker along, for the terminals of this machine.")
@click.option("--port", type=click.IntRange(1, 65535), default=5555, help="Port of the web view.  [5555]")
@click.option(
    "--log-format", type=click.Choice(["text", "json"]), default=None, help="Lines for people or JSON.  [text]"
)
def server(
    worker: bool,
    beat: bool,
    flower: bool,
    concurrency: int,
    loglevel: str,
    pool: str,
    queues: str | None,
    name: str | None,
    include: str | None,
    embedded: bool,
    port: int,
    log_format: str | None,
) -> int:
    """Run a part of the job system: --worker, --beat or --flower.

    The broker is named by CELERY_BROKER_URL (redis://localhost:6379/0 without it); what workers may read and write by
    YOLO_VIDEO_ROOTS and YOLO_OUTPUT_ROOTS. SIGTERM or Ctrl-C stops a worker: it makes a checkpoint, gives its job back
    and ends.
    """
    if worker + beat + flower != 1:
        raise click.UsageError("Name what to run, one in each process: --worker, --beat or --flower.")
    if include is not None and not worker:
        raise click.UsageError("--include goes with --worker.")
    if log_format:
        os.environ["YOLO_LOG_FORMAT"] = log_format
    if embedded:
        if not worker:
            raise click.UsageError("--embedded goes with --worker.")
        return _embedded([argument for argument in sys.argv[1:] if argument != "--embedded"])
    from orchestrator.broker.resolve import resolved_settings

    given = resolved_settings()
    if worker:
        return _worker(given, concurrency, loglevel, pool, queues, name or f"yolo-{os.getpid()}", include)
    if beat:
        return _beat(given, loglevel)
    return _flower(given, port)


def _worker(
    given: Settings, concurrency: int, loglevel: str, pool: str, queues: str | None, name: str, include: str | None
) -> int:
    from orchestrator.application import app
    from orchestrator.worker.keeper import told_to_stop

    chosen = chosen_queues(given, queues)
    modules = _modules(include)
    _warn_about_the_broker(given)
    app.worker_main(
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


def chosen_queues(given: Settings, asked: str | None) -> list[str]:
    """The queues asked for; none: those that the worker serves by itself."""
    from orchestrator.errors import SettingsError

    chosen = [queue.strip() for queue in (asked or "").split(",") if queue.strip()]
    unknown = [queue for queue in chosen if queue not in given.known_queues]
    if unknown or (asked is not None and not chosen):
        raise SettingsError(
            f"--queues must be of {', '.join(given.known_queues)}. Got {', '.join(unknown) or 'none'}. "
            'Queues of your own are named in the settings file (YOLO_SETTINGS): queues = ["mine"].'
        )
    return chosen


def _modules(asked: str | None) -> list[str]:
    """Return the modules with tasks of the user's own, each imported once, so that a broken one is refused at the
    start. Raises SettingsError."""
    import importlib

    from orchestrator.errors import SettingsError

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
    """A worker waits for a broker that is away; its user should know that it does, and why."""
    from orchestrator.broker.preflight import preflight
    from orchestrator.errors import BrokerUnreachable

    for url in dict.fromkeys((given.broker_url, given.results_url)):
        try:
            preflight(url)
        except BrokerUnreachable as error:
            say(f"Warning: {error}", err=True)
            say("The worker tries again until it answers.", err=True)


def _embedded(arguments: list[str]) -> int:
    """A broker, and a worker beside it that is started again when it dies. The first signal ends both."""
    from orchestrator.broker.local_server import EmbeddedBroker
    from orchestrator.errors import EmbeddedBrokerError
    from orchestrator.settings import settings

    ending = False

    def end(number: int, _: Any) -> None:
        nonlocal ending
        ending = True
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)

    with EmbeddedBroker(state=settings().broker_state) as broker:
        environment = {**os.environ, "CELERY_BROKER_URL": broker.url, "CELERY_RESULT_BACKEND": broker.url}
        say(f"Broker {broker.url}: `yolo-submit` on this machine finds it by itself.", err=True)
        while not ending:
            worker = _start_worker(arguments, environment)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, end)
            while worker.poll() is None:
                try:
                    broker.watch()
                except EmbeddedBrokerError as error:  # it is tried again; the worker waits for it
                    say(f"Warning: {error}", err=True)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(0.5)
            if worker.returncode == USAGE and not ending:  # it would say the same again
                return USAGE
            if not ending:
                say(f"The worker ended with status {worker.returncode} and is started again.", err=True)
                time.sleep(_RESTART_PAUSE_S)
        return 0 if worker.returncode == 0 else FAILED


def _start_worker(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C reaches it once, through us."""
    from orchestrator.broker import exec_with_parent

    program = [sys.executable, "-P", "-m", "orchestrator.worker.server_cli", *arguments]
    command = [sys.executable, exec_with_parent.__file__, str(os.getpid()), *program]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _beat(given: Settings, loglevel: str) -> int:
    from orchestrator.errors import SettingsError

    if not given.watch:
        raise SettingsError(
            "No folder is watched. Name some in the file of YOLO_SETTINGS, e.g. "
            'watch = [{folder = "/videos/incoming", output = "/videos/results", every_minutes = 5}]'
        )
    for watch in given.watch:
        if not watch.folder.is_dir():
            say(f"Warning: the watched folder {watch.folder} is not there. It is swept once it is.", err=True)
    from orchestrator.application import app
    from orchestrator.errors import reason_of

    try:
        given.state_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"YOLO_STATE_DIR: {given.state_dir} can't be made: {reason_of(error)}.") from error
    with the_only(given.state_dir / "beat.lock", "Beat"):
        app.start(["beat", f"--loglevel={loglevel}", "--pidfile="])
    return 0


def _flower(given: Settings, port: int) -> int:
    import importlib.util

    from orchestrator.errors import SettingsError

    if importlib.util.find_spec("flower") is None:
        from engine.install import extra

        raise SettingsError(f"Flower is not installed: {extra('flower')}.")
    auth = os.environ.get("YOLO_FLOWER_AUTH")
    if not auth:
        auth = f"yolo:{secrets.token_urlsafe(12)}"
        say(f"User and password for this run (YOLO_FLOWER_AUTH sets your own): {auth}", err=True)
    elif not all(":" in one for one in auth.split(",")):  # Flower takes a comma for the beginning of another user
        raise SettingsError(
            "YOLO_FLOWER_AUTH must be USER:PASSWORD, without commas; of several users, with one between."
        )
    say(f"Flower: http://127.0.0.1:{port}", err=True)
    # The password goes by the environment: other users of the machine can read a command line.
    environment = {**os.environ, "FLOWER_BASIC_AUTH": auth, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    options = ["--address=127.0.0.1", f"--port={port}", f"--conf={os.devnull}"]  # else a flowerconfig.py here is run
    command = [sys.executable, "-P", "-m", "orchestrator.worker.web", "-A", "orchestrator", "flower", *options]
    os.execve(sys.executable, command, environment)


@contextlib.contextmanager
def the_only(path: Path, what: str) -> Iterator[None]:
    """Two schedulers would send everything twice."""
    from orchestrator.errors import SettingsError
    from orchestrator.job.file_lock import sole

    with sole(path) as first:
        if not first:
            raise SettingsError(f"{what} runs already on this machine ({path} is locked). One is enough.")
        yield


if __name__ == "__main__":
    main()
