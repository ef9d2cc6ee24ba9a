"""`yolo-engine quantize`: a model in 8-bit integers."""

from __future__ import annotations

import click

from engine.cli.deferred import deferred
from engine.cli.paths import PATH
from models.manifest import LAYOUTS


@click.command(no_args_is_help=True, short_help="Quantize a model to 8-bit integers.")
@click.argument("model", metavar="MODEL")
@click.option("--calib", type=PATH, metavar="DIR", required=True, help="Images to measure with.")
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Where to.  [MODEL.int8.onnx]")
@click.option("--aim", type=click.FloatRange(0, 1), help="Agreement with the float model, F1 at IoU 0.8.  [0.93]")
@click.option("--layout", type=click.Choice(LAYOUTS), help="The model's output layout, where its file does not say.")
@click.option("--class-names", metavar="A,B,...", help="The model's classes, where its file does not say.")
@click.option("--input-size", metavar="H,W", help="The model's input size, where its file leaves it open.")
@click.option("--input-scale", metavar="N|R,G,B", help="What a pixel of 0-255 is multiplied by.")
@click.option("--input-mean", metavar="N|R,G,B", help="What is first subtracted from a pixel of 0-255.")
@click.option("--channel-order", type=click.Choice(["rgb", "bgr"]), help="The model's channel order.")
@deferred("quantize:quantize")
def quantize() -> None:
    """Quantize MODEL, a name of `models list` or an ONNX file, to 8-bit integers for `--precision int8`.

    A hundred images that look like your videos do well. The file written runs in this engine, ONNX Runtime and
    OpenVINO, and `build-trt` takes it; it says itself how it is fed and what its classes are.
    """
