"""The command line `yolo-engine`.

Exit status: 0 all videos done, 1 some failed or are partial, 2 wrong usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from engine.choices import defaults
from engine.choices.backends import AUTO, BACKENDS
from engine.choices.formats import FORMATS
from engine.cli.analyze import analyze
from engine.cli.audit import audit
from engine.cli.bench import bench
from engine.cli.clips import clips
from engine.cli.deferred import deferred
from engine.cli.evaluate import evaluate
from engine.cli.exports import export, import_
from engine.cli.find import find
from engine.cli.lengths import length
from engine.cli.models import models
from engine.cli.overlay_options import overlay_options
from engine.cli.paths import PATH
from engine.cli.quantize import quantize
from engine.cli.report import report
from engine.cli.retrack import render, retrack
from engine.cli.scene import scene
from engine.cli.statuses import FAILED, INTERRUPTED, USAGE
from engine.cli.tracker_options import tracker_options
from engine.cli.trt import build_trt
from engine.errors import (
    BackendMissing,
    ConfigError,
    EngineError,
    InputError,
    ModelError,
    OutputError,
    describe_os_error,
)
from engine.logs import set_up_logging
from engine.text.say import say, show_usage
from models.errors import ModelError as ModelPackageError
from models.layouts import LAYOUTS

# Import nothing heavy here, so that --help answers at once.


def main() -> None:
    """Run the console script and exit with its status."""
    for stream in (sys.stdout, sys.stderr):  # a file name may contain text that they can't encode
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    usage = (BackendMissing, ConfigError, InputError, ModelError, ModelPackageError, OutputError)
    try:
        status = commands.main(prog_name="yolo-engine", standalone_mode=False)
    except click.exceptions.Abort:
        status = INTERRUPTED
    except KeyboardInterrupt:
        status = INTERRUPTED
    except click.ClickException as error:
        show_usage(error)
        status = USAGE
    except (EngineError, ModelPackageError) as error:
        say(f"Error: {error}", err=True)
        status = USAGE if isinstance(error, usage) else FAILED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = FAILED
    except OSError as error:
        about = f"{error.filename}: " if error.filename else ""
        say(f"Error: {about}{describe_os_error(error)}.", err=True)
        status = FAILED
    sys.exit(status or 0)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="yolo-engine")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    help="Minimum severity of messages on standard error.  [warning]",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Messages as text, or as one JSON object per line.  [text]",
)
def commands(log_level: str, log_format: str) -> None:
    """Detect and track objects in videos: a folder in, tracks and annotated videos out."""
    set_up_logging(log_level, log_format)


_Command = Callable[..., Any]


def _told(text: str, default: object) -> str:
    """Return an option's help followed by its default."""
    return f"{text}  [{default}]"


def _model_options(command: _Command) -> _Command:
    """Add the options common to all commands that run a model. An option that is not given is None, so that the
    configuration decides."""
    options: list[Callable[[_Command], _Command]] = [
        click.option("--config", "config_file", type=PATH, help="JSON or TOML file of settings."),
        click.option(
            "--model", metavar="NAME|PATH", help="A name from `models list`, an ONNX file, or a TensorRT plan."
        ),
        click.option(
            "--layout",
            type=click.Choice(LAYOUTS),
            help="The model's output layout, if its file does not state it.",
        ),
        click.option("--class-names", metavar="A,B,...", help="The model's classes, if its file does not state them."),
        click.option("--input-size", metavar="H,W", help="The model's input size, if its file leaves it open."),
        click.option("--input-scale", metavar="N|R,G,B", help="Factor for pixel values of 0-255."),
        click.option("--input-mean", metavar="N|R,G,B", help="Value first subtracted from pixels of 0-255."),
        click.option("--channel-order", type=click.Choice(["rgb", "bgr"]), help="The model's channel order."),
        click.option("--conf", type=float, help=_told("Minimum score of a detection.", defaults.CONF)),
        click.option(
            "--nms-iou",
            type=float,
            help=_told("Overlap above which the lower-scoring box is removed.", defaults.NMS_IOU),
        ),
        click.option("--classes", metavar="A,B,...", help="Keep only these classes."),
        click.option(
            "--class-agnostic/--class-aware",
            default=None,
            help="Let boxes of different classes suppress each other.  [aware]",
        ),
        click.option(
            "--max-detections", type=int, help=_told("Maximum number of detections per frame.", defaults.MAX_DETECTIONS)
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
            "--full-every", "full_every_s", type=float, help="With --gate: maximum seconds between whole frames.  [2]"
        ),
        click.option(
            "--gate-scale", type=float, help="With --gate: resolution of changed parts; 2: twice as fine.  [1]"
        ),
        click.option("--gate-target", type=float, help="With --gate: box F1 below which the gate opens.  [0.98]"),
        click.option(
            "--shape", type=click.Choice(["auto", "square", "rect"]), help=_told("Input shape.", defaults.SHAPE)
        ),
        click.option(
            "--backend",
            type=click.Choice([AUTO, *BACKENDS]),
            help=_told("Inference backend; fake finds bright squares, for tests.", AUTO),
        ),
        click.option(
            "--precision",
            type=click.Choice(["f32", "bf16", "int8"]),
            help="Precision on a CPU; int8 needs a file from `quantize`.  [f32]",
        ),
        click.option("--device", metavar="auto|cpu|cuda[:N]", help=_told("Device for inference.", defaults.DEVICE)),
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


@commands.command(no_args_is_help=True)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", type=PATH, help=_told("Output folder.", defaults.OUTPUT_FOLDER))
@_model_options
@click.option("--start", "start_s", metavar="TIME", help="Start position in each video: seconds, or H:MM:SS.  [0]")
@click.option("--end", "end_s", metavar="TIME", help="End position in each video.  [its end]")
@click.option(
    "--duration",
    "duration_s",
    metavar="TIME",
    help="Length to process from --start on; also for live sources.",
)
@click.option("--visualize/--no-visualize", default=None, help="Write annotated videos.  [visualize]")
@overlay_options
@click.option("--blur", metavar="A,B,...", help="Blur these classes in the annotated video; no guarantee.  [none]")
@click.option("--only-blur", is_flag=True, default=None, help="Blur only: draw no boxes.")
@click.option("--blur-style", type=click.Choice(["pixelate", "fill"]), help="How to blur them.  [pixelate]")
@click.option("--formats", metavar=",".join(FORMATS), help=_told("Data files to write.", ",".join(defaults.FORMATS)))
@click.option(
    "--scene",
    multiple=True,
    metavar="FILE",
    help="Scene file with lines and zones to count, or a folder; repeatable.",
)
@click.option("--tables", metavar="csv,parquet,xlsx", help="Tables to write at the end.  [csv with a scene]")
@click.option("--heatmap/--no-heatmap", default=None, help="Write heatmap.json: where objects were.  [no-heatmap]")
@click.option("--report/--no-report", default=None, help="Write report.html, a page of results.  [jobs only]")
@click.option("--report-language", type=click.Choice(["en", "es"]), help="Language of the report.  [en]")
@click.option("--clips/--no-clips", default=None, help="Cut clips of events or tracks: see key `clips`.  [no-clips]")
@click.option(
    "--export", metavar="A,B,...", help="Export the tracks for other tools: cvat, mot, coco and so on.  [none]"
)
@click.option("--crops/--no-crops", default=None, help="Write the best crop of each track.  [no-crops]")
@click.option(
    "--bin",
    "bin_s",
    metavar="LENGTH",
    help=_told("Length of a bin for counts, such as 15m.", defaults.minutes(defaults.BIN_S)),
)
@click.option("--zone", metavar="NAME", help=_told("Time zone of the cameras, such as Europe/Berlin.", defaults.ZONE))
@click.option("--clock-start", "start", metavar="TIME", help="Wall-clock time of the first frame.  [name, container]")
@click.option("--camera", metavar="folder|REGEX", help="Which videos belong to one camera.  [each its own]")
@click.option(
    "--store-conf", type=float, metavar="SCORE", help="Store detections with at least this score for `retrack`.  [none]"
)
@click.option("--resume/--no-resume", default=None, help="Resume where a killed or interrupted run stopped.  [resume]")
@click.option(
    "--overwrite",
    is_flag=True,
    default=None,
    help="Also replace files in the output folder that yolo-engine did not write.  [an error]",
)
@click.option(
    "--on-event",
    multiple=True,
    metavar="COMMAND|URL",
    help="Report each event as it happens, to a program (JSON on stdin), http(s):// or mqtt(s)://; repeatable.",
)
@click.option(
    "--event-kinds",
    metavar="A,B,...",
    help="crossing, enter, loiter, stay, track.  [crossing, stay, loiter if timed; no scene: track]",
)
@click.option(
    "--loiter",
    "event_loiter_s",
    metavar="TIME",
    callback=length,
    help="Report a stay as loitering once it has lasted this long.  [the zone's loiter_s, or never]",
)
@click.option(
    "--segment",
    metavar="90s|10m|1h",
    help=_told("Length of segments recorded from a live source.", defaults.minutes(defaults.SEGMENT_S)),
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one line of JSON on standard output.")
@click.option("--metrics", metavar="[ADDRESS:]PORT", help="Serve Prometheus metrics on this port.  [none]")
@click.option(
    "--stats", is_flag=True, help="Show the time of each stage, the bottleneck, and what a change would gain."
)
@deferred("run:run")
def run() -> None:
    """Detect and track objects in videos.

    INPUT is a file, a folder (searched recursively), a glob or a URL (rtsp, http). Results go to the output folder:
    <name>.mp4, <name>.tracks.jsonl, <name>.mot.txt and manifest.json.
    """


@commands.command(short_help="Prove on your own video that batching never changes a result.")
@click.argument("video", metavar="INPUT")
@click.option(
    "--with",
    "others",
    multiple=True,
    metavar="INPUT",
    help="Videos to mix with, three at most.  [others in its folder]",
)
@click.option("--against", metavar="MODEL", help="With --precision int8: the float model to compare with.")
@_model_options
@deferred("verify:verify")
def verify() -> None:
    """Prove on your own video that batch size, workers and other videos never change a result.

    Runs INPUT at batch 1, 4 and 8, with 1 and 2 workers, alone and mixed with other videos, and compares the tracks.
    With --precision bf16 or int8 it measures instead how well that agrees with f32 on INPUT, and how much faster it is.
    """


@commands.command(short_help="Find the fastest settings that reach a target on your own video.")
@click.argument("video", metavar="VIDEO")
@click.option("--target", type=click.FloatRange(0, 1), default=0.98, help=_told("F1 of boxes to reach.", 0.98))
@click.option("--with", "others", multiple=True, metavar="MODEL", help="Another model to try; repeatable.")
@click.option("--probe", "probe_s", metavar="TIME", callback=length, help="How much of the video to sample.  [12s]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one line of JSON on standard output.")
@_model_options
@deferred("plan:plan")
def plan() -> None:
    """Find which model, size, precision and gate reach a target on VIDEO, and how fast each runs on this machine.

    A few seconds of VIDEO are run with each setting, and the boxes compared with those of --model at its own size, in
    f32, with every frame inferred: F1 at IoU 0.5, class by class. Exit status 1: no faster setting reaches the target.
    """


@commands.command()
@deferred("doctor:doctor")
def doctor() -> None:
    """Show what is installed and working here."""


commands.add_command(analyze)
commands.add_command(audit)
commands.add_command(bench)
commands.add_command(clips)
commands.add_command(export)
commands.add_command(import_)
commands.add_command(find)
commands.add_command(models)
commands.add_command(build_trt)
commands.add_command(quantize)
commands.add_command(retrack)
commands.add_command(render)
commands.add_command(report)
commands.add_command(scene)
commands.add_command(evaluate)


if __name__ == "__main__":
    main()
