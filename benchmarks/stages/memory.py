"""Peak memory of a fresh process (Linux's VmHWM): four concurrent 1080p videos, and a video and a longer one.

Each round is a process of its own; the model is YOLOX-nano. The images are real ones, enlarged. No warm-up is
needed. benchmarks/soak.py measures the same over hours: many clips, ten times the length.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.clips import in_words, lengthened, resized, shortened
from benchmarks.context import Context
from benchmarks.machine import asset
from benchmarks.record import Row, checked
from benchmarks.soak import FULL_HD_MB, LONGEST_RATIO, in_own_process

MODEL = "models/yolox_nano.onnx"
VIDEO = "people.mp4"
FULL_HD = (1920, 1080)
AT_ONCE = 4
# Frames of a 1080p video; memory only grows for the first fifty or so.
FRAMES = {"quick": 50, "full": 100, "large": 200}
# Frames of the shorter video, and how many times longer the other one is.
LENGTHS = {"quick": (40, 3), "full": (120, 4), "large": (341, 10)}


def measure(context: Context) -> Iterator[Row]:
    profile = context.profile.name
    modes = {"four 1080p videos": True} | ({} if profile == "quick" else {"four 1080p videos, tracks only": False})
    with tempfile.TemporaryDirectory() as folder:
        for case, visualize in modes.items():
            yield at_once(context, case, Path(folder), visualize=visualize)
        yield length(context, Path(folder))


def at_once(context: Context, case: str, folder: Path, *, visualize: bool) -> Row:
    video = resized(asset(f"videos/{VIDEO}"), FULL_HD, FRAMES[context.profile.name])
    inputs = folder / case
    inputs.mkdir()
    for number in range(AT_ONCE):
        shutil.copyfile(video, inputs / f"{number}{video.suffix}")
    reports = [peak([inputs], folder, visualize=visualize, streams=AT_ONCE) for _ in range(context.profile.rounds)]
    expected = AT_ONCE * FRAMES[context.profile.name]
    return context.row(
        "memory",
        case,
        figures={"engine": [report["peak_mb"] for report in reports]},
        ours="engine",
        input=f"{AT_ONCE} times {in_words(video)}",
        answer=frames_answer(reports, expected),
        limit_mb=FULL_HD_MB,
        annotated=visualize,
        **TOLD,
    )


def length(context: Context, folder: Path) -> Row:
    frames, times = LENGTHS[context.profile.name]
    video = shortened(asset(f"videos/{VIDEO}"), frames)
    long = lengthened(video, times)
    visualize = context.profile.name != "quick"
    reports: dict[str, list[dict[str, Any]]] = {"long video": [], "short video": []}
    for _ in range(context.profile.rounds):
        for name, path in (("short video", video), ("long video", long)):
            reports[name].append(peak([path], folder, visualize=visualize))
    frames_answer(reports["short video"], frames)
    return context.row(
        "memory",
        "length",
        figures={name: [report["peak_mb"] for report in found] for name, found in reports.items()},
        ours="long video",
        input=f"{in_words(long)}, beside {in_words(video)}",
        answer=frames_answer(reports["long video"], frames * times),
        times_longer=times,
        most_ratio=LONGEST_RATIO,
        annotated=visualize,
        **TOLD,
    )


TOLD: dict[str, Any] = {"unit": "MB", "better": "lower", "warmup": 0, "model": "yolox-nano"}


def peak(inputs: list[Path], folder: Path, **options: Any) -> dict[str, Any]:
    return in_own_process(inputs, folder / "out", model=str(asset(MODEL)), **options)


def frames_answer(reports: list[dict[str, Any]], expected: int) -> Any:
    """Check that every run processed every frame with the same results."""
    frames = {report["totals"]["frames"] for report in reports}
    found = {report["totals"]["detections"] for report in reports}
    return checked(
        all(report["success"] for report in reports) and frames == {expected} and len(found) == 1,
        "the frames of the input, and the detections of the other rounds",
        f"{min(frames)} of {expected} frames, {'the same' if len(found) == 1 else 'OTHER'} detections each time",
        frames=float(min(frames)),
        detections=float(min(found)),
    )
