"""The loop that the engine is measured against: read a frame, detect, track, write a line a track, next frame.

OpenCV decodes and resizes, ONNX Runtime infers with its default threads, NumPy reads the output and removes doubles,
filterpy and SciPy track. One thread of Python, as in the examples of the field.

    python -m benchmarks.plain_loop VIDEO --model FILE [--family yolox] [--out FILE]
"""

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from benchmarks.reference_detector import FAMILIES, ReferenceDetector
from benchmarks.reference_sort import ReferenceSort


@dataclass
class Counts:
    """What one run found: `rows` are the boxes of tracks, `track_ids` those that were ever reported."""

    frames: int = 0
    detections: int = 0
    rows: int = 0
    track_ids: set[int] = field(default_factory=set)


def plain_loop(video: Path, detector: ReferenceDetector, out: Path) -> Counts:
    """Processes a video into a MOTChallenge text. The detector's model is loaded already."""
    counts = Counts()
    tracker = ReferenceSort()
    capture = cv2.VideoCapture(str(video))
    with out.open("w", encoding="utf-8") as stream:
        while True:
            there, image = capture.read()
            if not there:
                break
            counts.frames += 1
            boxes, scores, class_ids = detector(image)
            counts.detections += len(scores)
            for number, (x1, y1, x2, y2) in tracker.update(np.asarray(boxes, np.float64), class_ids):
                stream.write(f"{counts.frames},{number},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},1,-1,-1,-1\n")
                counts.rows += 1
                counts.track_ids.add(number)
    capture.release()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--family", choices=list(FAMILIES), default="yolox")
    parser.add_argument("--out", type=Path, default=Path("plain.mot.txt"))
    arguments = parser.parse_args()
    detector = ReferenceDetector(arguments.model, arguments.family, conf=0.25, nms_iou=0.45)
    start = time.perf_counter()
    counts = plain_loop(arguments.video, detector, arguments.out)
    elapsed_s = time.perf_counter() - start
    print(
        f"{counts.frames} frames in {elapsed_s:.1f} s = {counts.frames / elapsed_s:.1f} fps, "
        f"{counts.detections} detections, {len(counts.track_ids)} tracks"
    )


if __name__ == "__main__":
    main()
