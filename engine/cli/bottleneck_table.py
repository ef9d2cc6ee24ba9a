"""The verdict as a table with a row per stage, followed by the limit and possible gains in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

from engine.profiling.bottleneck import VerdictJson
from engine.profiling.sentences import sentences, shown

if TYPE_CHECKING:
    from engine.cli.console import Screen

# In the order the data moves.
_ORDER = (
    "open",
    "source",
    "decode",
    "gate",
    "recall",
    "preprocess",
    "infer",
    "postprocess",
    "track",
    "sink",
    "tally",
    "finish",
)


def print_verdict(console: Screen, verdict: VerdictJson | None) -> None:
    """Show the verdict of a summary."""
    if verdict is None:
        console.print("No verdict: no frame was processed.")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("threads", "stage"):
        table.add_column(name, no_wrap=True)
    for name in ("frames", "ms each", "CPU", "no core", "time", "max fps"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in _rows(verdict):
        table.add_row(*row)
    console.print(table, markup=False, highlight=False)
    for line in sentences(verdict):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _rows(verdict: VerdictJson) -> Iterator[list[str]]:
    """Yield the stages of each kind of thread, and waits that take at least 1 % of its time."""
    most = {limit["of"]: f"{limit['fps']:,.0f}" for limit in verdict["limits"]}
    for threads in verdict["threads"]:
        first, last = f"{threads['count']} {threads['of']}", most.get(threads["of"], "")
        for stage in sorted(threads["stages"], key=lambda stage: _ORDER.index(stage["stage"].split()[0])):
            times = [f"{spent:.2f}" for spent in (stage["wall_ms"], stage["cpu_ms"], stage["queued_ms"])]
            frames = f"{stage['frames']:,}" if stage["frames"] else ""
            yield [first, shown(stage["stage"]), frames, *times, f"{stage['busy']:.0%}", last]
            first = last = ""
        waits = {"no frames": threads["waits_input"], "no room": threads["waits_room"], "the end": threads["waits_end"]}
        for what, share in waits.items():
            if share >= 0.01:
                yield ["", f"- {what}", "", "", "", "", f"{share:.0%}", ""]
