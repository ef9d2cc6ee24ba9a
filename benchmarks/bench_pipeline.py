"""Frames per second of the engine beside the plain loop (plain_loop.py), on real videos with YOLOX-nano.

The engine does what `yolo-engine run --no-visualize` does: it writes tracks, MOT text and a manifest into a folder.
Both run in this process with the same score threshold and NMS overlap, in alternating rounds, after one round that is
not counted. Loading the model is excluded on both sides, opening the video is included. `times faster` is the median
of the ratios of each round, with the lowest and the highest.

The plain loop feeds the model its square; the engine pads to the stride only, unless --shape square.

The answers are compared in the same run. Frames must be the same as the plain loop's, detections within --tolerance
of its number (the pixels differ by the rounding of OpenCV's RGB, and at the border where the shape does), and the
plain tracker, given the engine's own detections, must report exactly the engine's tracks. How many tracks the plain
loop found is shown, not judged: a detection that flickers at the threshold can split one. Exit status 1 when the
answers differ, or when the ratio is below --least.

    python -m benchmarks.bench_pipeline [--rounds 5] [--shape auto|square|rect] [--least 2.0] [--json FILE]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import asset, described, heading
from benchmarks.plain_loop import plain_loop
from benchmarks.reference_detector import ReferenceDetector
from benchmarks.reference_sort import ReferenceSort
from engine import Engine, EngineConfig

VIDEOS = ("people.mp4", "vtest.avi")
MODEL = "models/yolox_nano.onnx"
CONF, NMS_IOU = 0.25, 0.45
# ONNX Runtime's idle threads spin for a moment after a run; let them fall asleep before the other side begins.
PAUSE_S = 0.3
# Pixels. Both files are rounded to 0.01, and the filter carries the rounding of the detections along.
BOX_TOLERANCE = 0.1


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
        "tracks_hold": tracks_hold(engine, video, folder),
    }


def tracks_hold(engine: Engine, video: Path, folder: Path) -> bool:
    """Whether the plain tracker makes of the engine's detections the engine's tracks: the same boxes in each frame, and
    one id here for one id there. Which of two tracks born in the same frame counts first is free."""
    config = engine.config.updated(formats=("tracks", "detections"))
    outputs = Engine(config, model=engine.model).run([video], folder)["videos"][0]["outputs"]
    found, tracks = rows_of(Path(outputs["detections"])), rows_of(Path(outputs["tracks"]))
    plain = ReferenceSort(config.max_age, config.min_hits, config.iou_threshold)
    twins: dict[int, int] = {}
    for frame in range(max([*found, *tracks], default=-1) + 1):
        boxes = np.array([row["box_xyxy"] for row in found[frame]], np.float64).reshape(-1, 4)
        expected = plain.update(boxes, np.array([row["class_id"] for row in found[frame]], np.int64))
        ours = {row["track_id"]: np.array(row["box_xyxy"]) for row in tracks[frame]}
        if len(ours) != len(expected):
            return False
        for number, box in expected:
            known = [twins[number]] if number in twins else [each for each in ours if each not in twins.values()]
            same = [each for each in known if each in ours and np.abs(ours[each] - box).max() <= BOX_TOLERANCE]
            if not same:
                return False
            twins[number] = same[0]
    return True


def rows_of(path: Path) -> dict[int, list[dict[str, Any]]]:
    """The rows of a JSONL file, by frame."""
    rows = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        rows[row["frame"]].append(row)
    return rows


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
        f"{difference(result, 'tracks'):+.1%} tracks; plain tracker on the engine's detections: "
        f"{'the same tracks' if result['tracks_hold'] else 'OTHER TRACKS'}"
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
            good = good and same and result["tracks_hold"] and result["times_faster"]["median"] >= arguments.least
            if arguments.json:
                line = {"benchmark": "pipeline", "machine": machine, "shape": arguments.shape, **result}
                with arguments.json.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
