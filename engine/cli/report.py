"""`yolo-engine report`: a page that shows the results of a run or a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from engine.cli.overwrite_option import overwrite_option
from engine.cli.paths import PATH
from engine.text.counted import counted
from engine.text.say import say


@click.command(no_args_is_help=True, short_help="Write a page to look at: counts, maps, events, problems.")
@click.argument("folder", metavar="OUT", type=PATH)
@click.option(
    "--language", "report_language", type=click.Choice(["en", "es"]), help="Language of the page.  [the run's, or en]"
)
@click.option("--scene", multiple=True, type=PATH, help="Scene file, or a folder of them; repeatable.")
@click.option("--bin", "bin_s", metavar="LENGTH", help="Length of a bin for counts, such as 15m.  [the run's]")
@click.option("--zone", metavar="NAME", help="Time zone of the cameras, such as Europe/Berlin.  [the run's]")
@click.option("--clock-start", "start", metavar="TIME", help="Wall-clock time of the first frame.  [the run's]")
@click.option("--camera", metavar="folder|REGEX", help="Which videos are one camera's.  [the run's]")
@click.option("--verdicts", type=PATH, help="Verdicts from a review: leave out what was rejected.")
@overwrite_option
@click.option(
    "--json", "as_json", is_flag=True, help="Print the paths of the pages as one JSON line on standard output."
)
def report(folder: Path, verdicts: Path | None, overwrite: bool, as_json: bool, **options: Any) -> int:
    """Write report.html into OUT, the output folder of a run or a job: one page that opens from disk.

    It shows failures first, then counts, where objects went, and every event with its place in the annotated video, to
    confirm or reject by key. A large report becomes an index, with a page per camera in report/.
    """
    from engine.analytics.naming import name_of
    from engine.analytics.run_answers import config_for_answers
    from engine.analytics.settings import AnswerSettings
    from engine.analytics.verdicts import read_verdicts
    from engine.output_folder.manifest import read_manifest
    from engine.report import write_report

    manifest = read_manifest(folder)
    given = {key: value for key, value in options.items() if value not in (None, ())}
    config = config_for_answers(manifest.get("config", {}), given)
    judged = read_verdicts(verdicts) if verdicts is not None else None
    settings = AnswerSettings.of(config)
    if "scene" in given:
        names = [name_of(entry) for entry in manifest["videos"] if "stem" in entry]
        if (unused := settings.check_videos(names)) is not None:
            say(f"Warning: {unused}", err=True)
    language = config.report_language
    written = write_report(folder, manifest, settings, language=language, verdicts=judged, overwrite=overwrite)
    if as_json:
        click.echo(json.dumps({"report": str(written.report), "pages": [str(page) for page in written.pages]}))
    else:
        say(f"Report: {written.report}" + (f" and {counted(len(written.pages), 'page')}" if written.pages else ""))
    return 0
