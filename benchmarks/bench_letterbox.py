"""Letterbox against OpenCV on one thread: cvtColor, resize, and the copy into a padded float32 (3, H, W) tensor.

Both start from yuv420p planes and end in the same tensor; rounds alternate, so that a busy moment hurts both. The
error beside each time is the mean absolute difference of the two tensors, in levels of 255, from the same run.

    python benchmarks/bench_letterbox.py [--rounds 30] [--dst 256x416 384x640] [--dtype float32]
"""

import argparse
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from engine_ext.letterbox import Letterbox

U8 = npt.NDArray[np.uint8]
SOURCES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080), "2160p": (3840, 2160)}


def picture(w: int, h: int) -> U8:
    """(h * 3 / 2, w) I420: shapes, gradients and a little noise, so that an error of position or colour shows."""
    rng = np.random.default_rng(w)
    coarse = rng.integers(0, 256, (h // 40, w // 40, 3), dtype=np.uint8)
    rgb = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)
    for _ in range(60):
        x, y, r = (int(rng.integers(0, limit)) for limit in (w, h, h // 6))
        cv2.circle(rgb, (x, y), r + 2, [int(c) for c in rng.integers(0, 256, 3)], -1, cv2.LINE_AA)
    rgb = cv2.add(rgb, rng.integers(0, 6, rgb.shape, dtype=np.uint8))
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), np.uint8)


def split_planes(i420: U8, w: int, h: int) -> list[U8]:
    """Views of the three planes, as a decoder hands them over."""
    flat = i420.reshape(-1)
    y, u, v = np.split(flat, [w * h, w * h * 5 // 4])
    return [y.reshape(h, w), u.reshape(h // 2, w // 2), v.reshape(h // 2, w // 2)]


def with_opencv(i420: U8, out: npt.NDArray[np.generic], letterbox: Letterbox) -> None:
    rgb = cv2.cvtColor(i420, cv2.COLOR_YUV2RGB_I420)
    resized = cv2.resize(rgb, letterbox.resized_wh, interpolation=cv2.INTER_LINEAR)
    (x, y), (w, h) = letterbox.pad_xy, letterbox.resized_wh
    out[:, :y] = out[:, y + h :] = 114
    out[:, y : y + h, :x] = out[:, y : y + h, x + w :] = 114
    out[:, y : y + h, x : x + w] = resized.transpose(2, 0, 1)


def elapsed_ms(work: Callable[[], None], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats * 1e3


def quartiles(times: npt.ArrayLike) -> str:
    low, median, high = np.percentile(times, [25, 50, 75])
    return f"{median:8.3f} [{low:.3f}, {high:.3f}]"


def cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


def commit() -> str:
    root = Path(__file__).resolve().parent
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=root, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def size_hw(text: str) -> tuple[int, int]:
    h, w = text.split("x")
    return int(h), int(w)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="times each is timed, in turn (default 30)")
    parser.add_argument("--repeats", type=int, default=3, help="calls in one timing (default 3)")
    parser.add_argument("--dst", type=size_hw, nargs="+", default=[(256, 416), (384, 640)], metavar="HxW")
    parser.add_argument("--dtype", choices=["float32", "float16", "uint8"], default="float32")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)

    print(f"{cpu_name()}, OpenCV {cv2.__version__}, NumPy {np.__version__}, commit {commit()}")
    print(f"yuv420p to {arguments.dtype}, one thread, median [quartiles] of {arguments.rounds} rounds")
    print(f"{'source':>6} {'tensor':>9} {'this, ms':>25} {'OpenCV, ms':>27} {'times faster':>22} {'error':>7}")
    for name, (w, h) in SOURCES.items():
        i420 = picture(w, h)
        planes = split_planes(i420, w, h)
        for dst_hw in arguments.dst:
            letterbox = Letterbox((w, h), dst_hw, "yuv420p")
            ours, theirs = (np.zeros((3, *dst_hw), arguments.dtype) for _ in range(2))
            works = [lambda: letterbox.apply(planes, ours), lambda: with_opencv(i420, theirs, letterbox)]  # noqa: B023
            for work in works:
                work()
            times = np.array([[elapsed_ms(work, arguments.repeats) for work in works] for _ in range(arguments.rounds)])
            error = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).mean()
            print(
                f"{name:>6} {dst_hw[0]:>4}x{dst_hw[1]:<4} {quartiles(times[:, 0]):>25} {quartiles(times[:, 1]):>27}"
                f" {quartiles(times[:, 1] / times[:, 0]):>22} {error:7.3f}"
            )


if __name__ == "__main__":
    main()
