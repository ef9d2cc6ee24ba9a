"""`yolo-engine clips`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from engine.cli.idle import Rule, refuse_idle
from engine.clips import ClipSettings, Cut, clips_json, cut_clips
from engine.config import clip_keys
from engine.finished import FinishedRun
from engine.storage.results import results_at
from engine.text.counted import counted
from engine.text.say import say

_OF_CLIPS: tuple[Rule[FinishedRun], ...] = (
    Rule(
        ("source",),
        lambda run: not run.config.blur,
        "applies to clips cut from the sources, and those of a run with blur come from its annotated videos",
    ),
)


def clips(
    folder: Path,
    output: Path | None,
    source: Path | None,
    scene: tuple[Path, ...],
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Cut the clips and print them. `options` are keys of the configuration's `clips`."""

    keys = clip_keys({key: value for key, value in options.items() if value is not None})
    with results_at(folder) as results:
        run = FinishedRun.load(results.folder, sources=source, scenes=scene)
        refuse_idle(_OF_CLIPS, run)
        run.check_asked(keys)
        cut = cut_clips(run, ClipSettings.of(keys), output, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps(results.told(clips_json(cut))))
    else:
        _print(cut, results.named(str(cut.folder)))
    return 1 if cut.failed else 0


def _print(cut: Cut, folder: str) -> None:
    """Print each clip on a line, the clips that could not be cut, and where the lists are."""
    for clip in cut.clips:
        span = f"{clip.ends_s - clip.begins_s:.1f} s from {clip.begins_s:.1f} s"
        note = f" ({clip.note})" if clip.note else ""
        say(f"{clip.name}: {clip.mode}, {span}, frames {clip.first_frame} to {clip.last_frame}{note}")
    for name, why in cut.failed.items():
        say(f"{name}: no clips: {why}", err=True)
    copied = sum(clip.mode == "copy" for clip in cut.clips)
    say(
        f"{counted(len(cut.clips), 'clip')} ({copied} copied, {len(cut.clips) - copied} encoded) in {folder}; "
        "clips.csv and empty.txt are there, too."
    )
