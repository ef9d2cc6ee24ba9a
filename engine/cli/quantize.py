"""`yolo-engine quantize`: a model in 8-bit integers."""

from __future__ import annotations

import click

from engine.cli.deferred import deferred
from engine.cli.description_options import description_options
from engine.cli.paths import PATH


@click.command(no_args_is_help=True, short_help="Quantize a model to 8-bit integers.")
@click.argument("model", metavar="MODEL")
@click.option("--calib", type=PATH, metavar="DIR", required=True, help="Calibration images.")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="File to write.  [MODEL.int8.onnx]")
@click.option(
    "--aim", type=click.FloatRange(0, 1), help="Required agreement with the float model, F1 at IoU 0.8.  [0.9]"
)
@description_options
@deferred("quantize:quantize")
def quantize() -> None:
    """Quantize MODEL, a name of `models list` or an ONNX file, to 8-bit integers for `--precision int8`.

    A hundred images that resemble your videos are enough. The file that is written runs in this engine, ONNX Runtime
    and OpenVINO, and `build-trt` takes it; it states its own input format and classes.
    """
