"""`yolo-engine audit`: check a finished run against its manifest."""

from __future__ import annotations

import click

from engine.cli.deferred import deferred
from engine.cli.paths import PATH

_SOME = 20


def _frames(_: click.Context, param: click.Parameter, value: str) -> int | None:
    """Return the number of frames; None for all."""
    if value == "all":
        return None
    if not value.isascii() or not value.isdecimal() or len(value) > 9:
        raise click.BadParameter(f"a count, or all. Got {value!r}.", param=param)
    return int(value)


@click.command(no_args_is_help=True, short_help="Check a finished run against its manifest, its sources and its model.")
@click.argument("folder", metavar="OUT", type=PATH)
@click.option(
    "--frames",
    metavar="N|all",
    default=str(_SOME),
    callback=_frames,
    help=f"Frames of each video to infer again; all: compare every row.  [{_SOME}]",
)
@click.option("--seed", type=int, default=0, help="Seed for choosing the frames.  [0]")
@click.option("--source", type=PATH, help="Where the videos are now.  [unchanged]")
@click.option("--model", metavar="NAME|PATH", help="Where the model is now.  [unchanged]")
@click.option("--device", metavar="auto|cpu|cuda[:N]", help="Where to compute.  [the run's]")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as one line of JSON on standard output.")
@deferred("audit:audit")
def audit() -> None:
    """Check a finished run against its manifest, its sources and its model.

    OUT is the output folder of a run or a job, or its URL. The hashes of all outputs and sources are compared, and some
    random frames of each video are inferred again with the stated model and precision. All differences are listed. Exit
    status: 0 no differences, 1 differences.
    """
