"""Tables as text: on a terminal by Rich, elsewhere aligned here."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, NamedTuple

from engine.cli.console import drawn
from engine.text.printable import printable

if TYPE_CHECKING:
    from rich.table import Table

    from engine.cli.console import Screen


_LONGEST = 20_000  # of a cell


class Marked(NamedTuple):
    """A cell that begins with a text in a colour: Rich's name of a style."""

    text: str
    style: str
    rest: str = ""

    def __str__(self) -> str:
        return self.text + self.rest


class Rows:
    """A table: its columns, those of numbers with a `>`, and the cells of each row."""

    def __init__(self, *columns: str, wrapped: tuple[str, ...] | None = None) -> None:
        """Begin without rows. `wrapped` are the columns that may be wrapped on a terminal; None: all."""
        self.columns = columns
        self.wrapped = columns if wrapped is None else wrapped
        self.rows: list[tuple[str | Marked, ...]] = []

    def add(self, *cells: str | Marked) -> None:
        self.rows.append(tuple(map(_printable, cells)))

    def __bool__(self) -> bool:
        return bool(self.rows)

    def show(self, console: Screen) -> None:
        """Print it: on a terminal, and for characters that may be two columns wide, by Rich, which takes two
        milliseconds for a table and twenty to be loaded; else the same text, aligned here."""
        lines = [tuple(name.lstrip(">") for name in self.columns), *(tuple(map(str, row)) for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        narrow = all(cell.isascii() for line in lines for cell in line)
        if console.is_terminal or not narrow or sum(widths) + 2 * len(widths) > console.width:
            console.print(self.table())
            return

        def aligned(cell: str, column: str, width: int) -> str:
            return cell.rjust(width) if column.startswith(">") else cell.ljust(width)

        for line in lines:
            cells = starmap(aligned, zip(line, self.columns, widths, strict=True))
            console.out("  ".join(cells).rstrip(), highlight=False)

    def table(self) -> Table:
        """Return it as Rich's table."""
        return drawn().table(self)


def _printable(cell: str | Marked) -> str | Marked:
    if isinstance(cell, Marked):
        return Marked(printable(cell.text, _LONGEST), cell.style, printable(cell.rest, _LONGEST))
    return printable(cell, _LONGEST)
