"""`yolo-engine scene`: a page on which lines and zones are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from engine.cli.overwrite_option import overwrite_option
from engine.cli.paths import PATH
from engine.text.counted import counted
from engine.text.say import say


@click.command(no_args_is_help=True, short_help="Write a page on which to draw lines and zones.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=PATH)
@click.option("-o", "--output", "page", type=PATH, default="scene.html", help="[scene.html]")
@click.option("--scene", "given", multiple=True, type=PATH, help="Scene file to edit, or a folder of them.")
@click.option("--tracks", metavar="OUT", type=PATH, help="A run whose tracks are shown beneath.")
@click.option("--camera", metavar="folder|REGEX", help="Which videos are one camera's.  [each its own]")
@overwrite_option
@click.option("--language", type=click.Choice(["en", "es"]), default="en", help="Of the page.  [en]")
def scene(
    inputs: tuple[Path, ...],
    page: Path,
    given: tuple[Path, ...],
    tracks: Path | None,
    camera: str | None,
    overwrite: bool,
    language: Literal["en", "es"],
) -> int:
    """Write a page on which lines, zones, ignored regions and map points are drawn, and which gives the scene file.

    INPUT is a video, or a folder of them. The page shows each video's scene without those who pass, and opens from
    disk. With --tracks, the paths of an earlier run's objects lie beneath. A scene file that is given is edited.
    """
    from engine.analytics.settings import load_scenes
    from engine.answers import read_manifest
    from engine.config import EngineConfig
    from engine.report import write_scene_page

    config = EngineConfig(**{} if camera is None else {"camera": camera})
    count = write_scene_page(
        inputs,
        page,
        scenes=load_scenes(given),
        camera=config.camera,
        earlier=None if tracks is None else (tracks, read_manifest(tracks)),
        language=language,
        overwrite=overwrite,
    )
    what = counted(count, "frame")
    say(f"Page: {page}, with {what} to draw on. Open it, draw, and download the scene file.")
    return 0
