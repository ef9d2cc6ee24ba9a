"""`yolo-engine find`: which object, where, when and for how long, over all runs and jobs in a tree."""

from __future__ import annotations

import json
import time as clock
from dataclasses import asdict
from datetime import datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from engine.cli.idle import Rule, refuse_idle
from engine.cli.lengths import length
from engine.cli.overwrite_option import overwrite_option
from engine.cli.paths import PATH
from engine.text.counted import counted
from engine.text.printable import printable
from engine.text.say import say

if TYPE_CHECKING:
    from engine.find import Found


def _names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def _of_day(text: str) -> time:
    try:
        return time(0) if text == "24:00" else time.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"a time of day such as 08:00. Got {text!r}.", param_hint="--between") from None


def _moment(_: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    try:
        return None if value is None else datetime.fromisoformat(value).replace(tzinfo=None)
    except ValueError:
        raise click.BadParameter(f"a day or a time such as 2024-05-01T08:00. Got {value!r}.", param=param) from None


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


@click.command(no_args_is_help=True, short_help="Find objects over all runs and jobs of a tree of outputs.")
@click.argument("root", metavar="OUT", type=PATH)
@click.option("--class", "classes", metavar="A,B,...", callback=_names, help="Classes of the tracks.  [all]")
@click.option("--zone", "zones", metavar="A,B,...", callback=_names, help="Find stays in these zones.")
@click.option("--line", "lines", metavar="A,B,...", callback=_names, help="Find crossings of these lines.")
@click.option("--direction", "directions", metavar="A,B,...", callback=_names, help="Directions of crossings.  [all]")
@click.option("--camera", "cameras", metavar="A,B,...", callback=_names, help="Cameras to search.  [all]")
@click.option("--between", nargs=2, metavar="HH:MM HH:MM", help="Local times of day; may span midnight.")
@click.option("--from", "first", metavar="TIME", callback=_moment, help="Ended after this local time or date.")
@click.option("--to", "last", metavar="TIME", callback=_moment, help="Started before this local time or date.")
@click.option("--longer", "longer_s", metavar="TIME", callback=length, help="Minimum duration, such as 30s.")
@click.option("--shorter", "shorter_s", metavar="TIME", callback=length, help="Maximum duration.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, help="Maximum number of results.  [100]")
@click.option("--crops", type=PATH, help="Write an image of each into this folder.")
@overwrite_option
@click.option("--json", "as_json", is_flag=True, help="Print the results as one JSON line on standard output.")
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
    """Find objects in all runs and jobs of a tree of outputs.

    OUT is an output folder, or a folder that contains some at any depth. --zone finds stays, --line finds crossings;
    otherwise whole tracks are found. An index of the tree, in your cache, is updated first.
    """
    refuse_idle(_OF_FIND, _Asked(zones, lines, crops))
    from engine.find import Index, Question, ask, cut_crops

    times = (_of_day(between[0]), _of_day(between[1])) if between else None
    question = Question(classes, zones, lines, directions, cameras, times, first, last, longer_s, shorter_s, limit)
    begun = clock.perf_counter()
    with Index(root) as index:
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


def _print(found: tuple[Found, ...], pictures: dict[int, Path]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from engine.cli.console import screen

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
