"""`yolo-engine scene`: a page on which to draw lines and zones."""

from __future__ import annotations

import click

from engine.cli.deferred import deferred
from engine.cli.overwrite_option import overwrite_option
from engine.cli.paths import PATH


@click.command(no_args_is_help=True, short_help="Write a page on which to draw lines and zones.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...", type=PATH)
@click.option("-o", "--output", "page", type=PATH, default="scene.html", help="Page to write.  [scene.html]")
@click.option("--scene", "given", multiple=True, type=PATH, help="Scene file to edit, or a folder of them.")
@click.option("--tracks", metavar="OUT", type=PATH, help="A run whose tracks are shown underneath.")
@click.option("--camera", metavar="folder|REGEX", help="Which videos belong to one camera.  [each its own]")
@overwrite_option
@click.option("--language", type=click.Choice(["en", "es"]), default="en", help="Language of the page.  [en]")
@deferred("scene:scene")
def scene() -> None:
    """Write a page on which to draw lines, zones, ignored regions and map points, and to save them as a scene file.

    INPUT is a video or a folder of them. The page opens from disk and shows each video's scene without moving objects.
    With --tracks it also shows the paths of an earlier run's objects. --scene edits an existing scene file.
    """
