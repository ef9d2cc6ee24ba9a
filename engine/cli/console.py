"""Where tables go: to a terminal, or to a file or program, which has no width."""

from collections.abc import Callable

from rich.console import Console

from engine.text.printable import printable

_WIDE = 20_000
_LONGEST = 20_000  # of a sentence


def screen(*, stderr: bool = False) -> Console:
    """Return a console on standard output or error. Where that is no terminal, nothing is wrapped or cut."""
    console = Console(stderr=stderr)
    return console if console.is_terminal else Console(stderr=stderr, width=_WIDE)


def tell_on(console: Console) -> Callable[[str], None]:
    """Print a sentence: on a terminal, lines end between words; elsewhere it is one line."""

    def tell(line: str) -> None:
        console.print(printable(line, _LONGEST), markup=False, highlight=False, soft_wrap=not console.is_terminal)

    return tell
