"""`yolo-engine report`: a page that shows the results of a run or a job."""

from __future__ import annotations

import click

from engine.cli.deferred import deferred
from engine.cli.overwrite_option import overwrite_option
from engine.cli.paths import PATH


@click.command(no_args_is_help=True, short_help="Write a page to look at: counts, maps, events, problems.")
@click.argument("folder", metavar="OUT", type=PATH)
@click.option(
    "--language", "report_language", type=click.Choice(["en", "es"]), help="Language of the page.  [the run's, or en]"
)
@click.option("--scene", multiple=True, type=PATH, help="Scene file, or a folder of them; repeatable.")
@click.option("--bin", "bin_s", metavar="LENGTH", help="Length of a bin for counts, such as 15m or 1d.  [the run's]")
@click.option("--zone", metavar="NAME", help="Time zone of the cameras, such as Europe/Berlin.  [the run's]")
@click.option("--clock-start", "start", metavar="TIME", help="Wall-clock time of the first frame.  [the run's]")
@click.option("--camera", metavar="folder|REGEX", help="Which videos are one camera's.  [the run's]")
@click.option("--verdicts", type=PATH, help="Verdicts from a review: leave out what was rejected.")
@overwrite_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print the paths of the pages as one JSON line on standard output."
)
@deferred("report:report")
def report() -> None:
    """Write report.html into OUT, the output folder of a run or a job, or its URL: one page that opens from disk.

    It shows failures first, then counts, where objects went, and every event with its place in the annotated video, to
    confirm or reject by key. A large report becomes an index, with a page per camera in report/.
    """
