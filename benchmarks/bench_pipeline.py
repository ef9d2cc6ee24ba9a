"""Frames per second of the engine beside the plain loop (plain_loop.py), on real videos with YOLOX-nano.

The engine does what `yolo-engine run --no-visualize` does: it writes tracks, MOT text and a manifest into a folder.
Both run in this process with the same score threshold and NMS overlap, in alternating rounds, after one round that is
not counted. Loading the model is excluded on both sides, opening the video is included. `times faster` is the median
of the ratios of each round, with the lowest and the highest.

The plain loop feeds the model its square; the engine pads to the stride only, unless --shape square.

The answers are compared in the same run: frames must be the same, and detections within --tolerance of the plain
loop's. Exit status 1 when they differ more, or when the ratio is below --least.

    python -m benchmarks.bench_pipeline [--rounds 5] [--shape auto|square|rect] [--least 2.0] [--json FILE]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import asset, described, heading
from benchmarks.plain_loop import plain_loop
from benchmarks.reference_detector import ReferenceDetector
from engine import Engine, EngineConfig

VIDEOS = ("people.mp4", "vtest.avi")
MODEL = "models/yolox_nano.onnx"
CONF, NMS_IOU = 0.25, 0.45
# ONNX Runtime's idle threads spin for a moment after a run; let them fall asleep before the other side begins.
PAUSE_S = 0.3


def run_engine(engine: Engine, video: Path, folder: Path) -> tuple[float, dict[str, int]]:
    start = time.perf_counter()
    summary = engine.run([video], folder)
    elapsed_s = time.perf_counter() - start
    assert summary["success"], summary["videos"][0]["error"]
    return elapsed_s, {key: summary["totals"][key] for key in ("frames", "detections", "tracks")}


def run_plain(detector: ReferenceDetector, video: Path, folder: Path) -> tuple[float, dict[str, int]]:
    start = time.perf_counter()
    counts = plain_loop(video, detector, folder / "plain.mot.txt")
    elapsed_s = time.perf_counter() - start
    return elapsed_s, {"frames": counts.frames, "detections": counts.detections, "tracks": len(counts.track_ids)}


def measure(engine: Engine, detector: ReferenceDetector, video: Path, rounds: int, folder: Path) -> dict[str, Any]:
    """All figures of one video."""
    engine_s, plain_s = [], []
    ours: dict[str, int] = {}
    theirs: dict[str, int] = {}
    for number in range(rounds + 1):
        time.sleep(PAUSE_S)
        elapsed_s, ours = run_engine(engine, video, folder)
        time.sleep(PAUSE_S)
        plain_elapsed_s, theirs = run_plain(detector, video, folder)
        if number:
            engine_s.append(elapsed_s)
            plain_s.append(plain_elapsed_s)
    ratios = [slow / fast for slow, fast in zip(plain_s, engine_s, strict=True)]
    return {
        "video": video.name,
        "rounds": rounds,
        "engine_fps": [ours["frames"] / each for each in engine_s],
        "plain_fps": [theirs["frames"] / each for each in plain_s],
        "times_faster": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "engine": ours,
        "plain": theirs,
    }


def difference(result: dict[str, Any], key: str) -> float:
    """The engine's count against the plain loop's, as a share of it."""
    theirs = int(result["plain"][key])
    return float((result["engine"][key] - theirs) / max(1, theirs))


def show(result: dict[str, Any]) -> None:
    ratio = result["times_faster"]
    print(f"\n{result['video']}, {result['engine']['frames']} frames, {result['rounds']} rounds")
    for side in ("engine", "plain"):
        fps = result[f"{side}_fps"]
        print(
            f"  {side:6} {statistics.median(fps):7.1f} fps [{min(fps):.1f} .. {max(fps):.1f}]"
            f"  {result[side]['detections']} detections, {result[side]['tracks']} tracks"
        )
    print(f"  times faster {ratio['median']:.2f} [{ratio['min']:.2f} .. {ratio['max']:.2f}]")
    print(
        f"  engine against plain: {difference(result, 'detections'):+.1%} detections, "
        f"{difference(result, 'tracks'):+.1%} tracks"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--videos", nargs="+", default=list(VIDEOS), help="names below videos/ of the assets")
    parser.add_argument("--shape", choices=["auto", "square", "rect"], default="auto")
    parser.add_argument("--workers", type=int, help="the engine's inferences at once")
    parser.add_argument("--tolerance", type=float, default=0.03, help="of the number of detections (default 0.03)")
    parser.add_argument("--least", type=float, default=0.0, help="ratio below which the exit status is 1")
    parser.add_argument("--json", type=Path, help="append the results to this file, a line a video")
    arguments = parser.parse_args()
    machine = described("onnxruntime", "opencv-python-headless", "numpy", "scipy", "filterpy", "av")
    print(heading(machine))
    model = asset(MODEL)
    config = EngineConfig(
        model=str(model),
        conf=CONF,
        nms_iou=NMS_IOU,
        visualize=False,
        shape=arguments.shape,
        workers=arguments.workers,
        backend="onnxruntime",
    )
    detector = ReferenceDetector(model, "yolox", conf=CONF, nms_iou=NMS_IOU)
    good = True
    with Engine(config) as engine, tempfile.TemporaryDirectory() as folder:
        print(f"{model.stem}, conf {CONF}, NMS IoU {NMS_IOU}, shape {arguments.shape}, {engine.workers} workers")
        for name in arguments.videos:
            result = measure(engine, detector, asset(f"videos/{name}"), arguments.rounds, Path(folder))
            show(result)
            same = result["engine"]["frames"] == result["plain"]["frames"]
            same = same and abs(difference(result, "detections")) <= arguments.tolerance
            if not same:
                print(f"  the answers differ by more than {arguments.tolerance:.0%}")
            good = good and same and result["times_faster"]["median"] >= arguments.least
            if arguments.json:
                line = {"benchmark": "pipeline", "machine": machine, "shape": arguments.shape, **result}
                with arguments.json.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
