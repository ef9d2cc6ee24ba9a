"""What Rich draws of a run: tables and bars.

`engine.cli.console.drawn` loads it, where someone watches or for characters that may be two columns wide.
"""

from __future__ import annotations

from typing import IO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column, Table

from engine.cli.rows import Marked, Rows


class Drawn:
    """Makes what is drawn."""

    @staticmethod
    def console(*, stderr: bool = False, file: IO[str] | None = None, width: int | None = None) -> Console:
        """Return Rich's console."""
        return Console(stderr=stderr, file=file, width=width)

    @staticmethod
    def bars(console: Console, *, narrow: bool) -> Progress:
        """Return bars without tasks. A task has the fields `of`, `fps` and `left`."""
        return Progress(
            TextColumn("{task.description}", markup=False, table_column=_whole()),
            BarColumn(10 if narrow else 40),
            TextColumn("{task.completed:,.0f}/{task.fields[of]} frames", table_column=_whole()),
            TextColumn("{task.fields[fps]:.0f} fps", table_column=_whole()),
            TextColumn("{task.fields[left]}", table_column=_whole()),
            console=console,
            transient=True,
        )

    @staticmethod
    def table(rows: Rows) -> Table:
        """Return rows as a table."""
        table = Table(box=None, pad_edge=False)
        for name in rows.columns:
            table.add_column(
                name.lstrip(">"),
                justify="right" if name.startswith(">") else "left",
                overflow="fold" if name in rows.wrapped else "ellipsis",
                no_wrap=name not in rows.wrapped,
            )
        for row in rows.rows:
            table.add_row(*map(_markup, row))
        return table


def _markup(cell: str | Marked) -> str:
    if isinstance(cell, Marked):
        return f"[{cell.style}]{escape(cell.text)}[/]{escape(cell.rest)}"
    return escape(cell)


def _whole() -> Column:
    """Return a column whose cells are not wrapped."""
    return Column(no_wrap=True)
