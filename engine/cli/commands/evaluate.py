"""`yolo-engine eval`: scores of tracks against ground truth, and of parameter sets over stored detections."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from engine.analytics.evaluation import Scores
from engine.cli.console import screen
from engine.rework import sweep as sweeping
from engine.rework.sweep import Trial
from engine.text.printable import printable
from engine.text.say import say

_COLUMNS = ("HOTA", "DetA", "AssA", "MOTA", "IDF1", "IDSW", "FP", "FN", "ids", "true ids")


def evaluate(tracks: Path, truth: Path, ranges: tuple[str, ...], plain: bool, as_json: bool) -> int:
    """Print the scores of tracks, or of every parameter set in `ranges`."""
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
    """Describe a parameter set: the tracker, and the values tried."""
    tried = [text.partition("=")[0].strip().replace("-", "_") for text in ranges]
    own = [f"{key}={trial.parameters[key]}" for key in tried if key in trial.parameters]
    return " ".join([trial.tracker, *own])


def _print(rows: list[tuple[str, Scores]]) -> None:

    table = Table("", *_COLUMNS, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, scores in rows:
        table.add_row(Text(printable(name)), *map(_shown, asdict(scores).values()))
    screen().print(table)


def _shown(value: float) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
