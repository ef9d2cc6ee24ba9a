"""`yolo-engine export` and `import`: tracks to annotation tools, and corrections back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import click

from engine.choices.formats import EXPORTS, ExportFormat, exports_that
from engine.cli.idle import Rule, refuse_idle
from engine.cli.paths import PATH
from engine.text.counted import counted
from engine.text.say import say

_KEY_FRAMES = exports_that(lambda kind: kind.key_frames)
_DATA_SETS = exports_that(lambda kind: kind.data_set)
_IMAGES = exports_that(lambda kind: kind.images)
_JOBS = exports_that(lambda kind: kind.jobs)
_LINKS = exports_that(lambda kind: kind.links)


class _Asked(NamedTuple):
    kind: ExportFormat
    images: bool
    job_frames: int | None


_OF_EXPORT: tuple[Rule[_Asked], ...] = (
    Rule(("error_px",), lambda asked: asked.kind.key_frames, f"applies to key frames: {_KEY_FRAMES}"),
    Rule(("images",), lambda asked: asked.kind.images, f"applies to {_IMAGES}"),
    Rule(("every",), lambda asked: asked.kind.data_set, f"applies to data sets of images: {_DATA_SETS}"),
    Rule(("job_frames", "job_overlap"), lambda asked: asked.kind.jobs, f"applies to jobs: {_JOBS}"),
    Rule(("job_overlap",), lambda asked: asked.job_frames, "goes with --job-frames"),
    Rule(
        ("source",),
        lambda asked: asked.images or asked.kind.links,
        f"applies to files made from the videos: --images and {_LINKS}",
    ),
)


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
def export(
    folder: Path,
    form: str,
    output: Path | None,
    source: Path | None,
    videos: tuple[str, ...],
    error_px: float,
    images: bool,
    every: int,
    job_frames: int | None,
    job_overlap: int,
    as_json: bool,
) -> int:
    """Export the tracks of a run to another tool, for correction, training or viewing.

    OUT is the output folder of a run or a job. cvat and labelstudio get key frames, from which the tool interpolates
    the other boxes; the other formats get every box. An earlier export in the same folder is replaced.
    """
    from engine.exports import ExportSettings, export_json, export_run
    from engine.finished import FinishedRun

    refuse_idle(_OF_EXPORT, _Asked(EXPORTS[form], images, job_frames))
    if job_frames is not None and job_overlap >= job_frames:
        raise click.BadParameter("less than --job-frames.", param_hint="--job-overlap")
    settings = ExportSettings(error_px, every, images, job_frames, job_overlap)
    run = FinishedRun.load(folder, sources=source, counts=False)
    made = export_run(run, form, settings, output, only=videos)
    if as_json:
        click.echo(json.dumps(export_json(made)))
    else:
        keys = f" from {counted(made.keys, 'key frame')}" if made.keys is not None else ""
        images_too = f", {counted(made.images, 'image')}" if images else ""
        if images and run.config.blur:
            say("The images are from the sources, which show what the run's annotated videos hide.", err=True)
        say(
            f"{made.folder}: {counted(made.videos, 'video')}, {counted(made.tracks, 'track')}, "
            f"{counted(made.boxes, 'box', 'boxes')}"
            f"{keys}{images_too}"
        )
    return 0


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
def import_(
    folder: Path,
    files: tuple[Path, ...],
    video: str | None,
    source: Path | None,
    first_frames: tuple[int, ...],
    as_json: bool,
) -> int:
    """Import tracks that people have corrected, so that analyze, clips and render use them.

    FILE is a CVAT export ("CVAT for video 1.1" or "MOT 1.1", as an archive or its folder) or any MOTChallenge text. It
    must match its video. The rows of the video are replaced; the original rows are kept in
    NAME.before-import.tracks.jsonl.
    """
    from engine.exports import import_corrected
    from engine.finished import FinishedRun

    done = import_corrected(
        FinishedRun.load(folder, sources=source, counts=False), files, video=video, first_frames=first_frames
    )
    if as_json:
        values = asdict(done)
        click.echo(json.dumps({**values, "rows": str(done.rows), "kept": str(done.kept)}))
        return 0
    what = f"{counted(done.tracks, 'track')}, {counted(done.boxes, 'box', 'boxes')} of {done.video}"
    say(f"{done.rows}: {what}; before: {done.kept}")
    if done.timed == "rows":
        say("Times are interpolated from the previous rows: the source is missing or has changed.", err=True)
    say(f"Count again with: yolo-engine analyze {done.rows.parent}")
    return 0
