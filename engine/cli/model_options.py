"""The options of every command that runs a model, generated where they name choices."""

from __future__ import annotations

from collections.abc import Callable

import click

from engine.choices import defaults
from engine.choices.backends import AUTO, BACKENDS
from engine.cli.deferred import Command
from engine.cli.description_options import description_options
from engine.cli.paths import PATH
from engine.cli.tracker_options import tracker_options


def with_default(text: str, default: object) -> str:
    """Return an option's help followed by its default."""
    return f"{text}  [{default}]"


def model_options(command: Command) -> Command:
    """Add the options common to all commands that run a model. An option that is not given is None, so that the
    configuration decides."""
    options: list[Callable[[Command], Command]] = [
        click.option("--config", "config_file", type=PATH, help="JSON or TOML file of settings."),
        click.option(
            "--model", metavar="NAME|PATH", help="A name from `models list`, an ONNX file, or a TensorRT plan."
        ),
        description_options,
        click.option("--conf", type=float, help=with_default("Minimum score of a detection.", defaults.CONF)),
        click.option(
            "--nms-iou",
            type=float,
            help=with_default("Overlap above which the lower-scoring box is removed.", defaults.NMS_IOU),
        ),
        click.option("--classes", metavar="A,B,...", help="Keep only these classes."),
        click.option(
            "--class-agnostic/--class-aware",
            default=None,
            help="Let boxes of different classes suppress each other.  [aware]",
        ),
        click.option(
            "--max-detections",
            type=int,
            help=with_default("Maximum number of detections per frame.", defaults.MAX_DETECTIONS),
        ),
        *tracker_options(),
        click.option("--skip-frames", metavar="N|true|false", help="Frames between two inferences.  [false]"),
        click.option(
            "--fill",
            type=click.Choice(["predict", "both"]),
            help="With --skip-frames: boxes between inferences.  [predict]",
        ),
        click.option(
            "--gate", type=click.Choice(["off", "motion"]), help="Infer only what has changed: docs/gate.md.  [off]"
        ),
        click.option(
            "--full-every",
            "full_every_s",
            type=float,
            help="With --gate: seconds from one whole frame to the next.  [2]",
        ),
        click.option(
            "--gate-scale", type=float, help="With --gate: resolution of changed parts; 2: twice as fine.  [1]"
        ),
        click.option("--gate-target", type=float, help="With --gate: box F1 below which the gate opens.  [0.98]"),
        click.option(
            "--scan/--no-scan", default=None, help="Decode only where something moves: docs/gate.md.  [--no-scan]"
        ),
        click.option(
            "--shape", type=click.Choice(["auto", "square", "rect"]), help=with_default("Input shape.", defaults.SHAPE)
        ),
        click.option(
            "--backend",
            type=click.Choice([AUTO, *BACKENDS]),
            help=with_default("Inference backend; fake finds bright squares, for tests.", AUTO),
        ),
        click.option(
            "--precision",
            type=click.Choice(["f32", "bf16", "int8"]),
            help="Precision on a CPU; int8 needs a file from `quantize`.  [f32]",
        ),
        click.option(
            "--device", metavar="auto|cpu|cuda[:N]", help=with_default("Device for inference.", defaults.DEVICE)
        ),
        click.option("--batch", type=int, help=f"Frames per inference.  [1 on a CPU, {defaults.GPU_BATCH} on a GPU]"),
        click.option(
            "--streams",
            type=int,
            help=f"Videos decoded in parallel.  [one per core, {defaults.MIN_STREAMS} to {defaults.MAX_STREAMS}]",
        ),
        click.option(
            "--workers",
            type=int,
            help=f"Inferences in parallel.  [one per core, {defaults.GPU_WORKERS} on a GPU]",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command
