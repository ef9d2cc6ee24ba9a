"""Tables of counts: objects, line crossings by direction, stays in zones."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from engine.summary import AnswersJson, CameraJson
from engine.text.counted import counted
from engine.text.printable import printable

_MAX_CAMERAS = 40
NOT_EXAMINED = "-"
"""Shown instead of a number if nothing was examined, which is not zero."""


def answers_view(answers: AnswersJson) -> RenderableType | None:
    """Return a view of a summary's "answers"; None if there is nothing to show."""
    if error := answers.get("error"):
        return Text(f"No counts: {printable(str(error))}", style="red")
    cameras = answers.get("cameras") or []
    found = (_counts(cameras), _stays(cameras), _objects(cameras))
    parts: list[RenderableType] = [table for table in found if table is not None]
    if len(cameras) > _MAX_CAMERAS:
        parts.append(Text(f"and {len(cameras) - _MAX_CAMERAS} more cameras: counts.csv has them all"))
    return Group(*parts) if parts else None


def print_answers(console: Console, answers: AnswersJson) -> None:
    """Print a summary's counts, and the paths of the tables."""
    view = answers_view(answers)
    if view is not None:
        console.print(view)
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


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    return table


def _counts(cameras: list[CameraJson]) -> Table | None:
    table = _table("camera", "line", "direction", ">count", "classes")
    for camera in cameras[:_MAX_CAMERAS]:
        for row in camera["lines"]:
            classes = ", ".join(f"{number:,} {name}" for name, number in _most_first(row["by_class"]))
            where = (camera["camera"], row["line"], row["direction"])
            table.add_row(*map(_cell, where), _number(row["count"]), _cell(classes))
    return table if table.row_count else None


def _stays(cameras: list[CameraJson]) -> Table | None:
    table = _table("camera", "zone", ">stays", ">median, s")
    for camera in cameras[:_MAX_CAMERAS]:
        for row in camera["zones"]:
            dwell = "" if row["median_dwell_s"] is None else f"{row['median_dwell_s']:,.1f}"
            table.add_row(_cell(camera["camera"]), _cell(row["zone"]), _number(row["stays"]), dwell)
    return table if table.row_count else None


def _objects(cameras: list[CameraJson]) -> Table | None:
    table = _table("camera", "objects")
    for camera in cameras[:_MAX_CAMERAS]:
        ids, objects = camera["ids"], camera["objects"]
        known = objects_text(ids, objects) if ids is not None and objects is not None else "not examined"
        table.add_row(_cell(camera["camera"]), known)
    return table if table.row_count else None


def _number(count: int | None) -> str:
    return NOT_EXAMINED if count is None else f"{count:,}"


def _cell(text: str) -> str:
    return escape(printable(text))


def _most_first(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
