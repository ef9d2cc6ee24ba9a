"""`yolo-engine retrack` and `render`: tracks again from stored detections, and the annotated video from tracks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from engine.cli.overlay_options import overlay_options
from engine.cli.tracker_options import tracker_options
from engine.text.say import say


def _with_tracker(command: Any) -> Any:
    for option in reversed(tracker_options()):
        command = option(command)
    return command


@click.command(short_help="Make tracks again from stored detections, without the model.")
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Another folder for the new tracks.  [OUT]")
@click.option("--conf", type=float, help="Lowest score of a detection.  [the run's]")
@click.option("--class-agnostic/--class-aware", default=None, help="Tracks may change their class.  [the run's]")
@_with_tracker
@click.option("--stitch", is_flag=True, help="Give the fragments of an object one id.")
@click.option("--json", "as_json", is_flag=True, help="What was done as one JSON line on standard output.")
def retrack(folder: Path, output: Path | None, stitch: bool, as_json: bool, **options: Any) -> int:
    """Make tracks again from stored detections, without the model.

    OUT is the output folder of a run with --store-conf, of a job as well, or one NAME.detections.bin. NAME.tracks.jsonl
    and NAME.mot.txt are replaced; what is not given is as in the run. retrack.json says what was done.
    """
    from engine.rework.retrack import retrack as again

    changes = {key: value for key, value in options.items() if value is not None}
    done = again(folder, output, changes, join=stitch)
    if as_json:
        click.echo(json.dumps({"schema": 1, "videos": [each.to_json() for each in done]}))
        return 0
    for each in done:
        say(f"{each.store}: {each.frames} frames, {each.config.tracker}: {each.objects}")
        if each.note:
            say(f"  note: {each.note}")
    return 0


@click.command(short_help="Draw the annotated videos of a run again.")
@click.argument("folder", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--source", type=click.Path(path_type=Path), help="Where the videos lie now.  [where they lay]")
@overlay_options
def render(folder: Path, source: Path | None, **style: Any) -> int:
    """Draw the annotated videos of a run again, from their sources and the tracks as they are now.

    OUT is the output folder of a run or a job. A source must be the file that the run had read: its hash is checked.
    The look is the run's, but for the options given here.
    """
    from engine.rework.render import render as draw

    partial = False
    changes = {key: value for key, value in style.items() if value is not None}
    for each in draw(folder, source, changes):
        partial |= bool(each.problems)
        say(f"{each.path}: {each.frames} frames" + "".join(f"; {problem}" for problem in each.problems))
    return 1 if partial else 0
