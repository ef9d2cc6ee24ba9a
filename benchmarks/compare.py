"""Regressions between two runs, by the ratio to a peer, which is comparable across machines and under load.

A row without a peer in both runs is judged by its own figure, if both ran on the same kind of machine. Rows of the same
name with different inputs, as in another profile, are not compared.

A change counts if it exceeds the given minimum and the interquartile range of the rounds of both runs, and is visible
in nine of ten pairs of an old and a new round: two runs may differ by as much as the rounds of one do.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.record import Row
from benchmarks.text import number, table

MIN_CHANGE = 0.1
AGREEING = 0.9
# Reference values in a row that are not independent programs, and may change with ours.
OWN = ("limit",)


@dataclass(frozen=True)
class Change:
    """One measure of one row. `share` is the improvement (above 0) or regression (below), `noise` what it takes to
    count, and `agreeing` the share of pairs of an old and a new round that changed the same way."""

    row: str
    measure: str
    old: float
    new: float
    share: float
    noise: float
    agreeing: float

    def counts(self, least: float) -> bool:
        return abs(self.share) > max(least, self.noise) and self.agreeing >= AGREEING


def compared(old: Sequence[Row], new: Sequence[Row], least: float = MIN_CHANGE) -> tuple[str, int]:
    """Return the comparison as text, and the number of regressions."""
    before, after = by_key(old), by_key(new)
    shared = [key for key in after if key in before]
    changes, apart = [], []
    for key in shared:
        name = " ".join(key)
        if before[key].input != after[key].input:
            apart.append(f"{name}: {before[key].input} | {after[key].input}")
        elif found := changes_of(before[key], after[key]):
            changes += found
        else:
            apart.append(f"{name}: no peer in both, and another machine")
    worse = sorted((c for c in changes if c.counts(least) and c.share < 0), key=lambda c: c.share)
    better = sorted((c for c in changes if c.counts(least) and c.share > 0), key=lambda c: -c.share)
    parts = [
        f"{len(shared)} rows in both runs, {len(changes)} measures; a change of {least:.0%} or less doesn't count."
    ]
    parts += [f"\nWorse:\n{listed(worse)}" if worse else "\nNo regression."]
    parts += [f"\nBetter:\n{listed(better)}"] if better else []
    parts += [f"\nNot compared:\n{lines(apart)}"] if apart else []
    for name, there, others in (("OLD", before, after), ("NEW", after, before)):
        only = [" ".join(key) for key in there if key not in others]
        parts += [f"\nOnly in {name}:\n{lines(only)}"] if only else []
    return "\n".join(parts), len(worse)


def by_key(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    return {(row.stage, row.case): row for row in rows}


def changes_of(old: Row, new: Row) -> list[Change]:
    """Compare by each common peer; without one, by the absolute figure if machine and unit are the same."""
    name = f"{new.stage} {new.case}"
    peers = [peer for peer in new.times_better if peer in old.times_better]
    found = [change(name, f"times {peer}", old.ratios(peer), new.ratios(peer)) for peer in peers]
    if all(peer in OWN for peer in peers) and same_machine(old, new) and old.unit == new.unit:
        ours, theirs = new.figures[new.ours], old.figures[old.ours]
        found.append(change(name, new.unit, theirs, ours, lower_is_better=new.better == "lower"))
    return found


def same_machine(old: Row, new: Row) -> bool:
    return (old.machine.cpu, old.machine.cores) == (new.machine.cpu, new.machine.cores)


def change(row: str, measure: str, old: list[float], new: list[float], *, lower_is_better: bool = False) -> Change:
    before, after = statistics.median(old), statistics.median(new)
    ratio = before / after if lower_is_better else after / before
    agreeing = statistics.mean((two > one) == (after > before) for one in old for two in new)
    return Change(row, measure, before, after, ratio - 1, middle_half(old) + middle_half(new), agreeing)


def middle_half(values: list[float]) -> float:
    """Return the interquartile range relative to the median."""
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / median


def listed(changes: Sequence[Change]) -> str:
    cells = [(c.row, c.measure, number(c.old), number(c.new), f"{c.share:+.0%}", f"{c.noise:.0%}") for c in changes]
    return table(("row", "measure", "old", "new", "change", "noise"), cells)


def lines(items: Sequence[str]) -> str:
    return "\n".join(f"  {item}" for item in items)
