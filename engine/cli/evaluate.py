"""`yolo-engine eval`: scores of tracks against ground truth, and of parameter sets over stored detections."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.text.say import say

if TYPE_CHECKING:
    from engine.analytics.evaluation import Scores
    from engine.rework.sweep import Trial

_COLUMNS = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW", "FP", "FN", "ids", "true ids")


@click.command("eval", short_help="Score tracks against ground truth: HOTA, MOTA, IDF1.")
@click.argument("tracks", metavar="TRACKS", type=click.Path(path_type=Path))
@click.argument("truth", metavar="GT", type=click.Path(path_type=Path))
@click.option("--sweep", "ranges", multiple=True, metavar="KEY=A,B,...", help="Try these values; may be repeated.")
@click.option("--plain", is_flag=True, help="Every row of GT counts: no distractor classes, as of MOT17.")
@click.option("--json", "as_json", is_flag=True, help="The scores as one JSON line on standard output.")
def evaluate(tracks: Path, truth: Path, ranges: tuple[str, ...], plain: bool, as_json: bool) -> int:
    """Score tracks against ground truth in MOTChallenge's form: HOTA, MOTA and IDF1.

    TRACKS is a NAME.mot.txt, or a folder of them; GT a gt.txt, or a folder with NAME/gt/gt.txt, NAME/gt.txt or
    NAME.txt. With --sweep TRACKS holds stored detections (`run --store-conf`), and every combination of the values is
    tried, as in --sweep tracker=sort,bytetrack --sweep max_age=10,30. Needs the extra "eval".
    """
    from engine.rework import sweep as sweeping

    if ranges:
        sets = sweeping.parameter_sets(ranges)

        def tick(number: int, trial: Trial) -> None:
            say(f"{number} of {len(sets)}: {_told(trial, ranges)}: HOTA {trial.scores.hota:.2f}", err=True)

        trials = sweeping.sweep(tracks, truth, sets, distractors=not plain, tick=tick)
        if as_json:
            values = [
                {"tracker": t.tracker, "parameters": dict(t.parameters), "scores": asdict(t.scores)} for t in trials
            ]
            click.echo(json.dumps({"schema": 1, "trials": values}))
        else:
            _print([(_told(trial, ranges), trial.scores) for trial in trials])
        return 0
    each, whole = sweeping.evaluate(tracks, truth, distractors=not plain)
    if as_json:
        sequences = {name: asdict(scores) for name, scores in each.items()}
        click.echo(json.dumps({"schema": 1, "sequences": sequences, "whole": asdict(whole)}))
    else:
        _print([*each.items(), ("whole", whole)])
    return 0


def _told(trial: Trial, ranges: tuple[str, ...]) -> str:
    """The parameter set in words: the tracker, and what was tried of it."""
    tried = [text.partition("=")[0].strip().replace("-", "_") for text in ranges]
    own = [f"{key}={trial.parameters[key]}" for key in tried if key in trial.parameters]
    return " ".join([trial.tracker, *own])


def _print(rows: list[tuple[str, Scores]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from engine.cli.console import screen
    from engine.text.printable import printable

    table = Table("", *_COLUMNS, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, scores in rows:
        table.add_row(Text(printable(name)), *map(_shown, asdict(scores).values()))
    screen().print(table)


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
