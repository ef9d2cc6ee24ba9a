"""`yolo-engine export` and `import`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import click

from engine.choices.formats import EXPORTS, ExportFormat, exports_that
from engine.cli.idle import Rule, refuse_idle
from engine.exports import ExportSettings, export_json, export_run, import_corrected
from engine.finished import FinishedRun
from engine.storage.results import results_at
from engine.text.counted import counted
from engine.text.say import say


class _Asked(NamedTuple):
    kind: ExportFormat
    images: bool
    job_frames: int | None


_OF_EXPORT: tuple[Rule[_Asked], ...] = (
    Rule(
        ("error_px",),
        lambda asked: asked.kind.key_frames,
        f"applies to key frames: {exports_that(lambda kind: kind.key_frames)}",
    ),
    Rule(("images",), lambda asked: asked.kind.images, f"applies to {exports_that(lambda kind: kind.images)}"),
    Rule(
        ("every",),
        lambda asked: asked.kind.data_set,
        f"applies to data sets of images: {exports_that(lambda kind: kind.data_set)}",
    ),
    Rule(
        ("job_frames", "job_overlap"),
        lambda asked: asked.kind.jobs,
        f"applies to jobs: {exports_that(lambda kind: kind.jobs)}",
    ),
    Rule(("job_overlap",), lambda asked: asked.job_frames, "goes with --job-frames"),
    Rule(
        ("source",),
        lambda asked: asked.images or asked.kind.links,
        f"applies to files made from the videos: --images and {exports_that(lambda kind: kind.links)}",
    ),
)


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
    """Write the export and print what it contains."""

    refuse_idle(_OF_EXPORT, _Asked(EXPORTS[form], images, job_frames))
    if job_frames is not None and job_overlap >= job_frames:
        raise click.BadParameter("less than --job-frames.", param_hint="--job-overlap")
    settings = ExportSettings(error_px, every, images, job_frames, job_overlap)
    with results_at(folder) as results:
        run = FinishedRun.load(results.folder, sources=source, counts=False)
        made = export_run(run, form, settings, output, only=videos)
    if as_json:
        click.echo(json.dumps(results.told(export_json(made))))
    else:
        keys = f" from {counted(made.keys, 'key frame')}" if made.keys is not None else ""
        images_too = f", {counted(made.images, 'image')}" if images else ""
        if images and run.config.blur:
            say("The images are from the sources, which show what the run's annotated videos hide.", err=True)
        say(
            f"{results.named(str(made.folder))}: {counted(made.videos, 'video')}, {counted(made.tracks, 'track')}, "
            f"{counted(made.boxes, 'box', 'boxes')}"
            f"{keys}{images_too}"
        )
    return 0


def import_(
    folder: Path,
    files: tuple[Path, ...],
    video: str | None,
    source: Path | None,
    first_frames: tuple[int, ...],
    as_json: bool,
) -> int:
    """Take over the corrections and print what they are."""

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
