"""Tables of counts: objects, line crossings by direction, stays in zones."""

from __future__ import annotations

from itertools import starmap

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from engine.summary import AnswersJson, CameraJson
from engine.text.counted import counted
from engine.text.printable import printable

_MAX_CAMERAS = 40
NOT_EXAMINED = "-"
"""Shown instead of a number if nothing was examined, which is not zero."""


class Rows:
    """A table as text: its columns, those of numbers with a `>`, and the cells of each row."""

    def __init__(self, *columns: str) -> None:
        self._columns = columns
        self._rows: list[tuple[str, ...]] = []

    def add(self, *cells: str) -> None:
        self._rows.append(tuple(map(printable, cells)))

    def __bool__(self) -> bool:
        return bool(self._rows)

    def show(self, console: Console) -> None:
        """Print it: on a terminal, and for characters that may be two columns wide, by Rich, which takes two
        milliseconds for a table; else the same text, aligned here."""
        names = tuple(name.lstrip(">") for name in self._columns)
        widths = [max(map(len, column)) for column in zip(names, *self._rows, strict=True)]
        narrow = all(cell.isascii() for row in self._rows for cell in row)
        if console.is_terminal or not narrow or sum(widths) + 2 * len(widths) > console.width:
            console.print(self.table())
            return

        def aligned(cell: str, column: str, width: int) -> str:
            return cell.rjust(width) if column.startswith(">") else cell.ljust(width)

        for row in (names, *self._rows):
            cells = starmap(aligned, zip(row, self._columns, widths, strict=True))
            console.out("  ".join(cells).rstrip(), highlight=False)

    def table(self) -> Table:
        """Return it as Rich's table."""
        table = Table(box=None, pad_edge=False)
        for name in self._columns:
            table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
        for row in self._rows:
            table.add_row(*map(escape, row))
        return table


def print_answers(console: Console, answers: AnswersJson) -> None:
    """Print a summary's counts, and the paths of the tables."""
    if error := answers.get("error"):
        console.print(Text(f"No counts: {printable(str(error))}", style="red"))
    else:
        cameras = answers.get("cameras") or []
        for rows in (_counts(cameras), _stays(cameras), _objects(cameras)):
            if rows:
                rows.show(console)
        if len(cameras) > _MAX_CAMERAS:
            console.print(Text(f"and {len(cameras) - _MAX_CAMERAS} more cameras: counts.csv has them all"))
    if tables := answers.get("tables"):
        names = ", ".join(tables)
        folder = next(iter(tables.values())).removesuffix(next(iter(tables)))
        console.print(printable(f"Tables in {folder or '.'}: {names}."), markup=False, highlight=False, soft_wrap=True)


def objects_text(ids: int, objects: list[int]) -> str:
    """Return the number of ids, and of objects as a range."""
    low, high = objects
    few = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    many = f"{few} objects" if low != high else counted(high, "object")
    return f"{counted(ids, 'id')}, {many}" if not ids == low == high else many


def _counts(cameras: list[CameraJson]) -> Rows:
    rows = Rows("camera", "line", "direction", ">count", "classes")
    for camera in cameras[:_MAX_CAMERAS]:
        for row in camera["lines"]:
            classes = ", ".join(f"{number:,} {name}" for name, number in _most_first(row["by_class"]))
            rows.add(camera["camera"], row["line"], row["direction"], _number(row["count"]), classes)
    return rows


def _stays(cameras: list[CameraJson]) -> Rows:
    rows = Rows("camera", "zone", ">stays", ">median, s")
    for camera in cameras[:_MAX_CAMERAS]:
        for row in camera["zones"]:
            dwell = "" if row["median_dwell_s"] is None else f"{row['median_dwell_s']:,.1f}"
            rows.add(camera["camera"], row["zone"], _number(row["stays"]), dwell)
    return rows


def _objects(cameras: list[CameraJson]) -> Rows:
    rows = Rows("camera", "objects")
    for camera in cameras[:_MAX_CAMERAS]:
        ids, objects = camera["ids"], camera["objects"]
        known = objects_text(ids, objects) if ids is not None and objects is not None else "not examined"
        rows.add(camera["camera"], known)
    return rows


def _number(count: int | None) -> str:
    return NOT_EXAMINED if count is None else f"{count:,}"


def _most_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
