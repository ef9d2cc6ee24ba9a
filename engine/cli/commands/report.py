"""`yolo-engine report`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from engine.analytics.naming import name_of
from engine.analytics.run_answers import config_for_answers
from engine.analytics.settings import AnswerSettings
from engine.analytics.verdicts import read_verdicts
from engine.output_folder.manifest import read_manifest
from engine.report import Written, write_report
from engine.storage.results import results_at
from engine.text.counted import counted
from engine.text.say import say


def report(folder: Path, verdicts: Path | None, overwrite: bool, as_json: bool, **options: Any) -> int:
    """Write the pages and print their paths. `options` are configuration keys."""
    with results_at(folder) as results:
        written = _written(results.folder, verdicts, overwrite, options)
    page, pages = results.named(str(written.report)), [results.named(str(page)) for page in written.pages]
    if as_json:
        click.echo(json.dumps({"report": page, "pages": pages}))
    else:
        say(f"Report: {page}" + (f" and {counted(len(pages), 'page')}" if pages else ""))
    return 0


def _written(folder: Path, verdicts: Path | None, overwrite: bool, options: Mapping[str, Any]) -> Written:
    """Write the pages of the results in a folder."""
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
    return write_report(folder, manifest, settings, language=language, verdicts=judged, overwrite=overwrite)
