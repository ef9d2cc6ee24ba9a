"""The command line `yolo-server`: a worker, the scheduler (Beat) or the web view (Flower), all with one configuration.

Exit status: 0 stopped, 1 failed, 2 wrong usage or settings.
"""

from __future__ import annotations

import os
import sys

import click

from engine.cli.idle import Rule, refuse_idle
from engine.text.say import say, show_usage
from orchestrator.errors import FAILED, USAGE, JobError, RequestError, SettingsError

_OF_SERVER: tuple[Rule[str], ...] = (
    Rule(
        ("concurrency", "pool", "queues", "include", "metrics", "embedded"),
        lambda part: part == "worker",
        "goes with --worker",
    ),
    Rule(("name",), lambda part: part in ("worker", "drain"), "goes with --worker and --drain"),
    Rule(("loglevel", "log_format"), lambda part: part in ("worker", "beat"), "goes with --worker and --beat"),
    Rule(("port",), lambda part: part == "flower", "goes with --flower"),
)

POOLS = ("prefork", "threads", "solo")


def main() -> None:
    """Run the console script and exit with its status."""
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
@click.option("--worker", is_flag=True, help="Process jobs until stopped.")
@click.option("--beat", is_flag=True, help="Sweep the watched folders in the settings, on schedule.")
@click.option("--flower", is_flag=True, help="Serve a web view of the queues, to this machine only.")
@click.option(
    "--drain", is_flag=True, help="Let this machine's workers finish their current videos and stop, and wait for them."
)
@click.option("--concurrency", type=click.IntRange(1, 64), default=1, help="Tasks to run in parallel.  [1]")
@click.option(
    "--loglevel",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    default="info",
    help="Minimum severity of messages on standard error.  [info]",
)
@click.option("--pool", type=click.Choice(POOLS), default="prefork", help="Celery pool for tasks.  [prefork]")
@click.option("--queues", metavar="Q,...", help="Queues to serve.  [all; yolo-gpu only with an NVIDIA driver]")
@click.option("--name", metavar="NAME", help="The worker's name; unique on this machine.  [yolo-PID]")
@click.option("--include", metavar="MODULE,...", help="Python modules with your own tasks, for --worker.")
@click.option("--metrics", metavar="[ADDRESS:]PORT", help="Serve a worker's Prometheus metrics on this port.  [none]")
@click.option("--embedded", is_flag=True, help="Also start a broker, for all terminals of this machine.")
@click.option("--port", type=click.IntRange(1, 65535), default=5555, help="Port of the web view.  [5555]")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default=None,
    help="Messages as text, or as one JSON object per line.  [text]",
)
def server(
    worker: bool,
    beat: bool,
    flower: bool,
    drain: bool,
    concurrency: int,
    loglevel: str,
    pool: str,
    queues: str | None,
    name: str | None,
    include: str | None,
    metrics: str | None,
    embedded: bool,
    port: int,
    log_format: str | None,
) -> int:
    """Run a part of the job system (--worker, --beat or --flower), or stop workers gracefully (--drain).

    CELERY_BROKER_URL names the broker (by default redis://localhost:6379/0); YOLO_VIDEO_ROOTS and YOLO_OUTPUT_ROOTS
    limit where workers may read and write. SIGTERM or Ctrl-C stops a worker: it writes a checkpoint, hands its job back
    and exits. --drain lets it finish its current videos first.
    """
    if worker + beat + flower + drain != 1:
        raise click.UsageError("Choose one of --worker, --beat, --flower and --drain.")
    refuse_idle(_OF_SERVER, "worker" if worker else "beat" if beat else "drain" if drain else "flower")
    if log_format:
        os.environ["YOLO_LOG_FORMAT"] = log_format
    from orchestrator.worker import serve  # loads Redis and the settings, 0.3 s that --help does not need

    if drain:
        return serve.drain(name)
    if embedded:
        return serve.embedded([argument for argument in sys.argv[1:] if argument != "--embedded"])
    given = serve.resolved_settings()
    if worker:
        named = name or f"yolo-{os.getpid()}"
        return serve.worker(given, concurrency, loglevel, pool, queues, named, include, metrics)
    return serve.beat(given, loglevel) if beat else serve.flower(given, port)


if __name__ == "__main__":
    main()
