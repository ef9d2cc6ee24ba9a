"""The command line `yolo-engine`.

Exit status: 0 all videos done, 1 some failed or are partial, 2 wrong usage or configuration, 130 interrupted.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.analyze import analyze
from engine.cli.bench import bench
from engine.cli.evaluate import evaluate
from engine.cli.models import models
from engine.cli.overlay_options import overlay_options
from engine.cli.retrack import render, retrack
from engine.cli.tracker_options import tracker_options
from engine.cli.trt import build_trt
from engine.text.say import say, show_usage
from models.manifest import LAYOUTS

if TYPE_CHECKING:
    from engine.config import EngineConfig
    from engine.engine import Engine
    from engine.summary import SummaryJson

# Nothing heavy is imported up here: --help answers at once.

FAILED, USAGE, INTERRUPTED = 1, 2, 130


def main() -> None:
    """Run the console script and exit with its status."""
    from engine.errors import (
        BackendMissing,
        ConfigError,
        EngineError,
        InputError,
        ModelError,
        OutputError,
        describe_os_error,
    )
    from models.errors import ModelError as ModelPackageError

    for stream in (sys.stdout, sys.stderr):  # a file name need not be text that they can show
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
    help="Messages of this severity and above, on standard error.  [warning]",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Messages for people, or one JSON object a line.  [text]",
)
def commands(log_level: str, log_format: str) -> None:
    """Detect and track objects in videos: a folder in, tracks and annotated videos out."""
    from engine.logs import set_up_logging

    set_up_logging(log_level, log_format)


_Command = Callable[..., Any]


def _model_options(command: _Command) -> _Command:
    """Options of every command that runs a model. An option that is not given is None: the configuration decides."""
    options: list[Callable[[_Command], _Command]] = [
        click.option("--config", "config_file", type=click.Path(path_type=Path), help="JSON or TOML file of settings."),
        click.option("--model", metavar="NAME|PATH", help="A name of `models list`, an ONNX file, or a TensorRT plan."),
        click.option(
            "--layout",
            type=click.Choice(LAYOUTS),
            help="The model's output layout, where its file does not say.",
        ),
        click.option("--class-names", metavar="A,B,...", help="The model's classes, where its file does not say."),
        click.option("--input-size", metavar="H,W", help="The model's input size, where its file leaves it open."),
        click.option("--input-scale", metavar="N|R,G,B", help="What a pixel of 0-255 is multiplied by."),
        click.option("--input-mean", metavar="N|R,G,B", help="What is subtracted from a pixel of 0-255 before."),
        click.option("--channel-order", type=click.Choice(["rgb", "bgr"]), help="The model's channel order."),
        click.option("--conf", type=float, help="Lowest score of a detection.  [0.25]"),
        click.option("--nms-iou", type=float, help="Overlap above which the weaker box is removed.  [0.45]"),
        click.option("--classes", metavar="A,B,...", help="Keep these classes only."),
        click.option(
            "--class-agnostic/--class-aware",
            default=None,
            help="Let boxes of different classes suppress each other.  [aware]",
        ),
        click.option("--max-detections", type=int, help="Maximum number of detections per frame.  [300]"),
        *tracker_options(),
        click.option("--skip-frames", metavar="N|true|false", help="Frames between two inferences.  [false]"),
        click.option("--shape", type=click.Choice(["auto", "square", "rect"]), help="Input shape.  [auto]"),
        click.option(
            "--backend",
            type=click.Choice(
                ["auto", "native", "onnxruntime", "onnxruntime-tensorrt", "openvino", "tensorrt", "fake"]
            ),
            help="What computes the model; fake finds bright squares, for tests.  [auto]",
        ),
        click.option("--device", metavar="auto|cpu|cuda[:N]", help="Where to compute.  [auto]"),
        click.option("--batch", type=int, help="Frames per inference.  [1 on a CPU, 8 on a GPU]"),
        click.option("--streams", type=int, help="Videos decoded at the same time.  [one per core, 2 to 4]"),
        click.option("--workers", type=int, help="Inferences at the same time.  [one per core, 2 on a GPU]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@commands.command(no_args_is_help=True)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Output folder.  [output_videos]")
@_model_options
@click.option("--start", "start_s", metavar="TIME", help="Where to begin in each video: seconds, or H:MM:SS.  [0]")
@click.option("--end", "end_s", metavar="TIME", help="Where to end in each video.  [at its end]")
@click.option(
    "--duration",
    "duration_s",
    metavar="TIME",
    help="How much of each video to take, from --start on; for live sources too.",
)
@click.option("--visualize/--no-visualize", default=None, help="Write annotated videos.  [visualize]")
@overlay_options
@click.option("--formats", metavar="tracks,mot,detections", help="Data files to write.  [tracks,mot]")
@click.option(
    "--scene", multiple=True, metavar="FILE", help="Scene file of what is counted, or a folder of them; several: again."
)
@click.option("--tables", metavar="csv,parquet,xlsx", help="Tables to write at the end.  [csv with a scene]")
@click.option("--heatmap/--no-heatmap", default=None, help="Write heatmap.json: where objects were.  [no-heatmap]")
@click.option("--bin", "bin_s", metavar="LENGTH", help="Length of a bin of counts, such as 15m.  [15m]")
@click.option("--zone", metavar="NAME", help="Time zone of the cameras, such as Europe/Berlin.  [UTC]")
@click.option("--clock-start", "start", metavar="TIME", help="Wall clock at the first frame.  [name, container]")
@click.option("--camera", metavar="folder|REGEX", help="Which videos are one camera's.  [each its own]")
@click.option(
    "--store-conf", type=float, metavar="SCORE", help="Keep detections of this score and above for `retrack`.  [none]"
)
@click.option(
    "--resume/--no-resume", default=None, help="Go on where a run that was killed or interrupted stopped.  [resume]"
)
@click.option("--segment", metavar="90s|10m|1h", help="Length of a live source's recordings.  [10m]")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one line of JSON on standard output.")
@click.option("--stats", is_flag=True, help="Show what each stage took, which one binds, and what a change would give.")
def run(
    inputs: tuple[str, ...],
    output: Path | None,
    as_json: bool,
    stats: bool,
    config_file: Path | None,
    **options: Any,
) -> int:
    """Detect and track objects in videos.

    INPUT is a file, a folder (searched recursively), a glob or a URL (rtsp, http). Results go to the output folder:
    <name>.mp4, <name>.tracks.jsonl, <name>.mot.txt and manifest.json.
    """
    from engine.cli.answers_table import print_answers
    from engine.cli.bottleneck_table import print_verdict
    from engine.cli.console import screen
    from engine.cli.progress import ProgressBars, print_summary

    console = screen(stderr=True)
    with _engine(config_file, stats=stats, output_folder=output, **options) as engine:
        bars = ProgressBars(console, engine.total)
        previous = _stop_on_signals(engine, bars.say)
        try:
            with bars as tick:
                begun = None if as_json else lambda: _tell_model(engine.config, bars.say)
                summary = engine.run(inputs, progress=tick, begun=begun)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        interrupted = engine.interrupted
    if stats:
        print_verdict(console, summary["verdict"])
    if as_json:
        click.echo(json.dumps(summary))  # escaped: a file name need not be text that the output can show
    else:
        print_summary(screen(), summary)
        if (answers := summary.get("answers")) is not None:
            print_answers(screen(), answers)
    if "error" in summary:
        say(f"Error: {summary['error']}", err=True)
    if interrupted:
        say(how_to_go_on(engine.config, summary), err=True)
        return INTERRUPTED
    return 0 if summary["success"] else FAILED


@commands.command(short_help="Prove on your own video that batching never changes a result.")
@click.argument("video", metavar="INPUT")
@click.option("--with", "others", multiple=True, metavar="INPUT", help="Videos to mix with.  [others in its folder]")
@_model_options
def verify(video: str, others: tuple[str, ...], config_file: Path | None, **options: Any) -> int:
    """Prove on your own video that batch size, workers and other videos never change a result.

    Runs INPUT at batch 1, 4 and 8, with 1 and 2 workers, alone and mixed with other videos, and compares the tracks.
    """
    from engine.cli.console import screen, tell_on
    from engine.verify import verify_invariance

    tell = tell_on(screen(stderr=True))
    config = _config(config_file, **options)
    same = verify_invariance(config, video, others, say, begun=lambda: _tell_model(config, tell))
    return 0 if same else FAILED


@commands.command()
def doctor() -> int:
    """Show what is installed and working here."""
    from engine.cli.console import screen
    from engine.cli.doctor import examine, print_findings

    findings = examine()
    print_findings(screen(), findings)
    return FAILED if any(finding.state == "broken" for finding in findings) else 0


commands.add_command(analyze)
commands.add_command(bench)
commands.add_command(models)
commands.add_command(build_trt)
commands.add_command(retrack)
commands.add_command(render)
commands.add_command(evaluate)


def _config(config_file: Path | None, **options: Any) -> EngineConfig:
    """The configuration: the file's keys, and over them the options that were given."""
    from engine.config import EngineConfig, load_config

    values = load_config(config_file) if config_file is not None else {}
    values |= {key: value for key, value in options.items() if value not in (None, ())}
    return EngineConfig(**values)


def _engine(config_file: Path | None, *, stats: bool = False, **options: Any) -> Engine:
    from engine.engine import Engine

    return Engine(_config(config_file, **options), stats=stats)


def _tell_model(config: EngineConfig, tell: Callable[[str], object]) -> None:
    """One line, for whoever named no model."""
    from engine.config import note_on_default

    if (note := note_on_default(config)) is not None:
        tell(note)


def how_to_go_on(config: EngineConfig, summary: SummaryJson) -> str:
    """For whoever interrupted a run."""
    if all("segments" in video for video in summary["videos"]):
        return "What was recorded is complete; the same command goes on with new segments."
    kept = any(video["outputs"] for video in summary["videos"] if video["status"] == "partial")
    goes_on = config.resume and config.save_intermediate_results
    if kept and goes_on:
        return (
            "Unfinished videos are kept as NAME.partial.*; the same command goes on with them, --no-resume starts over."
        )
    if kept:
        return "Unfinished videos are kept as NAME.partial.*."
    return "The same command goes on, --no-resume starts over." if goes_on else "Unfinished videos are not kept."


def _stop_on_signals(engine: Engine, say: Callable[[str], None]) -> dict[int, Any]:
    """The first Ctrl-C or SIGTERM ends the run and keeps what is complete; a second one, not the same once more, ends
    the process at once."""
    from engine.cli.repeats import Repeats

    repeats = Repeats()

    def second(number: int, _: Any) -> None:
        if not repeats.seen():
            os._exit(INTERRUPTED)

    def first(number: int, _: Any) -> None:
        repeats.seen()
        for each in previous:
            signal.signal(each, second)
        begun = engine.last_run is not None
        engine.stop()
        if not begun:  # nothing to finish; where a library swallows this, the run ends as soon as it begins
            raise KeyboardInterrupt
        say("Stopping: finishing what is in flight. Press Ctrl-C again to end at once.")

    previous: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, first)
    return previous


if __name__ == "__main__":
    main()
