"""The commands of `yolo-engine`, and the exit status and message of each error that ends one."""

from __future__ import annotations

import io
import os
import sys

import click

from engine.cli.deferred import DeferredGroup
from engine.cli.statuses import FAILED, INTERRUPTED, USAGE
from engine.errors import (
    BackendMissing,
    ConfigError,
    EngineError,
    InputError,
    ModelError,
    OutputError,
    describe_os_error,
)
from engine.text.say import say, show_usage
from models.errors import ModelError as ModelPackageError

# Import nothing heavy here, so that --help answers at once.


def answer() -> int:
    """Do what the command line asks for and return the exit status. Prints errors."""
    for stream in (sys.stdout, sys.stderr):  # a file name may contain text that they can't encode
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    usage = (BackendMissing, ConfigError, InputError, ModelError, ModelPackageError, OutputError)
    try:
        status: int | None = commands.main(prog_name="yolo-engine", standalone_mode=False)
    except click.exceptions.Abort:  # Ctrl-C, as click has it
        status = INTERRUPTED
    except click.ClickException as error:
        show_usage(error)
        status = USAGE
    except (EngineError, ModelPackageError) as error:
        say(f"Error: {error}", err=True)
        status = USAGE if isinstance(error, usage) else FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = FAILED
    except OSError as error:
        about = f"{error.filename}: " if error.filename else ""
        say(f"Error: {about}{describe_os_error(error)}.", err=True)
        status = FAILED
    return status or 0


# Where each command is declared. A command is imported when it is called; the help of all of them takes them all.
_COMMANDS = {
    "analyze": "analyze:analyze",
    "audit": "audit:audit",
    "bench": "bench:bench",
    "build-trt": "trt:build_trt",
    "clips": "clips:clips",
    "doctor": "checks:doctor",
    "eval": "evaluate:evaluate",
    "export": "exports:export",
    "find": "find:find",
    "import": "exports:import_",
    "models": "models:models",
    "plan": "checks:plan",
    "quantize": "quantize:quantize",
    "render": "retrack:render",
    "report": "report:report",
    "retrack": "retrack:retrack",
    "run": "run:run",
    "scene": "scene:scene",
    "verify": "checks:verify",
}


@click.group(
    cls=DeferredGroup,
    homes=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="yolo-engine")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    help="Minimum severity of messages on standard error.  [warning]",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Messages as text, or as one JSON object per line.  [text]",
)
def commands(log_level: str, log_format: str) -> None:
    """Detect and track objects in videos: a folder in, tracks and annotated videos out."""
    from engine.logs import set_up_logging  # help needs no logging

    set_up_logging(log_level, log_format)
