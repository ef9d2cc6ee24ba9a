"""`yolo-engine build-trt`: its options."""

from __future__ import annotations

import click

from engine.choices.defaults import GPU_BATCH
from engine.cli.deferred import deferred
from engine.cli.description_options import description_options
from engine.cli.paths import PATH

_MAX_MIB = 1 << 20


def _mib(context: click.Context, option: click.Parameter, value: int | None) -> int | None:
    """Check a range. An IntRange would show up in --help as a condition on x."""
    if value is not None and not 1 <= value <= _MAX_MIB:
        raise click.BadParameter(f"must be in [1, {_MAX_MIB}]. Got {value}.")
    return value


@click.command("build-trt", short_help="Build a TensorRT plan of a model.", no_args_is_help=True)
@click.argument("model", metavar="MODEL")
@click.option("-o", "--output", type=PATH, metavar="PLAN", help="File for the plan.  [in the user's cache]")
@click.option(
    "--flavor",
    type=click.Choice(["auto", "tensorrt", "rtx"]),
    default="auto",
    help="tensorrt builds on the GPU that will run the plan; rtx (TensorRT for RTX) builds anywhere.  [auto]",
)
@click.option(
    "--compute-capability",
    metavar="X.Y",
    help="Build ahead of time for GPUs of this capability (rtx): 7.5, 8.0, 8.6, 8.9, 12.0.  [this machine's GPU]",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "fp16", "bf16", "int8"]),
    default="fp16",
    help="Precision of the convolutions.  [fp16]",
)
@click.option("--calib", type=PATH, metavar="DIR", help="Images to calibrate int8 with.")
@click.option("--min-batch", type=int, default=1, help="Minimum number of frames per inference.  [1]")
@click.option("--opt-batch", type=int, help="Batch size to tune for.  [the maximum]")
@click.option("--max-batch", type=int, help=f"Maximum number of frames per inference.  [{GPU_BATCH}]")
@click.option(
    "--shape",
    metavar="auto|square|rect|HxW",
    default="auto",
    help="Input sizes: the model's square, any rectangle in it, or one size.  [auto: rect if the model allows it]",
)
@click.option(
    "--workspace", type=int, callback=_mib, metavar="MIB", help="Maximum memory of a layer, in MiB.  [no limit]"
)
@click.option(
    "--timing-cache",
    type=PATH,
    metavar="FILE",
    help="Cache kernel timings in this file (tensorrt).",
)
@description_options
@click.option("--verbose", is_flag=True, help="Show TensorRT's messages on standard error.")
@deferred("build_trt:build_trt")
def build_trt() -> None:
    """Build a TensorRT plan of MODEL, a name of `models list` or an ONNX file.

    Writes PLAN and, beside it, PLAN.json, a record that is checked before the plan is loaded. An existing plan that was
    made from exactly the same inputs is left as it is.
    """
