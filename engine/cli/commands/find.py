"""`yolo-engine find`."""

from __future__ import annotations

import json
import time as clock
from dataclasses import asdict
from datetime import datetime, time
from pathlib import Path
from typing import NamedTuple

import click
from rich.markup import escape
from rich.table import Table

from engine.cli.console import screen
from engine.cli.idle import Rule, refuse_idle
from engine.find import Found, Index, Question, ask, cut_crops
from engine.storage.results import results_at
from engine.text.counted import counted
from engine.text.printable import printable
from engine.text.say import say


class _Asked(NamedTuple):
    zones: tuple[str, ...]
    lines: tuple[str, ...]
    crops: Path | None


_OF_FIND: tuple[Rule[_Asked], ...] = (
    Rule(
        ("directions",),
        lambda asked: asked.lines and not asked.zones,
        "applies to crossings: it goes with --line only",
    ),
    Rule(("overwrite",), lambda asked: asked.crops, "goes with --crops"),
)


def find(
    root: Path,
    between: tuple[str, str] | None,
    limit: int,
    crops: Path | None,
    overwrite: bool,
    as_json: bool,
    classes: tuple[str, ...],
    zones: tuple[str, ...],
    lines: tuple[str, ...],
    directions: tuple[str, ...],
    cameras: tuple[str, ...],
    first: datetime | None,
    last: datetime | None,
    longer_s: float | None,
    shorter_s: float | None,
) -> int:
    """Bring the index of the tree up to date, ask it, and print what was found."""
    refuse_idle(_OF_FIND, _Asked(zones, lines, crops))

    times = (_of_day(between[0]), _of_day(between[1])) if between else None
    question = Question(classes, zones, lines, directions, cameras, times, first, last, longer_s, shorter_s, limit)
    begun = clock.perf_counter()
    with results_at(root) as results, Index(results.folder) as index:
        ready = clock.perf_counter()
        for name, why in index.refreshed.failed.items():
            say(f"{name}: left out: {why}", err=True)
        answer = ask(index, question)
        done = clock.perf_counter()
        pictures, missing = (
            cut_crops(index, answer.found, crops, overwrite=overwrite) if crops is not None else ({}, {})
        )
        refreshed = index.refreshed
    if as_json:
        found = [
            {**asdict(each), "crop": str(pictures[number]) if number in pictures else None}
            for number, each in enumerate(answer.found)
        ]
        about = {"total": answer.total, "without_clock": answer.without_clock, "folders": refreshed.folders}
        seconds = {"index_s": round(ready - begun, 3), "query_s": round(done - ready, 3)}
        click.echo(json.dumps({"found": found, **about, "failed": refreshed.failed, **seconds}))
        return 0
    _print(answer.found, pictures)
    for name, why in missing.items():
        say(f"{name}: no images: {why}", err=True)
    if answer.without_clock:
        say(f"{answer.without_clock:,} more have no clock, so their time of day is unknown.", err=True)
    shown = f"{len(answer.found):,} of {answer.total:,}" if answer.total > len(answer.found) else f"{answer.total:,}"
    say(f"{shown} found in {counted(refreshed.folders, 'folder')}, {done - ready:.2f} s; {refreshed.read:,} read anew.")
    return 0


def _of_day(text: str) -> time:
    try:
        return time(0) if text == "24:00" else time.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"a time of day such as 08:00. Got {text!r}.", param_hint="--between") from None


def _print(found: tuple[Found, ...], pictures: dict[int, Path]) -> None:
    if not found:
        return
    table = Table(box=None, pad_edge=False)
    columns = ["when", "folder", "video", ">second", "class", ">id", "what", ">lasts, s"] + ["picture"] * bool(pictures)
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    for number, each in enumerate(found):
        what = " ".join(filter(None, (each.kind, each.place, each.direction)))
        cells = [each.at, each.folder, each.video, f"{each.video_s:,.1f}", each.class_name, str(each.track_id), what]
        cells.append(f"{each.duration_s:,.1f}")
        if pictures:
            cells.append(str(pictures.get(number, "")))
        table.add_row(*(escape(printable(cell)) for cell in cells))
    screen().print(table)
