"""How the cost per frame grows with resolution, concurrent videos, video length, and the number of cores.

All are end to end, tracks only, with YOLOX-nano, in milliseconds of clock time per frame; the plain loop is included if
it does the same work. Profile quick has no curves. How the cost grows with the objects in a frame is measured
where the tracker is (stages/sort.py).
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.answers import same_bytes
from benchmarks.clips import in_words, lengthened, resized, shortened
from benchmarks.context import Context
from benchmarks.curve_child import Child
from benchmarks.machine import asset, cores
from benchmarks.peers.plain_loop import Counts, plain_loop
from benchmarks.record import Row, checked
from benchmarks.reference_detector import ReferenceDetector
from benchmarks.rounds import alternate
from engine import Engine, EngineConfig

MODEL = "models/yolox_nano.onnx"
VIDEO = "people.mp4"
CONF, NMS_IOU = 0.25, 0.45
TOLERANCE = 0.05
PAUSE_S = 0.05

SIZES_WH = ((640, 360), (1280, 720), (1920, 1080), (3840, 2160))
AT_ONCE = (1, 2, 4, 8, 16)
LENGTHS = (1, 4)
SIZE_FRAMES, AT_ONCE_FRAMES, LENGTH_FRAMES, CORE_FRAMES = 36, 30, 60, 80

TOLD: dict[str, Any] = {"unit": "ms a frame", "better": "lower", "ours": "engine", "model": "yolox-nano"}


def measure(context: Context) -> Iterator[Row]:
    if context.profile.name == "quick":
        return
    for curve in (by_resolution, by_videos_at_once, by_length, by_cores):
        yield from curve(context)


class Sides:
    """The engine and the plain loop with loaded models, and the results of the last run of each input."""

    def __init__(self, stack: ExitStack, streams: int | None = None) -> None:
        model = asset(MODEL)
        config = EngineConfig(model=str(model), conf=CONF, nms_iou=NMS_IOU, visualize=False, streams=streams)
        self.engine = Engine(config)
        stack.callback(self.engine.close)
        self.detector = ReferenceDetector(model, "yolox", conf=CONF, nms_iou=NMS_IOU)
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.totals: dict[str, dict[str, Any]] = {}
        self.counts: dict[str, Counts] = {}

    def run_engine(self, name: str, source: Path) -> None:
        summary = self.engine.run([source], self.folder / name)
        if not summary["success"]:
            raise RuntimeError(f"{name}: {summary['error'] if 'error' in summary else summary['videos']}")
        self.totals[name] = summary["totals"]

    def run_plain(self, name: str, video: Path) -> None:
        self.counts[name] = plain_loop(video, self.detector, self.folder / "plain.mot.txt")


def by_resolution(context: Context) -> Iterator[Row]:
    videos = {size[1]: resized(asset(f"videos/{VIDEO}"), size, SIZE_FRAMES) for size in SIZES_WH}
    yield from beside_plain_loop(context, "rows of the picture", videos, lambda x: f"{x}p")


def by_length(context: Context) -> Iterator[Row]:
    short = shortened(asset(f"videos/{VIDEO}"), LENGTH_FRAMES)
    videos = {times: short if times == 1 else lengthened(short, times) for times in LENGTHS}
    yield from beside_plain_loop(context, "length of the video", videos, lambda x: f"{x} times the length")


def beside_plain_loop(
    context: Context, curve: str, videos: dict[int, Path], name: Callable[[int], str]
) -> Iterator[Row]:
    """Yield a row per x, all measured in the same rounds."""
    with ExitStack() as stack:
        sides = Sides(stack)
        work: dict[str, Callable[[], object]] = {}
        for x, video in videos.items():
            work[f"engine {x}"] = lambda x=x, video=video: sides.run_engine(str(x), video)
            work[f"plain {x}"] = lambda x=x, video=video: sides.run_plain(str(x), video)
        samples = alternate(work, rounds=context.profile.rounds, pause_s=PAUSE_S)
        for x, video in videos.items():
            ours, theirs = sides.totals[str(x)], sides.counts[str(x)]
            frames = theirs.frames
            yield context.row(
                "curves",
                f"{curve}: {name(x)}",
                figures={
                    "engine": samples[f"engine {x}"].each(frames, 1e3),
                    "plain loop": samples[f"plain {x}"].each(frames, 1e3),
                },
                input=in_words(video),
                answer=alike(ours, {"frames": frames, "detections": theirs.detections}),
                curve=curve,
                x=x,
                **TOLD,
            )


def alike(ours: dict[str, Any], theirs: dict[str, Any]) -> Any:
    difference = (ours["detections"] - theirs["detections"]) / max(1, theirs["detections"])
    return checked(
        ours["frames"] == theirs["frames"] and abs(difference) <= TOLERANCE,
        "the plain loop",
        f"{ours['frames']} frames against {theirs['frames']}, {difference:+.1%} detections",
        detections_difference=difference,
    )


def by_videos_at_once(context: Context) -> Iterator[Row]:
    """Yield the same video several times, all decoded concurrently."""
    curve = "videos at once"
    video = shortened(asset(f"videos/{VIDEO}"), AT_ONCE_FRAMES)
    with ExitStack() as stack:
        by_count = {count: Sides(stack, streams=count) for count in AT_ONCE}
        work: dict[str, Callable[[], object]] = {}
        for count, sides in by_count.items():
            inputs = sides.folder / "inputs"
            inputs.mkdir()
            for number in range(count):
                shutil.copyfile(video, inputs / f"{number:02}{video.suffix}")
            work[str(count)] = lambda sides=sides, inputs=inputs: sides.run_engine("out", inputs)
        samples = alternate(work, rounds=context.profile.rounds, pause_s=PAUSE_S)
        alone = by_count[1].folder / "out" / "00.tracks.jsonl"
        for count, sides in by_count.items():
            found = sorted((sides.folder / "out").glob("*.tracks.jsonl"))
            same = sum(same_bytes(path, alone) for path in found)
            yield context.row(
                "curves",
                f"{curve}: {count}",
                figures={"engine": samples[str(count)].each(count * AT_ONCE_FRAMES, 1e3)},
                input=f"{count} times {in_words(video)}",
                answer=checked(
                    sides.totals["out"]["frames"] == count * AT_ONCE_FRAMES and same == len(found) == count,
                    "the tracks of the video alone",
                    f"{same} of {count} videos with the same tracks, byte for byte",
                    same_tracks=same / count,
                ),
                curve=curve,
                x=count,
                **TOLD,
            )


def by_cores(context: Context) -> Iterator[Row]:
    """Yield processes limited to 1, 2, 4 ... cores, used in turn."""
    curve = "cores"
    video, model = shortened(asset(f"videos/{VIDEO}"), CORE_FRAMES), asset(MODEL)
    numbers = [2**power for power in range(cores().bit_length()) if 2**power <= cores()]
    with ExitStack() as stack:
        children: dict[int, Child] = {}
        counts: dict[str, dict[str, Any]] = {}
        work: dict[str, Callable[[], object]] = {}
        for number in numbers:
            children[number] = Child(number, video, model)
            stack.callback(children[number].close)
            for side in ("engine", "plain"):
                work[f"{side} {number}"] = lambda number=number, side=side: counts.update(
                    {f"{side} {number}": children[number].run(side)}
                )
        samples = alternate(work, rounds=context.profile.rounds, pause_s=PAUSE_S)
    for number in numbers:
        ours, theirs = counts[f"engine {number}"], counts[f"plain {number}"]
        yield context.row(
            "curves",
            f"{curve}: {number}",
            figures={
                "engine": samples[f"engine {number}"].each(ours["frames"], 1e3),
                "plain loop": samples[f"plain {number}"].each(ours["frames"], 1e3),
            },
            input=in_words(video),
            answer=alike(ours, theirs),
            curve=curve,
            x=number,
            **TOLD,
        )
