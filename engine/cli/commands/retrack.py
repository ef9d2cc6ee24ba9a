"""`yolo-engine retrack` and `render`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from engine.cli.idle import OF_DRAWN, refuse_idle
from engine.cli.statuses import FAILED
from engine.config import EngineConfig
from engine.output_folder.manifest import read_manifest
from engine.rework.render import render as draw
from engine.rework.retrack import retrack as again
from engine.text.counted import counted
from engine.text.say import say


def retrack(folder: Path, output: Path | None, stitch: bool, as_json: bool, overwrite: bool, **options: object) -> int:
    """Make the tracks again and print the outcome. `options` are configuration keys."""
    changes = {key: value for key, value in options.items() if value is not None}
    done = again(folder, output, changes, join=stitch, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps({"schema": 1, "videos": [each.to_json() for each in done]}))
        return 0
    for each in done:
        say(f"{each.store}: {counted(each.frames, 'frame')}, {each.config.tracker}: {each.objects}")
        if each.note:
            say(f"  note: {each.note}")
    return 0


def render(folder: Path, source: Path | None, overwrite: bool, **style: object) -> int:
    """Draw the videos again and print each."""
    partial = False
    changes = {key: value for key, value in style.items() if value is not None and value != ()}
    refuse_idle(OF_DRAWN, EngineConfig(**read_manifest(folder)["config"]).updated(**changes))
    for each in draw(folder, source, changes, overwrite=overwrite):
        partial |= bool(each.problems)
        say(f"{each.path}: {counted(each.frames, 'frame')}" + "".join(f"; {problem}" for problem in each.problems))
    return FAILED if partial else 0
