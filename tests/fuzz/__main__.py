"""`make fuzz`: tries seeded cases on every target, and prints how many, the worst memory and time, and what failed.

python -m tests.fuzz [--seed N] [--seconds S] [--rounds N] [--only TARGET ...] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.fuzz.harness import TARGETS, fuzz


def _kinds(failures: list[str]) -> list[tuple[str, int]]:
    """The first failure of each kind, and how many are of it: those that differ in quoted names and numbers are one."""
    counts = Counter(_kind(failure) for failure in failures)
    first = {_kind(failure): failure for failure in reversed(failures)}
    return [(first[kind], count) for kind, count in counts.most_common()]


def _kind(failure: str) -> str:
    return re.sub(r"'[^']*'|\"[^\"]*\"|[0-9]+|: [^:]*$", "", failure)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Feeds hostile inputs, seeded.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=180.0, help="for all targets together")
    parser.add_argument("--rounds", type=int, default=None, help="cases a target, instead of seconds")
    parser.add_argument("--only", nargs="*", choices=TARGETS, help="these targets alone")
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="where cases that failed are kept")
    given = parser.parse_args()
    chosen = given.only or TARGETS
    console = Console(width=150)
    table = Table(title=f"seed {given.seed}")
    for column in ("target", "inputs", "worst memory", "worst time", "failures"):
        table.add_column(column)
    failures = []
    for target in chosen:
        seconds = given.seconds / len(chosen) if given.rounds is None else None
        found = fuzz(target, seed=given.seed, seconds=seconds, rounds=given.rounds, keep=given.keep)
        failures += found.failures
        table.add_row(
            target,
            str(found.tried),
            f"{found.peak_bytes / 1e6:.0f} MB",
            f"{found.worst_s:.1f} s",
            str(len(found.failures)),
        )
        for failure, count in _kinds(found.failures):
            console.print(f"FAILED {target} {count} times: {escape(failure)}", soft_wrap=True)
    console.print(table)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
