"""`yolo-engine bench`: the benchmark suite, in a clone. The installed package does not contain `benchmarks`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from engine.cli.idle import Rule, refuse_idle
from engine.cli.paths import PATH

CLONE = Path(__file__).resolve().parents[2]
STAGES = (
    "decode letterbox infer decode_heads sort trackers overlay sinks pipeline answers startup memory curves".split()
)


_OF_BENCH: tuple[Rule[str | None], ...] = (
    Rule(("profile", "stages", "out", "with_report"), lambda command: command is None, "applies to measurements"),
)


@click.group(invoke_without_command=True, short_help="Measure the engine beside its peers and its limit.")
@click.option(
    "--profile",
    type=click.Choice(["quick", "full", "large"]),
    default="quick",
    help="quick takes under three minutes on two cores; full all cases and curves; large longer inputs.  [quick]",
)
@click.option(
    "--stage", "stages", multiple=True, type=click.Choice(STAGES), help="Measure only this stage; repeatable."
)
@click.option("--out", type=PATH, help="Results, JSON lines.  [benchmarks/results/<run>.jsonl]")
@click.option("--report", "with_report", is_flag=True, help="Write benchmarks/RESULTS.md and its plots afterwards.")
@click.pass_context
def bench(context: click.Context, profile: str, stages: tuple[str, ...], out: Path | None, with_report: bool) -> int:
    """Measure each stage and the whole engine against the alternatives and against the limits of the machine.

    Every result is checked. Status 1: a stage failed or gave a wrong result.
    """
    refuse_idle(_OF_BENCH, context.invoked_subcommand)
    if context.invoked_subcommand is not None:
        return 0
    arguments = ["--profile", profile]
    arguments += ["--stage", *stages] if stages else []
    arguments += ["--out", str(out)] if out is not None else []
    arguments += ["--report"] if with_report else []
    return _suite(*arguments)


@bench.command(short_help="Print what got worse between two files of results.")
@click.argument("old", type=PATH)
@click.argument("new", type=PATH)
@click.option("--least", type=float, help="Changes of at most this share don't count.  [0.1]")
def compare(old: Path, new: Path, least: float | None) -> int:
    """Print what got worse from results OLD to results NEW, two files benchmarks/results/<run>.jsonl.

    Ratios to the same peer are compared on any machine, rows without a peer only if both ran on the same type. A change
    counts if it exceeds the spread of the rounds in both files. Status 1: something got worse.
    """
    return _suite("compare", str(old), str(new), *(["--least", str(least)] if least is not None else []))


@bench.command()
@click.argument("files", nargs=-1, type=PATH, metavar="[FILES]")
def report(files: tuple[Path, ...]) -> int:
    """Write benchmarks/RESULTS.md and its plots.

    FILES are results, in which later rows override earlier ones; by default those of the last run.
    """
    return _suite("report", *map(str, files))


def _suite(*arguments: str) -> int:
    """Run it in a separate process, so that the command line itself is not measured."""
    import subprocess  # help need not wait for it

    if not (CLONE / "benchmarks" / "suite.py").is_file():
        raise click.ClickException(
            "The benchmark suite is not part of the installed package. Get a clone of yolo-engine; there: make bench."
        )
    path = os.pathsep.join([str(CLONE), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False).returncode
