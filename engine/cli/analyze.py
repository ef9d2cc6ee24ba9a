"""`yolo-engine analyze`: counts, stays and times from existing tracks, without the model."""

from __future__ import annotations

import click

from engine.cli.deferred import deferred
from engine.cli.overwrite_option import overwrite_option
from engine.cli.paths import PATH


@click.command(no_args_is_help=True, short_help="Count in videos that have been tracked already.")
@click.argument("outputs", nargs=-1, required=True, metavar="OUT...", type=PATH)
@click.option("-o", "--output", type=PATH, help="Folder for the tables.  [the first OUT folder]")
@click.option("--config", "config_file", type=PATH, help="JSON or TOML file of settings.")
@click.option("--scene", multiple=True, type=PATH, help="Scene file, or a folder of them; repeatable.")
@click.option("--bin", "bin_s", metavar="LENGTH", help="Length of a bin for counts, such as 15m or 1d.  [15m]")
@click.option("--tables", metavar="csv,parquet,xlsx", help="Tables to write, besides CSV.  [csv]")
@click.option("--heatmap/--no-heatmap", default=None, help="Write heatmap.json: where objects were.  [no-heatmap]")
@click.option("--zone", metavar="NAME", help="Time zone of the cameras, such as Europe/Berlin.  [UTC]")
@click.option("--clock-start", "start", metavar="TIME", help="Wall-clock time of the first frame.  [name, container]")
@click.option("--camera", metavar="folder|REGEX", help="Which videos belong to one camera.  [each its own]")
@click.option("--size", metavar="WxH", help="Frame size, for a file of rows without a manifest.")
@click.option("--fps", metavar="N", type=click.FloatRange(min=0, min_open=True), help="Frame rate, for such a file.")
@click.option(
    "--verdicts",
    type=PATH,
    help="Verdicts from a review of the report: leave out what was rejected.",
)
@overwrite_option
@click.option("--json", "as_json", is_flag=True, help="Print the counts as one JSON line on standard output.")
@deferred("analyze:analyze")
def analyze() -> None:
    """Count line crossings, stays in zones, times and speeds in videos that have already been tracked.

    OUT is the output folder of a run, its URL, or a file of tracks: *.tracks.jsonl, or another program's MOTChallenge
    text with --size and --fps. Clocks, cameras and scenes are taken from the run's manifest unless they are given here.
    """
