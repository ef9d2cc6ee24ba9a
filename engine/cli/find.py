"""`yolo-engine find`: which object, where, when and for how long, over all runs and jobs in a tree."""

from __future__ import annotations

from datetime import datetime

import click

from engine.cli.deferred import deferred
from engine.cli.lengths import length
from engine.cli.overwrite_option import overwrite_option
from engine.cli.paths import PATH


def _names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (value or "").split(",") if part.strip())


def _moment(_: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    try:
        return None if value is None else datetime.fromisoformat(value).replace(tzinfo=None)
    except ValueError:
        raise click.BadParameter(f"a day or a time such as 2024-05-01T08:00. Got {value!r}.", param=param) from None


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
@deferred("find:find")
def find() -> None:
    """Find objects in all runs and jobs of a tree of outputs.

    OUT is an output folder, or a folder that contains some at any depth, or the URL of either. --zone finds stays,
    --line finds crossings; otherwise whole tracks are found. An index of the tree, in your cache, is updated first.
    """
