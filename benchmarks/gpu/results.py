"""The stored results of a run: its rows and a readable table, in files named after the GPU."""

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.context import Context
from benchmarks.machine import ROOT, heading
from benchmarks.record import Row
from benchmarks.text import markdown_table, measured, number, table

FOLDER = ROOT / "benchmarks" / "gpu" / "results"
HEADINGS = ("stage", "case", "unit", "ours", "beside it", "times better", "answer")


def cells(row: Row) -> list[str]:
    peers = list(row.times_better)
    accuracy = ", ".join(f"{name} {number(value)}" for name, value in row.answer.accuracy.items())
    return [
        row.stage,
        row.case,
        row.unit,
        f"{row.ours}: {measured(row.spreads[row.ours])}",
        "; ".join(f"{peer}: {measured(row.spreads[peer])}" for peer in peers) or "-",
        "; ".join(measured(row.times_better[peer]) for peer in peers) or "-",
        f"{row.answer.outcome} ({accuracy})",
    ]


def shown(rows: Sequence[Row]) -> str:
    """Return one table for a terminal, without the checks, which are long and have all passed."""
    return table(HEADINGS[:-1], [cells(row)[:-1] for row in rows])


def file_name(card: str, run: str) -> str:
    """Return the name of this run's files, without a suffix."""
    return f"{re.sub(r'[^a-z0-9]+', '-', card.lower()).strip('-')}-{run}"


def write(rows: Sequence[Row], context: Context, card: str, failures: Sequence[str], folder: Path = FOLDER) -> Path:
    """Return the path of the table, which also lists failures. The rows are beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file_name(card, context.run)}.md"
    path.with_suffix(".jsonl").write_text("".join(row.model_dump_json() + "\n" for row in rows), encoding="utf-8")
    parts = [
        f"# {card}",
        heading(context.machine.model_dump()),
        f"Run {context.run}. Medians, with the lowest and the highest round.",
        markdown_table(HEADINGS, [cells(row) for row in rows]),
        *([f"**Failed:** {failure}" for failure in failures]),
    ]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path
