"""Runs a fresh process up to its first track; started by stages/startup.py, which reads its one line of output.

python -m benchmarks.first_track engine|plain VIDEO MODEL
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

CONF, NMS_IOU = 0.25, 0.45


def by_engine(video: Path, model: Path) -> tuple[int, Any]:
    from engine import Engine, EngineConfig

    config = EngineConfig(model=str(model), conf=CONF, nms_iou=NMS_IOU, visualize=False)
    for tracks in Engine(config).stream(video):
        if len(tracks):
            return tracks.frame.index, tracks.boxes_xyxy.tolist()
    raise SystemExit(f"{video.name} contains no track.")


def by_plain_loop(video: Path, model: Path) -> tuple[int, Any]:
    import cv2
    import numpy as np

    from benchmarks.reference_detector import ReferenceDetector
    from benchmarks.reference_sort import ReferenceSort

    detector, tracker = ReferenceDetector(model, "yolox", conf=CONF, nms_iou=NMS_IOU), ReferenceSort()
    capture = cv2.VideoCapture(str(video))
    index = 0
    while True:
        there, image = capture.read()
        if not there:
            raise SystemExit(f"{video.name} contains no track.")
        boxes, _, class_ids = detector(image)
        found = tracker.update(np.asarray(boxes, np.float64), class_ids)
        if found:
            return index, [box.tolist() for _, box in found]
        index += 1


def main() -> None:
    side, video, model = sys.argv[1:]
    frame, boxes = (by_engine if side == "engine" else by_plain_loop)(Path(video), Path(model))
    print(json.dumps({"frame": frame, "boxes_xyxy": boxes}), flush=True)
    os._exit(0)  # the rest of the video is not needed


if __name__ == "__main__":
    main()
