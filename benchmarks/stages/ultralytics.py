"""End to end compared with Ultralytics `track`: the same video, ONNX file (YOLOv8n, int8) and thresholds.

A part of the stage `pipeline`; its peer is peers/ultralytics.py, a process of its own environment. Only where that was
made (`make bench-ultralytics`), and not in profile quick. Loading is excluded on both sides. Ultralytics is timed by
itself, from the call of `track` to its last result; the engine writes its files as always.

Detections must agree in number with those of its `predict`, for the tracks of two trackers don't.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.clips import in_words, shortened
from benchmarks.context import Context
from benchmarks.machine import asset
from benchmarks.peers.ultralytics import MISSING, TRACKER, Ultralytics, python
from benchmarks.record import Row, checked
from benchmarks.rounds import alternate
from engine import Engine, EngineConfig

MODEL = "models/yolov8n_int8.onnx"
VIDEO = "people.mp4"
FRAMES = 100
CONF, NMS_IOU = 0.25, 0.45
TOLERANCE = 0.05
PAUSE_S = 0.3


def measure(context: Context) -> Iterator[Row]:
    if context.profile.name == "quick":
        return
    if python() is None:
        print(f"  left out: {MISSING}.")
        return
    video, model = shortened(asset(f"videos/{VIDEO}"), FRAMES), asset(MODEL)
    config = EngineConfig(model=str(model), conf=CONF, nms_iou=NMS_IOU, visualize=False)
    peer = Ultralytics(video, model, conf=CONF, nms_iou=NMS_IOU)
    try:
        with Engine(config) as engine, tempfile.TemporaryDirectory() as folder:
            yield row(context, video, engine, peer, Path(folder))
    finally:
        peer.close()


def row(context: Context, video: Path, engine: Engine, peer: Any, folder: Path) -> Row:
    summaries: list[dict[str, Any]] = []
    runs: list[dict[str, Any]] = []
    work = {
        "engine": lambda: summaries.append(engine.run([video], folder)),
        "Ultralytics track": lambda: runs.append(peer.track()),
    }
    rounds = context.profile.rounds
    samples = alternate(work, rounds=rounds, pause_s=PAUSE_S)
    ours, theirs, predicted = summaries[-1]["totals"], runs[-1], peer.predict()
    frames = ours["frames"]
    difference = (ours["detections"] - predicted["boxes"]) / max(1, predicted["boxes"])
    return context.row(
        "pipeline",
        f"{VIDEO} beside Ultralytics",
        figures={
            "engine": [frames / seconds for seconds in samples["engine"].wall_s],
            "Ultralytics track": [frames / run["elapsed_s"] for run in runs[-rounds:]],
        },
        unit="fps",
        better="higher",
        ours="engine",
        input=in_words(video),
        answer=checked(
            frames == theirs["frames"] and abs(difference) <= TOLERANCE,
            "Ultralytics `predict`",
            f"{frames} frames against {theirs['frames']}, {difference:+.1%} detections",
            detections_difference=difference,
        ),
        model=engine.model.manifest.name,
        backend=engine.model.backend.name,
        tracker=TRACKER,
        tracks={"engine": ours["tracks"], "Ultralytics track": theirs["tracks"]},
        peer_versions=peer.versions,
    )
