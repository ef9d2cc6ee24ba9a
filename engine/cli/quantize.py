"""`yolo-engine quantize`: a model in 8-bit integers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.text.printable import printable
from engine.text.say import say
from models.manifest import LAYOUTS


@click.command(no_args_is_help=True, short_help="Make a model in 8-bit integers of MODEL.")
@click.argument("model", metavar="MODEL")
@click.option("--calib", type=click.Path(path_type=Path), metavar="DIR", required=True, help="Images to measure with.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Where to.  [MODEL.int8.onnx]")
@click.option("--aim", type=click.FloatRange(0, 1), help="Agreement with the float model, F1 at IoU 0.8.  [0.93]")
@click.option("--layout", type=click.Choice(LAYOUTS), help="The model's output layout, where its file does not say.")
@click.option("--class-names", metavar="A,B,...", help="The model's classes, where its file does not say.")
@click.option("--input-size", metavar="H,W", help="The model's input size, where its file leaves it open.")
@click.option("--input-scale", metavar="N|R,G,B", help="What a pixel of 0-255 is multiplied by.")
@click.option("--input-mean", metavar="N|R,G,B", help="What is subtracted from a pixel of 0-255 before.")
@click.option("--channel-order", type=click.Choice(["rgb", "bgr"]), help="The model's channel order.")
def quantize(model: str, calib: Path, output: Path | None, aim: float | None, **options: Any) -> None:
    """Make a model in 8-bit integers of MODEL, a name of `models list` or an ONNX file, for `--precision int8`.

    A hundred images that look like your videos do well. The file written runs in this engine, ONNX Runtime and
    OpenVINO, and `build-trt` takes it; it says itself how it is fed and what its classes are.
    """
    from engine.config import EngineConfig
    from engine.quantize import AIM, quantize_model

    given = {key: value for key, value in options.items() if value is not None}
    target = output or Path(f"{Path(model).name.removesuffix('.onnx')}.int8.onnx")
    config = EngineConfig(model=model, **given)
    made = quantize_model(config, calib, target, aim=AIM if aim is None else aim, say=lambda line: say(line, err=True))
    say(
        f"{made.path}: {made.convolutions} convolutions in 8-bit integers. On {made.images} images it agrees with the "
        f"float model by {made.f1:.3f} (F1 at IoU 0.8)."
    )
    if made.in_float:
        say(f"In float32 stay, for accuracy: {printable(', '.join(made.in_float), 2000)}.")
    say(f"Run it with --model {made.path} --precision int8")
