"""Options for the look of annotated videos: the same for `run`, for jobs and for `render`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def overlay_options(command: Command) -> Command:
    """Add the options to a command."""
    for option in reversed(
        (
            click.option("--label", metavar="class,id,score|none", help="Contents of labels.  [class,id]"),
            click.option(
                "--colour-by", type=click.Choice(["id", "class"]), help="Colour boxes by track or class.  [id]"
            ),
            click.option("--draw", metavar="lines,zones,counts,clock|none", help="Parts of the scene to draw.  [all]"),
            click.option("--line-width", type=int, metavar="PIXELS", help="Width of lines and boxes.  [by frame size]"),
            click.option("--label-size", type=int, metavar="PIXELS", help="Height of labels.  [by frame size]"),
            click.option(
                "--trail",
                "trail_s",
                type=float,
                metavar="SECONDS",
                help="Draw tracks' paths of the last SECONDS.  [0]",
            ),
        )
    ):
        command = option(command)
    return command
