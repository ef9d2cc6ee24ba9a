"""`make chaos`: breaks a job system in every way that scenarios.py knows, and prints a table.

python -m tests.chaos [--seed N] [--strikes N] [--only NAME ...]

CHAOS_BROKER=rabbitmq, =folder or =sqs breaks it on another broker.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.chaos import brokers
from tests.chaos.scenarios import SCENARIOS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Breaks a job system on purpose.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--strikes", type=int, default=4, help="how often a scenario strikes")
    parser.add_argument("--only", nargs="*", choices=sorted(SCENARIOS), help="these scenarios alone")
    given = parser.parse_args()
    console = Console(width=150)
    table = Table(title=f"seed {given.seed}, {given.strikes} strikes", show_lines=False)
    for column in ("scenario", "result", "s", "remark"):
        table.add_column(column, overflow="fold")
    failed = 0
    for name in given.only or brokers.which(SCENARIOS):
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        begun = time.monotonic()
        try:
            remark, passed = SCENARIOS[name](folder / name[:12], Random(f"{given.seed} {name}"), given.strikes), True
        except Exception as error:  # noqa: BLE001 - one scenario's failure must not hide the others'
            traceback.print_exc()
            remark, passed = f"{type(error).__name__}: {str(error)[:300]}", False
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        failed += not passed
        took = f"{time.monotonic() - begun:.0f}"
        console.print(f"{'passed' if passed else 'FAILED'} {name} in {took} s: {escape(remark)}", soft_wrap=True)
        table.add_row(name, "passed" if passed else "FAILED", took, escape(remark))
    console.print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
