"""Consoles: a terminal, on which Rich draws; or a file or pipe, which has no width and is written to as it is."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

from engine.text.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from engine.cli.drawn import Drawn

    Screen: TypeAlias = "Console | Piped"

_WIDE = 20_000
_LONGEST = 20_000  # of a sentence

# With these, users tell programs that a file is as good as a terminal, or a terminal no better than a file.
_TERMINAL_VARIABLES = ("FORCE_COLOR", "TTY_COMPATIBLE")

_BLANKS_AT_ENDS = re.compile(r" +$", re.MULTILINE)


class Piped:
    """Standard output or error where it is no terminal: nothing is wrapped or cut below `width`, and lines are not
    padded, so that a table is as wide as its longest cells and a pager shows no empty lines.

    Rich is only loaded for what it has to lay out, which takes 20 ms.
    """

    is_terminal = False

    def __init__(self, *, stderr: bool, width: int) -> None:
        self.width = width
        self._file = _Unfilled(stderr)

    def print(self, what: RenderableType, **how: Any) -> None:
        """Print as Rich's console does, which takes the same options."""
        if isinstance(what, str) and how.get("markup") is False:
            self.out(what)
        else:
            drawn().console(file=cast("IO[str]", self._file), width=self.width).print(what, **how)

    def out(self, text: str, *, highlight: bool | None = None) -> None:
        """Print a text as it is; `highlight` is for Rich."""
        self._file.write(f"{text}\n")
        self._file.flush()


def screen(*, stderr: bool = False, width: int = _WIDE) -> Screen:
    """Return a console on standard output or error; `width` is its width if that is not a terminal."""
    stream = sys.stderr if stderr else sys.stdout
    if stream is None:  # closed: output is discarded
        return drawn().console(stderr=stderr)
    if not stream.isatty() and not any(map(os.environ.get, _TERMINAL_VARIABLES)):
        return Piped(stderr=stderr, width=width)
    console = drawn().console(stderr=stderr)
    return console if console.is_terminal else Piped(stderr=stderr, width=width)


def drawn() -> type[Drawn]:
    """Return what draws with Rich, loaded."""
    from engine.cli.drawn import Drawn

    return Drawn


class _Unfilled:
    """The current standard output or error, with trailing blanks removed from lines."""

    def __init__(self, stderr: bool) -> None:
        self._stderr = stderr

    def write(self, text: str) -> int:
        return self._file.write(_BLANKS_AT_ENDS.sub("", text))

    def flush(self) -> None:
        self._file.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    @property
    def _file(self) -> IO[str]:
        return sys.stderr if self._stderr else sys.stdout


def tell_on(console: Screen) -> Callable[[str], None]:
    """Print a sentence: on a terminal, lines end between words; elsewhere it is one line."""

    def tell(line: str) -> None:
        console.print(printable(line, _LONGEST), markup=False, highlight=False, soft_wrap=not console.is_terminal)

    return tell
