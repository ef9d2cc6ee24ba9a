"""Consoles for tables: a terminal, or a file or pipe, which has no width."""

import re
import sys
from collections.abc import Callable
from typing import IO, cast

from rich.console import Console

from engine.text.printable import printable

_WIDE = 20_000
_LONGEST = 20_000  # of a sentence


_BLANKS_AT_ENDS = re.compile(r" +$", re.MULTILINE)


def screen(*, stderr: bool = False, width: int = _WIDE) -> Console:
    """Return a console on standard output or error. If that is not a terminal, nothing is wrapped or cut below `width`,
    and lines are not padded: a table is as wide as its longest cells, and a pager shows no empty lines."""
    console = Console(stderr=stderr)
    if console.is_terminal or (sys.stderr if stderr else sys.stdout) is None:  # closed: output is discarded
        return console
    return Console(file=cast("IO[str]", _Unfilled(stderr)), width=width)


class _Unfilled:
    """The current standard output or error, with trailing blanks removed from lines."""

    def __init__(self, stderr: bool) -> None:
        self._stderr = stderr

    def write(self, text: str) -> int:
        return self._file.write(_BLANKS_AT_ENDS.sub("", text))

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    @property
    def _file(self) -> IO[str]:
        return sys.stderr if self._stderr else sys.stdout


def tell_on(console: Console) -> Callable[[str], None]:
    """Print a sentence: on a terminal, lines end between words; elsewhere it is one line."""

    def tell(line: str) -> None:
        console.print(printable(line, _LONGEST), markup=False, highlight=False, soft_wrap=not console.is_terminal)

    return tell
