"""The options of `yolo-engine run` that jobs accept, taken from that command so that there is a single list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from engine.cli.run import run

# Those that `yolo-submit` defines itself, with another meaning, or does not support.
OTHERS = frozenset(
    "output config_file as_json stats metrics workers resume on_event event_kinds event_loiter_s segment".split()
)

OPTIONS: list[click.Option] = [
    param for param in run.params if isinstance(param, click.Option) and param.name not in OTHERS
]
NAMES = frozenset(str(option.name) for option in OPTIONS)


def chosen(options: Mapping[str, object]) -> dict[str, object]:
    """Return the options that were given; others are None or empty."""
    return {name: options[name] for name in NAMES if options.get(name) not in (None, ())}


class Command(click.Command):
    """A command that accepts these options in addition to its own, and shows them under a separate heading."""

    def __init__(self, *arguments: Any, **facts: Any) -> None:
        super().__init__(*arguments, **facts)
        taken = {name for param in self.params for name in param.opts}
        self.params += [option for option in OPTIONS if not taken & set(option.opts)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        engine: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                (engine if param in OPTIONS else own).append(record)
        with formatter.section("Options"):
            formatter.write_dl(own)
        with formatter.section("Engine options, as for `yolo-engine run`"):
            formatter.write_dl(engine)
