"""`yolo-engine export` and `import`: tracks for the tools in which people correct them, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import click

from engine.cli.idle import Rule, refuse_idle
from engine.cli.paths import PATH
from engine.formats import EXPORTS, ExportFormat, exports_that
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
    Rule(("error_px",), lambda asked: asked.kind.key_frames, f"is of key frames: of {_KEY_FRAMES}"),
    Rule(("images",), lambda asked: asked.kind.images, f"is of {_IMAGES}"),
    Rule(("every",), lambda asked: asked.kind.data_set, f"is of data sets of images: of {_DATA_SETS}"),
    Rule(("job_frames", "job_overlap"), lambda asked: asked.kind.jobs, f"is of jobs: of {_JOBS}"),
    Rule(("job_overlap",), lambda asked: asked.job_frames, "goes with --job-frames"),
    Rule(
        ("source",),
        lambda asked: asked.images or asked.kind.links,
        f"is of what comes from the videos: of --images and {_LINKS}",
    ),
)


@click.command("export", no_args_is_help=True, short_help="Write the tracks for another tool.")
@click.argument("folder", metavar="OUT", type=PATH)
@click.option("--to", "form", required=True, type=click.Choice(list(EXPORTS)), help="The tool, or its format.")
@click.option("-o", "--output", type=PATH, help="Where it goes.  [OUT/export/FORMAT]")
@click.option("--source", type=PATH, help="Where the videos lie now.  [where they lay]")
@click.option("--video", "videos", multiple=True, metavar="NAME", help="Only this video; repeatable.  [all]")
@click.option(
    "--max-error",
    "error_px",
    type=click.FloatRange(min=0, max=1000),
    default=2.0,
    metavar="PIXELS",
    help=f"How far a side may lie beside what follows from the key frames, for {_KEY_FRAMES}.  [2]",
)
@click.option("--images", is_flag=True, help=f"Cut out the frames as JPEG, for {_IMAGES}.")
@click.option(
    "--every", type=click.IntRange(1), default=1, metavar="N", help=f"Only every Nth frame, for {_DATA_SETS}.  [1]"
)
@click.option(
    "--job-frames", type=click.IntRange(2), metavar="N", help=f"Also a file per job of so many frames, for {_JOBS}."
)
@click.option("--job-overlap", type=click.IntRange(0), default=0, metavar="N", help="Frames two jobs share.  [0]")
@click.option("--json", "as_json", is_flag=True, help="What was written as one JSON line on standard output.")
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
    """Write the tracks of a run for another tool: to be corrected, to learn from, to be looked at.

    OUT is the output folder of a run or a job. cvat and labelstudio get key frames, from which the tool interpolates
    the rest; the others every box. An earlier export in the same folder is replaced.
    """
    from engine.exports import ExportSettings, export_run, told
    from engine.finished import FinishedRun

    refuse_idle(_OF_EXPORT, _Asked(EXPORTS[form], images, job_frames))
    if job_frames is not None and job_overlap >= job_frames:
        raise click.BadParameter("less than --job-frames.", param_hint="--job-overlap")
    settings = ExportSettings(error_px, every, images, job_frames, job_overlap)
    run = FinishedRun.load(folder, sources=source, counts=False)
    made = export_run(run, form, settings, output, only=videos)
    if as_json:
        click.echo(json.dumps(told(made)))
    else:
        keys = f" from {counted(made.keys, 'key frame')}" if made.keys is not None else ""
        images_too = f", {counted(made.images, 'image')}" if images else ""
        if images and run.config.blur:
            say("The images are of the sources, which show what the run's annotated videos hide.", err=True)
        say(
            f"{made.folder}: {counted(made.videos, 'video')}, {counted(made.tracks, 'track')}, "
            f"{counted(made.boxes, 'box', 'boxes')}"
            f"{keys}{images_too}"
        )
    return 0


@click.command("import", no_args_is_help=True, short_help="Bring corrected tracks back.")
@click.argument("folder", metavar="OUT", type=PATH)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=PATH)
@click.option("--video", metavar="NAME", help="The video that they are of.  [the only one]")
@click.option("--source", type=PATH, help="Where the videos lie now.  [where they lay]")
@click.option(
    "--first-frame",
    "first_frames",
    multiple=True,
    type=click.IntRange(0),
    metavar="N",
    help="Frame of the video at which a job's file begins; again for each file, in their order.  [0]",
)
@click.option("--json", "as_json", is_flag=True, help="What was made as one JSON line on standard output.")
def import_(
    folder: Path,
    files: tuple[Path, ...],
    video: str | None,
    source: Path | None,
    first_frames: tuple[int, ...],
    as_json: bool,
) -> int:
    """Take tracks back that people have corrected, so that analyze, clips and render use them.

    FILE is what CVAT exports as "CVAT for video 1.1" or "MOT 1.1", an archive or its folder, or any MOTChallenge text.
    What it says of its video must fit. The rows of the video are replaced; what they were before is kept as
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
        say("Times are those of the rows before, interpolated: the source is not there, or has changed.", err=True)
    say(f"Count again with: yolo-engine analyze {done.rows.parent}")
    return 0
