"""How the command lines speak to people: a line at a time, in which a stranger's text commands nothing.

What programs read, `--json`, is written with `click.echo`: JSON escapes what needs it.
"""

from __future__ import annotations

import click

from engine.text.printable import printable

_LONGEST = 20_000


def say(text: object, *, err: bool = False) -> None:
    """Print one line on standard output, or on standard error."""
    click.echo(printable(str(text), _LONGEST), err=err)


def show_usage(error: click.ClickException) -> None:
    """Return what click says of wrong usage; it quotes arguments, and a shell's pattern makes arguments of file
    names."""
    vars(error)["message"] = printable(error.message, _LONGEST)  # to click it is final; it has nothing else to offer
    error.show()
