"""`yolo-engine bench`: the benchmark suite of a clone. `benchmarks` is not in the installed package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from engine.cli.idle import Rule, refuse_idle
from engine.cli.paths import PATH

CLONE = Path(__file__).resolve().parents[2]
STAGES = "decode letterbox infer decode_heads sort trackers overlay sinks pipeline startup memory curves".split()


_OF_BENCH: tuple[Rule[str | None], ...] = (
    Rule(("profile", "stages", "out", "with_report"), lambda command: command is None, "is of what is measured"),
)


@click.group(invoke_without_command=True, short_help="Measure the engine beside its peers and its limit.")
@click.option(
    "--profile",
    type=click.Choice(["quick", "full", "large"]),
    default="quick",
    help="quick takes under three minutes on two cores; full has all cases and curves; large longer inputs.  [quick]",
)
@click.option(
    "--stage", "stages", multiple=True, type=click.Choice(STAGES), help="Measure this stage only; may be repeated."
)
@click.option("--out", type=PATH, help="Results, JSON lines.  [benchmarks/results/<run>.jsonl]")
@click.option("--report", "with_report", is_flag=True, help="Write benchmarks/RESULTS.md and its plots afterwards.")
@click.pass_context
def bench(context: click.Context, profile: str, stages: tuple[str, ...], out: Path | None, with_report: bool) -> int:
    """Measure each stage and the whole beside what one would use instead, and beside the limit of the machine.

    Every answer is checked. Status 1: a stage failed or gave a wrong answer.
    """
    refuse_idle(_OF_BENCH, context.invoked_subcommand)
    if context.invoked_subcommand is not None:
        return 0
    arguments = ["--profile", profile]
    arguments += ["--stage", *stages] if stages else []
    arguments += ["--out", str(out)] if out is not None else []
    arguments += ["--report"] if with_report else []
    return _suite(*arguments)


@bench.command(short_help="Print what became worse between two files of results.")
@click.argument("old", type=PATH)
@click.argument("new", type=PATH)
@click.option("--least", type=float, help="Changes of at most this share don't count.  [0.1]")
def compare(old: Path, new: Path, least: float | None) -> int:
    """Print what became worse from results OLD to results NEW, two files of benchmarks/results/<run>.jsonl.

    Ratios to the same peer are compared, on any machine; a row without a peer only if both ran on the same kind. A
    change counts if it is larger than the rounds of both differ among themselves. Status 1: something became worse.
    """
    return _suite("compare", str(old), str(new), *(["--least", str(least)] if least is not None else []))


@bench.command()
@click.argument("files", nargs=-1, type=PATH, metavar="[FILES]")
def report(files: tuple[Path, ...]) -> int:
    """Write benchmarks/RESULTS.md and its plots.

    FILES are results, of which rows of later ones win; without any, those of the last run.
    """
    return _suite("report", *map(str, files))


def _suite(*arguments: str) -> int:
    """Run it in a process of its own, so that nothing of the command line is measured with it."""
    import subprocess  # help need not wait for it

    if not (CLONE / "benchmarks" / "suite.py").is_file():
        raise click.ClickException(
            "The benchmark suite is not part of the installed package. Get a clone of yolo-engine; there: make bench."
        )
    path = os.pathsep.join([str(CLONE), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": path}, check=False).returncode
