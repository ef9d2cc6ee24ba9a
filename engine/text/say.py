"""Output of the command lines for people: one line at a time, with control characters in untrusted text made harmless.

Output for programs (`--json`) is written with `click.echo`, since JSON escapes what needs it.
"""

from __future__ import annotations

import click

from engine.text.printable import printable

_LONGEST = 20_000


def say(text: object, *, err: bool = False) -> None:
    """Print one line to standard output, or to standard error if `err`."""
    click.echo(printable(str(text), _LONGEST), err=err)


def show_usage(error: click.ClickException) -> None:
    """Show click's message on wrong usage in printable form: it quotes arguments, which may be file names from a shell
    pattern."""
    vars(error)["message"] = printable(error.message, _LONGEST)  # `message` is declared final
    error.show()
