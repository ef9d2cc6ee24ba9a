"""Runs the stages in sequence, and shows and stores each row: results/<run>.jsonl."""

import importlib
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.context import Context, ProfileName, Stage
from benchmarks.machine import ROOT, heading
from benchmarks.record import Row
from benchmarks.text import measured, number

RESULTS = ROOT / "benchmarks" / "results"
# Load before a run, relative to the cores, above which the machine is not idle.
BUSY = 0.25
# In the order of the data; then the whole.
STAGES = (
    "decode",
    "letterbox",
    "infer",
    "decode_heads",
    "sort",
    "trackers",
    "overlay",
    "sinks",
    "pipeline",
    "answers",
    "startup",
    "memory",
    "curves",
)


def run(profile: ProfileName, stages: Iterable[str] = STAGES, out: Path | None = None) -> tuple[Path, list[Row], int]:
    """Run the stages; return the file of results, its rows, and the number of failed stages (errors or wrong results).

    A failed stage is reported, its rows so far are kept, and the next one is run.
    """
    context = Context.begin(profile)
    path = out or RESULTS / f"{context.run}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    print(heading(context.machine.model_dump()))
    if context.machine.load_before > BUSY * context.machine.cores:
        print("Other programs are at work here: figures and their spread say little, ratios hold better.")
    rows: list[Row] = []
    failed = 0
    with path.open("w", encoding="utf-8") as stream:
        for name in stages:
            start = time.monotonic()
            print(f"\n{name}", flush=True)
            try:
                stage: Stage = importlib.import_module(f"benchmarks.stages.{name}")
                for row in stage.measure(context):
                    rows.append(row)
                    stream.write(row.model_dump_json() + "\n")
                    stream.flush()
                    print(shown(row), flush=True)
            except (Exception, SystemExit) as error:  # noqa: BLE001  (whatever it is, the other stages are run)
                failed += 1
                print(f"  FAILED: {type(error).__name__}: {error}", flush=True)
            print(f"  {time.monotonic() - start:.0f} s", flush=True)
    return path, rows, failed


def shown(row: Row) -> str:
    """Format a row: the figures of each participant, and how many times better ours is."""
    lines = [f"  {row.case}: {row.ours} {measured(row.spreads[row.ours])} {row.unit}"]
    for peer, times in row.times_better.items():
        lines.append(f"    {peer} {measured(row.spreads[peer])}: {measured(times)} times better")
    lines.append(f"    {row.answer.outcome}, {', '.join(f'{k} {number(v)}' for k, v in row.answer.accuracy.items())}")
    return "\n".join([*lines, *(f"    verdict: {line}" for line in verdict_of(row))])


def verdict_of(row: Row) -> list[str]:
    """Return what the engine reported about its own run, if anything."""
    said = row.parameters.get("verdict", [])
    return [said] if isinstance(said, str) else [str(line) for line in said]
