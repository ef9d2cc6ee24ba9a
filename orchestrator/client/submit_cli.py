"""The command line `yolo-submit`: submit jobs, follow, list and cancel them.

Exit status: 0 done or under way; 1 failed, partial or cancelled; 2 wrong usage or unknown job; 3 the broker can't be
reached; 130 interrupted. With `--json`, standard output is one line with a JSON object.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from engine.cli import leaving
from engine.errors import EngineError
from engine.text.say import say, show_usage
from orchestrator.client import engine_options
from orchestrator.errors import (
    FAILED,
    INTERRUPTED,
    UNREACHABLE,
    USAGE,
    BrokerUnreachable,
    JobError,
    RequestError,
    SettingsError,
    reason_of,
)

if TYPE_CHECKING:
    from orchestrator.client.options import SubmitOptions

# Import nothing heavy up here, so that --help answers at once.

TASKS = ("complete_pipeline", "log_start", "process_videos", "log_end")

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}

_SUBMIT = engine_options.NAMES | set(
    "video_folder task config_file output jobs_dir workers queue priority resume monitor embedded".split()
)
# Simpler tasks accept fewer options.
_OF_TASKS = {
    "log_start": _SUBMIT - {"workers"},
    "log_end": frozenset({"video_folder", "task", "config_file", "output", "jobs_dir", "queue"}),
}
# The options that each command accepts, besides --json.
_COMMANDS = {
    "status": frozenset({"output", "jobs_dir", "monitor"}),
    "list_tasks": frozenset[str](),
    "cancel": frozenset({"output", "jobs_dir"}),
    "follow": frozenset({"output", "jobs_dir", "after"}),
    "purge": frozenset({"yes"}),
    "prune": frozenset({"output", "jobs_dir", "older_than", "keep", "results", "dry_run", "yes"}),
    "health_check": engine_options.NAMES | {"config_file", "output", "jobs_dir", "queue"},
}

# Where each command is, imported when it is called: they load Redis, rich and the engine's configuration, which takes
# half a second.
_ACTIONS = {
    "submit": "commands_submit:run",
    "status": "commands_jobs:status",
    "cancel": "commands_jobs:cancel",
    "list_tasks": "commands_list:list_tasks",
    "follow": "commands_follow:follow",
    "prune": "commands_prune:prune",
    "purge": "commands_purge:purge",
    "health_check": "commands_health:health_check",
}


def main() -> None:
    """Run the console script and exit with its status."""
    for stream in (sys.stdout, sys.stderr):  # a file name may contain text that they can't encode
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    status, problem = 0, None
    try:
        status = submit.main(prog_name="yolo-submit", standalone_mode=False) or 0
    except (click.exceptions.Abort, KeyboardInterrupt):
        status, problem = INTERRUPTED, "interrupted"
    except click.ClickException as error:
        show_usage(error)
        status, problem = USAGE, error.format_message()
    except (JobError, EngineError) as error:
        say(f"Error: {error}", err=True)
        usage = isinstance(error, RequestError | SettingsError | EngineError)
        status = UNREACHABLE if isinstance(error, BrokerUnreachable) else USAGE if usage else FAILED
        problem = str(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = FAILED
    except OSError as error:
        problem = f"{f'{error.filename}: ' if error.filename else ''}{reason_of(error)}."
        say(f"Error: {problem}", err=True)
        status = FAILED
    if problem is not None and "--json" in sys.argv[1:]:
        click.echo(json.dumps({"success": False, "error": problem}))
    leaving.leave(status)


def _workers(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """Parse a number of workers; None for `all`."""
    if value == "all":
        return None
    if value.isdecimal() and 1 <= int(value) <= 1000:
        return int(value)
    raise click.BadParameter(f"it must be a whole number in [1, 1000], or all. Got {value!r}.")


def _span(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Parse a duration to seconds; None if it is not given."""
    if value is None:
        return None
    if (found := re.fullmatch(r"([0-9]{1,9})([smhdw])", value)) is None:
        raise click.BadParameter(f"it must be a duration such as 12h, 30d or 8w. Got {value!r}.")
    return int(found[1]) * _SECONDS[found[2]]


@click.command(
    cls=engine_options.Command,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="yolo-engine")
@click.option("--video-folder", metavar="DIR", help="Submit the videos of this folder.")
@click.option("--task", type=click.Choice(TASKS), default=TASKS[0], help="Task to run.  [complete_pipeline]")
@click.option("--config", "config_file", metavar="FILE", help="JSON or TOML file of settings.")
@click.option("-o", "--output", metavar="DIR", help="Output folder.  [output_videos]")
@click.option(
    "--jobs-dir", metavar="URL", help="Where jobs into object storage keep their directories.  [a shared folder]"
)
@click.option("--workers", callback=_workers, default="1", metavar="N|all", help="Workers that share the job.  [1]")
@click.option("--queue", metavar="NAME", help="Queue of the job.  [yolo, or yolo-gpu for device cuda]")
@click.option(
    "--priority",
    type=click.Choice(["high", "normal", "low"]),
    default="normal",
    help="Priority over other jobs of the queue.  [normal]",
)
@click.option("--resume/--no-resume", default=None, help="Resume unfinished work of earlier runs.  [resume]")
@click.option("--monitor", is_flag=True, help="Follow the job until it ends; with --status, an existing one.")
@click.option("--embedded", is_flag=True, help="Start a broker and a worker just for this job, and follow it.")
@click.option(
    "--status", metavar="ID", help="Show the progress of a job and its videos; the beginning of an ID is enough."
)
@click.option("--list-tasks", is_flag=True, help="Show running and waiting steps, and the jobs known on this machine.")
@click.option("--cancel", metavar="ID", help="Cancel a job; finished work is kept.")
@click.option(
    "--follow", metavar="ID", help="Print a job's events as they happen, one line of JSON each, until it ends."
)
@click.option(
    "--after", type=click.IntRange(min=0), default=0, metavar="N", help="With --follow: start after event N.  [0]"
)
@click.option("--purge", is_flag=True, help="Remove all waiting messages, and end the jobs that nobody is working on.")
@click.option("--prune", is_flag=True, help="Remove the directories of jobs that ended long ago.")
@click.option(
    "--older-than", callback=_span, metavar="30d", help="Prune only jobs that ended longer ago than this.  [any]"
)
@click.option(
    "--keep", type=click.IntRange(min=0), metavar="N", help="Prune all but the N jobs that ended last.  [none]"
)
@click.option("--results", is_flag=True, help="Also prune their results, unless another job shares them.")
@click.option("--dry-run", is_flag=True, help="Show what would be pruned.")
@click.option("--yes", is_flag=True, help="Purge or prune without asking.")
@click.option(
    "--health-check",
    is_flag=True,
    help="Check whether a job can run now: broker, workers, queues, disk, model.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line of standard output.")
@click.pass_context
def submit(context: click.Context, /, **given: Any) -> int:
    """Submit a folder of videos, or manage jobs: --status, --follow, --list-tasks, --cancel, --purge, --prune,
    --health-check.

    CELERY_BROKER_URL names the broker (by default redis://localhost:6379/0). A job's output folder contains its results
    and all its records.
    """
    command = _command(context)
    if (jobs_dir := given["jobs_dir"]) is not None:  # a setting, also for the worker of --embedded
        os.environ["YOLO_JOBS_DIR"] = jobs_dir
    from engine.logs import set_up_logging
    from orchestrator.client.options import SubmitOptions

    set_up_logging("warning", "text")
    options = SubmitOptions.of(given, engine_options.chosen(given))
    module, _, name = _ACTIONS[command].partition(":")
    action: Callable[[SubmitOptions], int] = getattr(import_module(f"orchestrator.client.{module}"), name)
    return action(options)


def _command(context: click.Context) -> str:
    """Return the requested command, `submit` by default. Raises UsageError if options don't go together."""
    default = (click.core.ParameterSource.DEFAULT, None)
    if empty := [name for name in ("output", "config_file") if context.params[name] == ""]:  # as of an unset variable
        raise click.UsageError(f"{'--config' if empty[0] == 'config_file' else '--output'} is empty.")
    given = {name for name in context.params if context.get_parameter_source(name) not in default} - {"as_json"}
    named = [name for name in _COMMANDS if name in given]
    if len(named) > 1:
        raise click.UsageError(f"{_option(named[0])} and {_option(named[1])} are two commands. Give one at a time.")
    command = named[0] if named else "submit"
    task = context.params["task"]
    allowed = _COMMANDS[command] | {command} if named else _OF_TASKS.get(task, _SUBMIT)
    if strange := sorted(given - allowed):
        other = _option(command) if named else f"--task {task}" if task in _OF_TASKS else "a submit"
        words = {param.name: "/".join([*param.opts[-1:], *param.secondary_opts[-1:]]) for param in submit.params}
        raise click.UsageError(f"{words[strange[0]]} does not go with {other}.")
    if not named and context.params["video_folder"] is None:
        raise click.UsageError(
            "Missing option '--video-folder', the folder to submit. For submitted jobs: --status ID, --follow ID, "
            "--list-tasks, --cancel ID, --purge, --prune, --health-check."
        )
    return command


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


if __name__ == "__main__":
    main()
