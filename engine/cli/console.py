"""Where tables go: to a terminal, or to a file or program, which has no width."""

from rich.console import Console

_WIDE = 20_000


def screen(*, stderr: bool = False) -> Console:
    """Return a console on standard output or error. Where that is no terminal, nothing is wrapped or cut."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_WIDE)
