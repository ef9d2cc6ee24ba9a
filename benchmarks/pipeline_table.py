"""Every model end to end: the engine compared with a loop around OpenVINO's asynchronous queue, at equal precision.

    python -m benchmarks.pipeline_table [--models yolov8n ...] [--videos people.mp4 ...] [--frames N] [--rounds N]
                                        [--precisions f32 bf16] [--markdown FILE] [--json FILE]

The engine does what `yolo-engine run --no-visualize` does. In the loop (peers/openvino_loop.py) OpenCV decodes, the
model runs on its square, NumPy and filterpy do the rest. Loading a model is excluded on both sides. Figures are
milliseconds of CPU time per frame, user and system, of all threads, since load affects them less than clock time; then
frames per second, and the ratio of the loop's time to the engine's, round by round: the median, the lowest and the
highest. F1 is the agreement of the boxes of both (same class, IoU 0.5): the loop runs on the square, the engine on
the video's aspect. `--frames` limits a video to its first frames.

OpenVINO is an extra, without which this can't run.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.answers import f1, found_in
from benchmarks.clips import shortened
from benchmarks.machine import asset, described, heading
from benchmarks.model_table import float_form
from benchmarks.peers.openvino_loop import OpenVinoLoop, installed
from benchmarks.peers.plain_loop import Counts
from benchmarks.reference_detector import ReferenceDetector
from benchmarks.rounds import alternate
from benchmarks.text import append_line, markdown_table
from engine import Engine
from engine.choices.precision import Precision, processor
from models.resolution import resolve

CONF, NMS_IOU, MAX_DETECTIONS = 0.25, 0.45, 300
FAMILIES = {
    "street-nano": "yolox",
    "yolox-nano": "yolox",
    "yolov5n": "yolov5",
    "yolov8n": "yolov8",
    "yolo11n": "yolov8",
    "yolo26n": "end2end",
}
PRECISIONS: tuple[Precision, ...] = ("f32", "bf16")


@dataclass(frozen=True)
class Row:
    """One model in one precision on one video."""

    model: str
    precision: str
    video: str
    frames: int
    executor: str
    engine_cpu_ms: float
    loop_cpu_ms: float
    engine_fps: float
    loop_fps: float
    times: float
    times_low: float
    times_high: float
    f1: float


def measure(title: str, precision: Precision, videos: list[Path], rounds: int) -> Iterator[Row]:
    """Yield a row per video."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        model, config = float_form(title, folder)
        given = {"conf": CONF, "nms_iou": NMS_IOU, "max_detections": MAX_DETECTIONS}
        config = config.updated(precision=precision, visualize=False, formats=("tracks", "detections"), **given)
        resolved = resolve(model)
        size = (resolved.manifest.input.height, resolved.manifest.input.width)
        detector = ReferenceDetector(resolved.path, FAMILIES[title], size_hw=size, **given)
        loop = OpenVinoLoop(resolved.path, detector, precision, size)
        with Engine(config) as engine:
            for video in videos:
                yield row(title, precision, engine, loop, video, folder, rounds)


def row(
    title: str, precision: Precision, engine: Engine, loop: OpenVinoLoop, video: Path, folder: Path, rounds: int
) -> Row:
    summaries: list[dict[str, Any]] = []
    counts: list[Counts] = []
    samples = alternate(
        {
            "engine": lambda: summaries.append(engine.run([video], folder / "engine")),
            "loop": lambda: counts.append(loop.run(video, folder / "loop.txt")),
        },
        rounds=rounds,
    )
    ours, theirs, frames = samples["engine"], samples["loop"], counts[-1].frames
    done = summaries[-1]["videos"][0]
    if done["frames"] != frames:
        raise RuntimeError(f"{video.name}: the engine saw {done['frames']} frames, the loop {frames}")
    times = [their / our for our, their in zip(ours.cpu_s, theirs.cpu_s, strict=True)]
    return Row(
        title,
        precision,
        video.name,
        frames,
        engine.model.backend.name,
        median(ours.cpu_s) / frames * 1e3,
        median(theirs.cpu_s) / frames * 1e3,
        frames / median(ours.wall_s),
        frames / median(theirs.wall_s),
        median(times),
        min(times),
        max(times),
        f1(found_in(Path(done["outputs"]["detections"]), frames), counts[-1].found),
    )


COLUMNS = ("model", "precision", "video", "ours runs in", "engine, ms", "OpenVINO loop, ms", "engine, fps",
           "OpenVINO loop, fps", "loop / engine", "F1")  # fmt: skip


def cells(found: Row) -> tuple[str, ...]:
    return (
        found.model,
        found.precision,
        found.video,
        found.executor,
        f"{found.engine_cpu_ms:.1f}",
        f"{found.loop_cpu_ms:.1f}",
        f"{found.engine_fps:.0f}",
        f"{found.loop_fps:.0f}",
        f"{found.times:.2f} [{found.times_low:.2f} .. {found.times_high:.2f}]",
        f"{found.f1:.3f}",
    )


def markdown(rows: list[Row]) -> str:
    return markdown_table(COLUMNS, [cells(each) for each in rows]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--videos", nargs="+", default=["people.mp4", "vtest.avi"], help="names of shared videos")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--frames", type=int, help="only the first frames of each video")
    parser.add_argument("--rounds", type=int, default=5, help="rounds that count (default 5)")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--json", type=Path, help="append the rows to this file, a line each")
    arguments = parser.parse_args()
    if not installed():
        raise SystemExit("OpenVINO is not installed: there is nothing to compare with. pip install openvino")
    machine = described("onnxruntime", "openvino", "numpy", "av", "opencv-python-headless")
    print(heading(machine))
    print(" | ".join(COLUMNS))
    videos = [asset(f"videos/{name}") for name in arguments.videos]
    if arguments.frames:
        videos = [shortened(video, arguments.frames) for video in videos]
    rows = []
    for title, precision in product(arguments.models, arguments.precisions):
        if (lacking := processor().lacks(precision)) is not None:
            print(f"  left out: {title} {precision}: this processor has no {lacking}")
            continue
        for found in measure(title, precision, videos, arguments.rounds):
            print(" | ".join(cells(found)), flush=True)
            rows.append(found)
            append_line(arguments.json, {"benchmark": "pipeline_table", "machine": machine, **asdict(found)})
    if arguments.markdown:
        arguments.markdown.write_text(f"{heading(machine)}\n\n{markdown(rows)}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
