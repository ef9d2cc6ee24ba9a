"""30 labelled boxes on a 1080p frame: draw_tracks on the YUV planes against OpenCV's rectangle and putText on BGR.

    python -m benchmarks.bench_overlay [--rounds 200] [--boxes 30]

OpenCV is timed twice: drawing alone, and with the conversions YUV -> BGR -> YUV that it needs where frames are decoded
to and encoded from yuv420p. Each round times every candidate once, in turn, so that a busy moment hits all of them.
The frame is made here. OpenCV runs on one thread, as draw_tracks does.
"""

import argparse
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from engine_ext.overlay import draw_tracks

WIDTH, HEIGHT = 1920, 1080
THICKNESS, FONT_SCALE = 3, 3


def make_frame() -> np.ndarray:
    """(HEIGHT * 3 / 2, WIDTH) uint8, the planes one after the other: a grey ramp with a little colour."""
    frame = np.full((HEIGHT * 3 // 2, WIDTH), 120, np.uint8)
    frame[:HEIGHT] = np.linspace(40, 200, WIDTH).astype(np.uint8)
    return frame


def planes_of(frame: np.ndarray) -> list[np.ndarray]:
    chroma = frame[HEIGHT:].reshape(2, HEIGHT // 2, WIDTH // 2)
    return [frame[:HEIGHT], chroma[0], chroma[1]]


def make_tracks(count: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(1)
    corner = rng.uniform([0, 40], [WIDTH - 220, HEIGHT - 400], (count, 2))
    size = rng.uniform([60, 100], [220, 400], (count, 2))
    return np.hstack([corner, corner + size]), np.arange(count), [f"person {i}" for i in range(count)]


def draw_bgr(frame_bgr: np.ndarray, boxes: np.ndarray, ids: np.ndarray, labels: list[str]) -> None:
    corners = boxes.round().astype(int).tolist()
    for (left, top, right, bottom), track_id, label in zip(corners, ids, labels, strict=True):
        colour = (int(track_id * 37 % 256), int(track_id * 91 % 256), 255)
        cv2.rectangle(frame_bgr, (left, top), (right, bottom), colour, THICKNESS)
        (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 0.9, 2)
        cv2.rectangle(frame_bgr, (left, top - height - 12), (left + width + 8, top), colour, cv2.FILLED)
        cv2.putText(frame_bgr, label, (left + 4, top - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.9, (0, 0, 0), 2)


def check_answer(boxes: np.ndarray, ids: np.ndarray, labels: list[str]) -> None:
    """Every outline pixel has changed luma or lies under a label; nothing has changed outside outlines and labels."""
    before, after = make_frame(), make_frame()
    # A luma that no colour, black or white has.
    before[:HEIGHT] = after[:HEIGHT] = 5
    draw_tracks(planes_of(after), (WIDTH, HEIGHT), boxes, ids, labels, thickness=THICKNESS, font_scale=FONT_SCALE)
    changed = after[:HEIGHT] != before[:HEIGHT]
    outlines, allowed = np.zeros_like(changed), np.zeros_like(changed)
    for (left, top, right, bottom), label in zip(np.floor(boxes + 0.5).astype(int), labels, strict=True):
        box = np.zeros_like(changed)
        box[top:bottom, left:right] = True
        box[top + THICKNESS : bottom - THICKNESS, left + THICKNESS : right - THICKNESS] = False
        outlines |= box
        width = (6 * len(label) + 3) * FONT_SCALE + 2
        allowed[top - 12 * FONT_SCALE : top + 1, max(0, left - width) : left + width] = True
    if not changed[outlines].all():
        raise SystemExit("Wrong answer: a pixel of an outline has not changed.")
    if changed[~(outlines | allowed)].any():
        raise SystemExit("Wrong answer: a pixel outside all outlines and labels has changed.")
    print(f"answer: all {outlines.sum()} outline pixels drawn, none elsewhere than on outlines and labels")


def measure(candidates: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    times_ms: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            times_ms[name].append((time.perf_counter() - start) * 1e3)
    return times_ms


def machine() -> str:
    info = Path("/proc/cpuinfo")
    models = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return models[0].split(":")[1].strip() if models else platform.processor()


def commit() -> str:
    run = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--boxes", type=int, default=30)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    boxes, ids, labels = make_tracks(arguments.boxes)
    print(f"{machine()}, commit {commit()}, OpenCV {cv2.__version__}, {WIDTH}x{HEIGHT}, {arguments.boxes} boxes")
    check_answer(boxes, ids, labels)

    planes = planes_of(make_frame())
    frame_bgr = cv2.cvtColor(make_frame(), cv2.COLOR_YUV2BGR_I420)
    frame_yuv = make_frame()

    def kernel() -> None:
        draw_tracks(planes, (WIDTH, HEIGHT), boxes, ids, labels, thickness=THICKNESS, font_scale=FONT_SCALE)

    def opencv() -> None:
        draw_bgr(frame_bgr, boxes, ids, labels)

    def opencv_round_trip() -> None:
        bgr = cv2.cvtColor(frame_yuv, cv2.COLOR_YUV2BGR_I420)
        draw_bgr(bgr, boxes, ids, labels)
        cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)

    candidates = {"draw_tracks": kernel, "OpenCV, on BGR": opencv, "OpenCV, YUV->BGR->YUV": opencv_round_trip}
    measure(candidates, 3)
    times_ms = measure(candidates, arguments.rounds)
    base = statistics.median(times_ms["draw_tracks"])
    for name, values in times_ms.items():
        quarter, median, three_quarters = statistics.quantiles(values, n=4)
        spread = f"quartiles {quarter:.3f} to {three_quarters:.3f}, best {min(values):.3f}"
        print(f"{name:24} median {median:7.3f} ms ({spread})  {median / base:5.1f}x")


if __name__ == "__main__":
    main()
