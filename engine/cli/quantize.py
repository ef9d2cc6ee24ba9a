"""`yolo-engine quantize`: a model in 8-bit integers."""

from __future__ import annotations

import click

from engine.cli.deferred import deferred
from engine.cli.paths import PATH
from models.layouts import LAYOUTS


@click.command(no_args_is_help=True, short_help="Quantize a model to 8-bit integers.")
@click.argument("model", metavar="MODEL")
@click.option("--calib", type=PATH, metavar="DIR", required=True, help="Calibration images.")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="File to write.  [MODEL.int8.onnx]")
@click.option(
    "--aim", type=click.FloatRange(0, 1), help="Required agreement with the float model, F1 at IoU 0.8.  [0.9]"
)
@click.option("--layout", type=click.Choice(LAYOUTS), help="The model's output layout, if its file does not state it.")
@click.option("--class-names", metavar="A,B,...", help="The model's classes, if its file does not state them.")
@click.option("--input-size", metavar="H,W", help="The model's input size, if its file leaves it open.")
@click.option("--input-scale", metavar="N|R,G,B", help="Factor for pixel values of 0-255.")
@click.option("--input-mean", metavar="N|R,G,B", help="Value first subtracted from pixels of 0-255.")
@click.option("--channel-order", type=click.Choice(["rgb", "bgr"]), help="The model's channel order.")
@deferred("quantize:quantize")
def quantize() -> None:
    """Quantize MODEL, a name of `models list` or an ONNX file, to 8-bit integers for `--precision int8`.

    A hundred images that resemble your videos are enough. The file that is written runs in this engine, ONNX Runtime
    and OpenVINO, and `build-trt` takes it; it states its own input format and classes.
    """
