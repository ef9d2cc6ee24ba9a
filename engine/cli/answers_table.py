"""Tables of counts: objects, line crossings by direction, stays in zones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cli.console import tell_on
from engine.cli.rows import Rows
from engine.summary import AnswersJson, CameraJson
from engine.text.counted import counted
from engine.text.printable import printable

if TYPE_CHECKING:
    from engine.cli.console import Screen

_MAX_CAMERAS = 40
NOT_EXAMINED = "-"
"""Shown instead of a number if nothing was examined, which is not zero."""


def print_answers(console: Screen, answers: AnswersJson) -> None:
    """Print a summary's counts, and the paths of the tables."""
    if error := answers.get("error"):
        console.print(f"No counts: {printable(str(error))}", style="red", markup=False, highlight=False)
    else:
        cameras = answers.get("cameras") or []
        for rows in (_counts(cameras), _stays(cameras), _objects(cameras)):
            if rows:
                rows.show(console)
        if len(cameras) > _MAX_CAMERAS:
            tell_on(console)(f"and {len(cameras) - _MAX_CAMERAS} more cameras: counts.csv has them all")
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
