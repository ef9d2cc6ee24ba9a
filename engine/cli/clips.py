"""`yolo-engine clips`: clips of events, cut from a run's videos."""

from __future__ import annotations

import click

from engine.cli.deferred import deferred
from engine.cli.overwrite_option import overwrite_option
from engine.cli.paths import PATH


@click.command(no_args_is_help=True, short_help="Cut out of the videos what happened in them.")
@click.argument("folder", metavar="OUT", type=PATH)
@click.option("-o", "--output", type=PATH, help="Folder for the clips.  [OUT/clips]")
@click.option("--source", type=PATH, help="Where the videos are now.  [unchanged]")
@click.option(
    "--kind", "kinds", metavar="A,B,...", help="crossing, enter, leave, stay, track.  [crossing,stay; no scene: track]"
)
@click.option("--class", "classes", metavar="A,B,...", help="Classes of the tracks.  [all]")
@click.option("--place", "places", metavar="A,B,...", help="Names of lines and zones.  [all]")
@click.option("--direction", "directions", metavar="A,B,...", help="Labels of directions over lines.  [all]")
@click.option("--longer", "longer_s", metavar="TIME", help="Minimum duration of stays and tracks, such as 30s.")
@click.option("--shorter", "shorter_s", metavar="TIME", help="Maximum duration of stays and tracks.")
@click.option("--pre", "pre_s", metavar="TIME", help="Time to include before an event.  [5s]")
@click.option("--post", "post_s", metavar="TIME", help="Time to include after an event.  [5s]")
@click.option("--merge-gap", "merge_gap_s", metavar="TIME", help="Merge parts that are at most this far apart.  [2s]")
@click.option(
    "--max-length", "max_length_s", metavar="TIME", help="Maximum length of a clip; longer events are split.  [5m]"
)
@click.option(
    "--exact/--copy", default=None, help="Start and end at the exact frame, re-encoding if necessary.  [copy]"
)
@click.option("--scene", multiple=True, type=PATH, help="Scene file instead of the run's; repeatable.")
@overwrite_option
@click.option("--json", "as_json", is_flag=True, help="Print the clips as one JSON line on standard output.")
@deferred("clips:clips")
def clips() -> None:
    """Cut clips of a scene's events, or of tracks, from the videos of a run.

    OUT is the output folder of a run or a job, or its URL. A clip contains every frame of its events. By default
    packets are copied from the preceding key frame, which is fast and loses nothing. clips.csv lists the contents of
    each clip, empty.txt the videos in which nothing was found.
    """
