"""The options that describe a model where its file does not."""

from __future__ import annotations

import click

from engine.cli.deferred import Command
from models.layouts import LAYOUTS

_OPTIONS = (
    click.option(
        "--layout", type=click.Choice(LAYOUTS), help="The model's output layout, if its file does not state it."
    ),
    click.option("--class-names", metavar="A,B,...", help="The model's classes, if its file does not state them."),
    click.option("--input-size", metavar="H,W", help="The model's input size, if its file leaves it open."),
    click.option("--input-scale", metavar="N|R,G,B", help="Factor for pixel values of 0-255."),
    click.option("--input-mean", metavar="N|R,G,B", help="Value first subtracted from pixels of 0-255."),
    click.option("--channel-order", type=click.Choice(["rgb", "bgr"]), help="The model's channel order."),
)


def description_options(command: Command) -> Command:
    """Add the options that describe a model. One that is not given is None."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
