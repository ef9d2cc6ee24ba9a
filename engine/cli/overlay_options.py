"""Options of the look of annotated videos: the same for `run`, for jobs and for `render`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def overlay_options(command: Command) -> Command:
    """Add the options to a command."""
    for option in reversed(
        (
            click.option("--label", metavar="class,id,score|none", help="What labels say.  [class,id]"),
            click.option("--colour-by", type=click.Choice(["id", "class"]), help="What has its own colour.  [id]"),
            click.option("--draw", metavar="lines,zones,counts,clock|none", help="Of its scene.  [all]"),
            click.option("--line-width", type=int, metavar="PIXELS", help="Of boxes, trails, lines.  [by the frame]"),
            click.option("--label-size", type=int, metavar="PIXELS", help="Of labels.  [by the frame]"),
            click.option("--trail", "trail_s", type=float, metavar="SECONDS", help="Draw tracks' ways.  [0]"),
        )
    ):
        command = option(command)
    return command
