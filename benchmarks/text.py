"""Readable numbers and tables, on a terminal and in Markdown."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.record import Spread

Lines = Sequence[Sequence[str]]


def number(value: float) -> str:
    """Format with three significant digits, without an exponent if possible."""
    size = abs(value)
    digits = 0 if size >= 100 or value == round(value) else 1 if size >= 10 else 2
    return f"{value:.{digits}f}" if size >= 0.1 or not size else f"{value:.2g}"


def measured(spread: Spread) -> str:
    return f"{number(spread.median)} [{number(spread.low)} .. {number(spread.high)}]"


def table(headings: Sequence[str], lines: Lines) -> str:
    """Format in columns, for a terminal."""
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in (headings, *lines)
    )


def markdown_table(headings: Sequence[str], lines: Lines) -> str:
    rows = (headings, ["---"] * len(headings), *lines)
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def append_line(path: Path | None, fields: Mapping[str, Any]) -> None:
    """Append the fields to a file as a line of JSON; to none if there is no path."""
    if path is not None:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(fields) + "\n")
