"""`yolo-engine audit`: whether a finished run is what its manifest says."""

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
    help=f"Frames of each video that the model sees again; all: each row is compared.  [{_SOME}]",
)
@click.option("--seed", type=int, default=0, help="Which frames are taken.  [0]")
@click.option("--source", type=PATH, help="Where the videos lie now.  [where they lay]")
@click.option("--model", metavar="NAME|PATH", help="Where the model lies now.  [where it lay]")
@click.option("--device", metavar="auto|cpu|cuda[:N]", help="Where to compute.  [the run's]")
@click.option("--json", "as_json", is_flag=True, help="What was found as one line of JSON on standard output.")
@deferred("audit:audit")
def audit() -> None:
    """Check a finished run against its manifest, its sources and its model.

    OUT is the output folder of a run or a job. The hashes of all outputs and sources are compared, and some frames of
    each video, taken at random, are inferred again with the model and the precision claimed. What is not as claimed is
    named. Exit status: 0 all is as claimed, 1 it is not.
    """
