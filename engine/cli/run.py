"""`yolo-engine run`. A job takes the same options (`orchestrator.client.engine_options`)."""

from __future__ import annotations

import click

from engine.choices import defaults
from engine.choices.formats import FORMATS
from engine.cli.deferred import deferred
from engine.cli.lengths import length
from engine.cli.model_options import model_options, with_default
from engine.cli.overlay_options import overlay_options
from engine.cli.paths import PATH


@click.command(no_args_is_help=True)
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--output", type=PATH, help=with_default("Output folder.", defaults.OUTPUT_FOLDER))
@model_options
@click.option(
    "--build-plan/--no-build-plan",
    default=None,
    help="On a GPU: build a TensorRT plan beside the run, and change over to it.  [no-build-plan]",
)
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
@click.option(
    "--formats", metavar=",".join(FORMATS), help=with_default("Data files to write.", ",".join(defaults.FORMATS))
)
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
    help=with_default("Length of a bin for counts, such as 15m or 1d.", defaults.minutes(defaults.BIN_S)),
)
@click.option(
    "--zone", metavar="NAME", help=with_default("Time zone of the cameras, such as Europe/Berlin.", defaults.ZONE)
)
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
    help=with_default("Length of segments recorded from a live source.", defaults.minutes(defaults.SEGMENT_S)),
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
