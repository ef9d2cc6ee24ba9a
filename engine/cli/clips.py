"""`yolo-engine clips`: clips of events, cut from a run's videos."""

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
        "applies to clips cut from the sources, and those of a run with blur come from its annotated videos",
    ),
)


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
def clips(
    folder: Path,
    output: Path | None,
    source: Path | None,
    scene: tuple[Path, ...],
    overwrite: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Cut clips of a scene's events, or of tracks, from the videos of a run.

    OUT is the output folder of a run or a job. A clip contains every frame of its events. By default packets are copied
    from the preceding key frame, which is fast and loses nothing. clips.csv lists the contents of each clip, empty.txt
    the videos in which nothing was found.
    """
    from engine.clips import ClipSettings, clips_json, cut_clips
    from engine.config import clip_keys
    from engine.finished import FinishedRun

    keys = clip_keys({key: value for key, value in options.items() if value is not None})
    run = FinishedRun.load(folder, sources=source, scenes=scene)
    refuse_idle(_OF_CLIPS, run)
    run.check_asked(keys)
    cut = cut_clips(run, ClipSettings.of(keys), output, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps(clips_json(cut)))
    else:
        print_clips(cut)
    return 1 if cut.failed else 0


def print_clips(cut: Cut) -> None:
    """Print each clip on a line, the clips that could not be cut, and where the lists are."""
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
