"""`yolo-engine verify`, `plan` and `doctor`: what holds on a user's own videos, and what works on this machine."""

from __future__ import annotations

import click

from engine.cli.deferred import deferred
from engine.cli.lengths import length
from engine.cli.model_options import model_options, with_default


@click.command(short_help="Prove on your own video that batching never changes a result.")
@click.argument("video", metavar="INPUT")
@click.option(
    "--with",
    "others",
    multiple=True,
    metavar="INPUT",
    help="Videos to mix with, three at most.  [others in its folder]",
)
@click.option("--against", metavar="MODEL", help="With --precision int8: the float model to compare with.")
@model_options
@deferred("verify:verify")
def verify() -> None:
    """Prove on your own video that batch size, workers and other videos never change a result.

    Runs INPUT at batch 1, 4 and 8, with 1 and 2 workers, alone and mixed with other videos, and compares the tracks.
    With --precision bf16 or int8 it measures instead how well that agrees with f32 on INPUT, and how much faster it is.
    """


@click.command(short_help="Find the fastest settings that reach a target on your own video.")
@click.argument("video", metavar="VIDEO")
@click.option("--target", type=click.FloatRange(0, 1), default=0.98, help=with_default("F1 of boxes to reach.", 0.98))
@click.option("--with", "others", multiple=True, metavar="MODEL", help="Another model to try; repeatable.")
@click.option("--probe", "probe_s", metavar="TIME", callback=length, help="How much of the video to sample.  [12s]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one line of JSON on standard output.")
@model_options
@deferred("plan:plan")
def plan() -> None:
    """Find which model, size, precision and gate reach a target on VIDEO, and how fast each runs on this machine.

    A few seconds of VIDEO are run with each setting, and the boxes compared with those of --model at its own size, in
    f32, with every frame inferred: F1 at IoU 0.5, class by class. Exit status 1: no faster setting reaches the target.
    """


@click.command()
@deferred("doctor:doctor")
def doctor() -> None:
    """Show what is installed and working here."""
