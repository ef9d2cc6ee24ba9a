"""`yolo-engine retrack` and `render`: remake tracks from stored detections, and annotated videos from tracks."""

from __future__ import annotations

import click

from engine.cli.deferred import Command, deferred
from engine.cli.overlay_options import overlay_options
from engine.cli.overwrite_option import overwrite_option
from engine.cli.paths import PATH
from engine.cli.tracker_options import tracker_options


def _with_tracker(command: Command) -> Command:
    for option in reversed(tracker_options()):
        command = option(command)
    return command


@click.command(short_help="Make tracks again from stored detections, without the model.")
@click.argument("folder", metavar="OUT", type=PATH)
@click.option("-o", "--output", type=PATH, help="Folder for the new tracks.  [OUT]")
@click.option("--conf", type=float, help="Minimum score of a detection.  [the run's]")
@click.option("--class-agnostic/--class-aware", default=None, help="Let tracks change their class.  [the run's]")
@_with_tracker
@click.option("--stitch", is_flag=True, help="Give the fragments of an object one id.")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Replace corrected tracks (a copy is kept) and files that yolo-engine did not write.  [an error]",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was done as one JSON line on standard output.")
@deferred("retrack:retrack")
def retrack() -> None:
    """Make tracks again from stored detections, without the model.

    OUT is the output folder of a run or a job with --store-conf, or one NAME.detections.bin. NAME.tracks.jsonl and
    NAME.mot.txt are replaced, except for tracks that were corrected by hand. Options default to those of the run.
    retrack.json records what was done.
    """


@click.command(short_help="Draw the annotated videos of a run again.")
@click.argument("folder", metavar="OUT", type=PATH)
@click.option("--source", type=PATH, help="Where the videos are now.  [unchanged]")
@click.option("--scene", multiple=True, metavar="FILE", help="Scene file, or a folder of them.  [the run's]")
@overlay_options
@overwrite_option
@deferred("retrack:render")
def render() -> None:
    """Draw the annotated videos of a run again, from their sources and the current tracks.

    OUT is the output folder of a run or a job. A source must be the very file that the run read: its hash is checked.
    Options default to those of the run.
    """
