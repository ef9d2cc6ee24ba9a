"""`yolo-engine audit`."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich.table import Table

from engine.audit import ALL, Audit
from engine.audit import audit as check
from engine.cli.console import screen, tell_on
from engine.cli.statuses import FAILED
from engine.storage.results import results_at
from engine.text.counted import counted
from engine.text.printable import printable
from engine.text.say import say


def audit(
    folder: Path, frames: int | None, seed: int, source: Path | None, as_json: bool, **options: object
) -> int:  # fmt: skip
    """Audit a run and print the findings. `options` are configuration keys."""
    changes = {key: value for key, value in options.items() if value is not None}
    tell = tell_on(screen(stderr=True))
    with results_at(folder, videos=True) as results:
        found = check(
            results.folder,
            frames=ALL if frames is None else frames,
            seed=seed,
            sources=source,
            changes=changes,
            begun=lambda what: tell(f"auditing {what}"),
        )
    if as_json:
        click.echo(json.dumps(found.to_json()))
    else:
        _show(found)
    return 0 if found.passed else FAILED


def _show(found: Audit) -> None:
    for why in found.left_out:
        say(f"Not checked: {why}.")
    for each in found.videos:
        if each.left_out:
            say(f"{each.video or 'a video'}: frames not checked: {each.left_out}")
    if found.findings:
        table = Table("finding", "video", "file", "what is not as claimed", box=None, pad_edge=False)
        for line in found.findings:
            table.add_row(*(printable(text, 4000) for text in (line.kind, line.video, line.file, line.detail)))
        screen().print(table, markup=False, highlight=False)
    frames, boxes, rows = (sum(getattr(each, what) for each in found.videos) for what in ("frames", "boxes", "rows"))
    done = [f"{counted(frames, 'frame')} with {counted(boxes, 'box', 'boxes')} inferred again"] if frames else []
    done += [f"{counted(rows, 'row')} compared with a repeated run"] if rows else []
    verdict = "all is as claimed" if found.passed else counted(len(found.findings), "finding")
    say(
        f"{counted(len(found.videos), 'video')}, {counted(found.files, 'hash', 'hashes')} compared, "
        f"{', '.join(done) or 'no frame inferred again'}: {verdict}."
    )
