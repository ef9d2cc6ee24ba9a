"""The loop that the engine is compared with: read a frame, detect, track, write a line per track, next frame.

OpenCV decodes and resizes, ONNX Runtime infers with its default threads, NumPy reads the output and removes duplicates,
filterpy and SciPy track. One thread of Python, as in the examples of the field. With `annotated`, OpenCV also draws
the tracks and writes the video: MPEG-4 Part 2 (`mp4v`), the codec that the wheels of OpenCV can write into an MP4.

    python -m benchmarks.peers.plain_loop VIDEO --model FILE [--family yolox] [--out FILE] [--annotated FILE]
"""

import argparse
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.reference_detector import FAMILIES, ReferenceDetector
from benchmarks.reference_sort import ReferenceSort

CODEC = "mp4v"
FONT = cv2.FONT_HERSHEY_SIMPLEX

Array = NDArray[Any]


@dataclass
class Counts:
    """The result of a run: `rows` are the boxes of tracks, `track_ids` the reported ids, `found` the boxes,
    scores and classes of each frame."""

    frames: int = 0
    detections: int = 0
    rows: int = 0
    track_ids: set[int] = field(default_factory=set)
    found: list[tuple[Array, Array, Array]] = field(default_factory=list)


def plain_loop(video: Path, detector: ReferenceDetector, out: Path, annotated: Path | None = None) -> Counts:
    """Process a video into a MOTChallenge text and, if requested, an annotated video. The detector's model is already
    loaded."""
    counts = Counts()
    tracker = ReferenceSort()
    capture = cv2.VideoCapture(str(video))
    writer = None if annotated is None else writer_like(capture, annotated)
    with out.open("w", encoding="utf-8") as stream:
        while True:
            there, image = capture.read()
            if not there:
                break
            counts.frames += 1
            boxes, scores, class_ids = detector(image)
            counts.detections += len(scores)
            counts.found.append((boxes, scores, class_ids))
            for number, (x1, y1, x2, y2) in tracker.update(np.asarray(boxes, np.float64), class_ids):
                stream.write(f"{counts.frames},{number},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},1,-1,-1,-1\n")
                counts.rows += 1
                counts.track_ids.add(number)
                if writer is not None:
                    draw(image, (x1, y1, x2, y2), number)
            if writer is not None:
                writer.write(image)
    capture.release()
    if writer is not None:
        writer.release()
    return counts


def writer_like(capture: Any, target: Path) -> Any:
    """Return a video writer with the size and rate of the captured video."""
    size_wh = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*CODEC), rate, size_wh)
    if not writer.isOpened():
        raise SystemExit(f"OpenCV can't write {target.name} with {CODEC}.")
    return writer


def draw(image_bgr: Array, box_xyxy: tuple[float, ...], number: int) -> None:
    """Draw a rectangle and the track's number above it onto `image_bgr`."""
    x1, y1, x2, y2 = (round(float(side)) for side in box_xyxy)
    colour = (number * 37 % 256, number * 91 % 256, 255)
    cv2.rectangle(image_bgr, (x1, y1), (x2, y2), colour, 2)
    cv2.putText(image_bgr, str(number), (x1, max(12, y1 - 4)), FONT, 0.5, colour, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--family", choices=list(FAMILIES), default="yolox")
    parser.add_argument("--out", type=Path, default=Path("plain.mot.txt"))
    parser.add_argument("--annotated", type=Path)
    arguments = parser.parse_args()
    detector = ReferenceDetector(arguments.model, arguments.family, conf=0.25, nms_iou=0.45)
    start = time.perf_counter()
    counts = plain_loop(arguments.video, detector, arguments.out, arguments.annotated)
    elapsed_s = time.perf_counter() - start
    print(
        f"{counts.frames} frames in {elapsed_s:.1f} s = {counts.frames / elapsed_s:.1f} fps, "
        f"{counts.detections} detections, {len(counts.track_ids)} tracks"
    )


if __name__ == "__main__":
    main()
