"""Checks that memory stays flat. Each measurement runs in a separate process and reports its peak resident memory.

length  a video, and the same one --times as long (packets copied, timestamps shifted), with and without annotated
        video: the peak of the long one must be within 1.10 of the short one's.
clips   many short clips in one run: resident memory and open files, sampled every 100 clips, must be flat after the
        first sample: within 5 % or 8 MB, whichever is more, and 8 open files. With the fake backend, and with the
        real model on a fifth of the clips.
full-hd four 1080p videos decoded at once, with annotated videos: the peak must be below 500 MB.

Exit status 1 if one of them fails. Peaks are VmHWM of Linux, which excludes memory that is mapped but not resident.

    python -m benchmarks.soak [length clips full-hd] [--video people.mp4] [--times 10] [--clips 1000] [--json FILE]
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from benchmarks.clips import copy_packets, encode_resized
from benchmarks.machine import ROOT, asset, described, heading

MODEL = "models/yolox_nano.onnx"
LONGEST_RATIO = 1.10
FLAT_SHARE, FLAT_MB, FLAT_FILES = 0.05, 8.0, 8
FULL_HD_MB = 500
FULL_HD_FRAMES = 120
EVERY = 100

# This process stays small and does not import the engine, because its memory counts in the peak of its forks.


def peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        lines = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(lines[0].split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_own_process(inputs: list[Path], folder: Path, **options: Any) -> dict[str, Any]:
    """Run the engine over `inputs` in a fresh process: its summary's totals, its peak and its samples."""
    request = {"inputs": [str(path) for path in inputs], "folder": str(folder), **options}
    command = [sys.executable, "-m", "benchmarks.soak", "--child", json.dumps(request)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def child(inputs: list[str], folder: str, every: int = 0, **config: Any) -> dict[str, Any]:
    """Inside the fresh process. With `every`, memory and open files are sampled after each so many videos."""
    import psutil

    from engine import Engine, EngineConfig

    process, samples, done = psutil.Process(), [], 0

    def tick(_: object) -> None:
        nonlocal done
        found = sum(1 for _ in Path(folder).glob("*.mot.txt"))
        if every and found // every > done // every:
            memory_mb = process.memory_info().rss / 2**20
            samples.append(
                {"videos": found, "mb": memory_mb, "files": process.num_fds(), "threads": threading.active_count()}
            )
        done = found

    with Engine(EngineConfig(**config)) as engine:
        summary = engine.run(inputs, folder, progress=tick)
    return {"totals": summary["totals"], "success": summary["success"], "peak_mb": peak_mb(), "samples": samples}


def make_clip(target: Path, frames: int = 6, size_wh: tuple[int, int] = (64, 48)) -> None:
    """Write a video of a white square that moves on black."""
    import av
    import numpy as np

    width, height = size_wh
    with av.open(str(target), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            picture = np.zeros((height, width, 3), np.uint8)
            picture[10:30, 4 * number : 4 * number + 20] = 255
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))


def length(video: Path, times: int, folder: Path) -> list[dict[str, Any]]:
    long = folder / f"long{video.suffix}"
    copy_packets(video, long, times=times)
    results = []
    for visualize in (False, True):
        peaks, frames = [], []
        for path in (video, long):
            report = in_own_process([path], folder / "out", model=str(asset(MODEL)), visualize=visualize)
            peaks.append(report["peak_mb"])
            frames.append(report["totals"]["frames"])
        ratio = peaks[1] / peaks[0]
        good = ratio <= LONGEST_RATIO and frames[1] == times * frames[0]
        title = "annotated video" if visualize else "data only"
        print(
            f"length, {title}: {peaks[0]:.0f} MB at {frames[0]} frames, {peaks[1]:.0f} MB at {frames[1]}: {ratio:.3f}"
            f" {'ok' if good else 'NOT FLAT'}"
        )
        results.append({"measured": "length", "visualize": visualize, "frames": frames, "peak_mb": peaks, "good": good})
    long.unlink()
    return results


def clips(count: int, folder: Path) -> list[dict[str, Any]]:
    results = []
    settings = [
        ("fake backend, data only", count, {"backend": "fake", "visualize": False}),
        ("fake backend, annotated video", count, {"backend": "fake", "visualize": True}),
        ("YOLOX-nano, annotated video", count // 5, {"model": str(asset(MODEL)), "visualize": True}),
    ]
    for title, number, config in settings:
        inputs, out = folder / "clips", folder / "out"
        inputs.mkdir()
        make_clip(inputs / "0000.mp4")
        for each in range(1, number):
            shutil.copyfile(inputs / "0000.mp4", inputs / f"{each:04}.mp4")
        report = in_own_process([inputs], out, every=min(EVERY, number // 5), **config)
        shutil.rmtree(inputs)
        shutil.rmtree(out)
        samples = report["samples"]
        first = samples[0]
        most_mb = max(sample["mb"] for sample in samples)
        most_files = max(sample["files"] for sample in samples)
        allowed = first["mb"] + max(FLAT_MB, FLAT_SHARE * first["mb"])
        good = report["success"] and most_mb <= allowed and most_files <= first["files"] + FLAT_FILES
        print(f"clips, {title}, {number}: {'ok' if good else 'NOT FLAT'}; peak {report['peak_mb']:.0f} MB")
        for sample in samples:
            print(
                f"  {sample['videos']:5} clips {sample['mb']:7.1f} MB {sample['files']:4} files"
                f" {sample['threads']:3} threads"
            )
        results.append({"measured": "clips", "title": title, "clips": number, "samples": samples, "good": good})
    return results


def full_hd(video: Path, folder: Path) -> list[dict[str, Any]]:
    inputs = folder / "full-hd"
    inputs.mkdir()
    encode_resized(video, inputs / "0.mp4", (1920, 1080), FULL_HD_FRAMES)
    for number in range(1, 4):
        shutil.copyfile(inputs / "0.mp4", inputs / f"{number}.mp4")
    results = []
    for visualize in (False, True):
        report = in_own_process([inputs], folder / "out", model=str(asset(MODEL)), visualize=visualize, streams=4)
        good = report["success"] and report["peak_mb"] < FULL_HD_MB
        title = "annotated video" if visualize else "data only"
        print(f"full-hd, 4 at once, {title}: peak {report['peak_mb']:.0f} MB {'ok' if good else 'TOO MUCH'}")
        results.append({"measured": "full-hd", "visualize": visualize, "peak_mb": report["peak_mb"], "good": good})
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", metavar="length|clips|full-hd", help="default: all")
    parser.add_argument("--video", default="people.mp4", help="a name below videos/ of the assets")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--json", type=Path, help="append the results to this file, a line each")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(**json.loads(arguments.child))))
        return 0
    wanted = arguments.what or ["length", "clips", "full-hd"]
    if set(wanted) - {"length", "clips", "full-hd"}:
        parser.error("what must be length, clips or full-hd")
    machine = described("onnxruntime", "numpy", "av")
    print(heading(machine))
    video = asset(f"videos/{arguments.video}")
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        if "length" in wanted:
            results += length(video, arguments.times, Path(folder))
        if "clips" in wanted:
            results += clips(arguments.clips, Path(folder))
        if "full-hd" in wanted:
            results += full_hd(video, Path(folder))
    if arguments.json:
        with arguments.json.open("a", encoding="utf-8") as stream:
            for result in results:
                stream.write(json.dumps({"benchmark": "memory", "machine": machine, **result}) + "\n")
    return 0 if all(result["good"] for result in results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
