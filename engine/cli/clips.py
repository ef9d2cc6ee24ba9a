"""`yolo-engine clips`: what happened in a run's videos, cut out of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.idle import Rule, refuse_idle
from engine.cli.overwrite_option import overwrite_option
from engine.cli.paths import PATH
from engine.text.counted import counted
from engine.text.say import say

if TYPE_CHECKING:
    from engine.clips import Cut
    from engine.finished import FinishedRun


_OF_CLIPS: tuple[Rule[FinishedRun], ...] = (
    Rule(
        ("source",),
        lambda run: not run.config.blur,
        "is of clips that are cut from the sources, and those of a run that blurs come from its annotated videos",
    ),
)


@click.command(no_args_is_help=True, short_help="Cut out of the videos what happened in them.")
@click.argument("folder", metavar="OUT", type=PATH)
@click.option("-o", "--output", type=PATH, help="Where the clips go.  [OUT/clips]")
@click.option("--source", type=PATH, help="Where the videos lie now.  [where they lay]")
@click.option(
    "--kind", "kinds", metavar="A,B,...", help="crossing, enter, leave, stay, track.  [crossing,stay; no scene: track]"
)
@click.option("--class", "classes", metavar="A,B,...", help="Classes of the tracks.  [all]")
@click.option("--place", "places", metavar="A,B,...", help="Names of lines and zones.  [all]")
@click.option("--direction", "directions", metavar="A,B,...", help="Words for directions over lines.  [all]")
@click.option("--longer", "longer_s", metavar="TIME", help="Stays and tracks that last at least so long, such as 30s.")
@click.option("--shorter", "shorter_s", metavar="TIME", help="Stays and tracks that last at most so long.")
@click.option("--pre", "pre_s", metavar="TIME", help="How much of the video before it.  [5s]")
@click.option("--post", "post_s", metavar="TIME", help="How much after it.  [5s]")
@click.option("--merge-gap", "merge_gap_s", metavar="TIME", help="Join what is no further apart.  [2s]")
@click.option("--max-length", "max_length_s", metavar="TIME", help="Longest clip; what lasts longer is cut.  [5m]")
@click.option("--exact/--copy", default=None, help="Begin and end at the very frame, encoded anew if need be.  [copy]")
@click.option("--scene", multiple=True, type=PATH, help="Scene file instead of the run's; repeatable.")
@overwrite_option
@click.option("--json", "as_json", is_flag=True, help="What was cut as one JSON line on standard output.")
def clips(
    folder: Path,
    output: Path | None,
    source: Path | None,
    scene: tuple[Path, ...],
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Cut out of the videos of a run what happened in them: events of a scene, or tracks.

    OUT is the output folder of a run or a job. A clip holds every frame of the events it is for. By default packets are
    copied, from the last key frame before: nothing is lost, and it is fast. clips.csv says what is in each clip,
    empty.txt in which videos nothing was found.
    """
    from engine.clips import ClipSettings, cut_clips, told
    from engine.config import clip_keys
    from engine.finished import FinishedRun

    keys = clip_keys({key: value for key, value in options.items() if value is not None})
    run = FinishedRun.load(folder, sources=source, scenes=scene)
    refuse_idle(_OF_CLIPS, run)
    run.check_asked(keys)
    cut = cut_clips(run, ClipSettings.of(keys), output, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps(told(cut)))
    else:
        print_clips(cut)
    return 1 if cut.failed else 0


def print_clips(cut: Cut) -> None:
    """Say what was cut, a line each, what could not be, and where the lists are."""
    for clip in cut.clips:
        span = f"{clip.ends_s - clip.begins_s:.1f} s from {clip.begins_s:.1f} s"
        note = f" ({clip.note})" if clip.note else ""
        say(f"{clip.name}: {clip.mode}, {span}, frames {clip.first_frame} to {clip.last_frame}{note}")
    for name, why in cut.failed.items():
        say(f"{name}: no clips: {why}", err=True)
    copied = sum(clip.mode == "copy" for clip in cut.clips)
    say(
        f"{counted(len(cut.clips), 'clip')} ({copied} copied, {len(cut.clips) - copied} encoded) in {cut.folder}; "
        "clips.csv and empty.txt are there, too."
    )
