"""`yolo-engine export` and `import`: tracks to annotation tools, and corrections back."""

from __future__ import annotations

import click

from engine.choices.formats import EXPORTS, exports_that
from engine.cli.deferred import deferred
from engine.cli.paths import PATH

_KEY_FRAMES = exports_that(lambda kind: kind.key_frames)
_DATA_SETS = exports_that(lambda kind: kind.data_set)
_IMAGES = exports_that(lambda kind: kind.images)
_JOBS = exports_that(lambda kind: kind.jobs)


@click.command("export", no_args_is_help=True, short_help="Write the tracks for another tool.")
@click.argument("folder", metavar="OUT", type=PATH)
@click.option("--to", "form", required=True, type=click.Choice(list(EXPORTS)), help="Target tool or format.")
@click.option("-o", "--output", type=PATH, help="Folder for the export.  [OUT/export/FORMAT]")
@click.option("--source", type=PATH, help="Where the videos are now.  [unchanged]")
@click.option("--video", "videos", multiple=True, metavar="NAME", help="Only this video; repeatable.  [all]")
@click.option(
    "--max-error",
    "error_px",
    type=click.FloatRange(min=0, max=1000),
    default=2.0,
    metavar="PIXELS",
    help=f"Maximum error of interpolated box sides, for {_KEY_FRAMES}.  [2]",
)
@click.option("--images", is_flag=True, help=f"Extract the frames as JPEG, for {_IMAGES}.")
@click.option(
    "--every", type=click.IntRange(1), default=1, metavar="N", help=f"Only every Nth frame, for {_DATA_SETS}.  [1]"
)
@click.option(
    "--job-frames", type=click.IntRange(2), metavar="N", help=f"Also a file per job of this many frames, for {_JOBS}."
)
@click.option(
    "--job-overlap", type=click.IntRange(0), default=0, metavar="N", help="Frames shared by consecutive jobs.  [0]"
)
@click.option("--json", "as_json", is_flag=True, help="Print the files as one JSON line on standard output.")
@deferred("exports:export")
def export() -> None:
    """Export the tracks of a run to another tool, for correction, training or viewing.

    OUT is the output folder of a run or a job, or its URL. cvat and labelstudio get key frames, from which the tool
    interpolates the other boxes; the other formats get every box. An earlier export in the same folder is replaced.
    """


@click.command("import", no_args_is_help=True, short_help="Bring corrected tracks back.")
@click.argument("folder", metavar="OUT", type=PATH)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=PATH)
@click.option("--video", metavar="NAME", help="Video of the tracks.  [the only one]")
@click.option("--source", type=PATH, help="Where the videos are now.  [unchanged]")
@click.option(
    "--first-frame",
    "first_frames",
    multiple=True,
    type=click.IntRange(0),
    metavar="N",
    help="Frame at which a job's file starts; once per file, in order.  [0]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line on standard output.")
@deferred("exports:import_")
def import_() -> None:
    """Import tracks that people have corrected, so that analyze, clips and render use them.

    FILE is a CVAT export ("CVAT for video 1.1" or "MOT 1.1", as an archive or its folder) or any MOTChallenge text. It
    must match its video. The rows of the video are replaced; the original rows are kept in
    NAME.before-import.tracks.jsonl.
    """
