"""Estimates whether a machine can do a job, before hours are spent on it.

The sizes are generous estimates from real runs; a job is refused only if it can't succeed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from engine.config import EngineConfig
from orchestrator.job.records import ModelFacts, VideoFacts

# H.264 at crf 25, ultrafast, took 0.1 to 0.2 bits per pixel for the videos of streets and shops that were tried. The
# annotated video briefly exists twice: as a packet log and finished.
_BITS_A_PIXEL = 0.15
_VIDEO_COPIES = 2
# Ten objects per frame, each a row of about 190 bytes in each of the JSON files and 60 in the MOT file.
_ROW_BYTES = {"tracks": 1900, "detections": 1700, "mot": 600}
# A crop of 10 KB per track, which briefly exists twice, and a new track every fifth frame.
_CROP_BYTES = 4000
_ENGINE_BYTES = 400 << 20
_FRAME_BYTES = 1.5
_FRAMES_IN_FLIGHT = 16
_MIN_FRAME_BYTES = 16


@dataclass(frozen=True)
class Resources:
    """A machine's resources, and a job's needs. Memory is None if unknown."""

    cores: int
    memory_available_bytes: int | None
    memory_needed_bytes: int
    disk_free_bytes: int
    disk_needed_bytes: int
    gpu: bool

    def to_json(self, model: ModelFacts) -> dict[str, object]:
        return {**asdict(self), "model": replace(model, classes=()).to_json()}


@dataclass(frozen=True)
class Examination:
    """The resources, warnings, and why the job is refused (None: it is not)."""

    resources: Resources
    warnings: tuple[str, ...]
    refused: str | None


def needed_bytes(videos: Sequence[VideoFacts], config: EngineConfig) -> int:
    """Estimate the disk space that the outputs of `videos` (rows of the start record) will take."""
    rows = sum(_ROW_BYTES.get(name, 0) for name in config.formats)
    total = 0.0
    for video in videos:
        # A container may claim anything, but can't contain more frames than this.
        frames = min(video.frames or 0, video.size_bytes // _MIN_FRAME_BYTES)
        total += frames * rows
        if config.crops:
            total += frames * _CROP_BYTES
        if config.visualize:
            total += frames * video.pixels * _BITS_A_PIXEL / 8 * _VIDEO_COPIES
    return int(total)


def examine(videos: Sequence[VideoFacts], model: ModelFacts, config: EngineConfig, output: Path) -> Examination:
    """Compare the machine's resources with the job's needs."""
    needed, free = needed_bytes(videos, config), shutil.disk_usage(_existing(output)).free
    largest = max((video.pixels for video in videos), default=0)
    memory_needed = int(_ENGINE_BYTES + largest * _FRAME_BYTES * _FRAMES_IN_FLIGHT * 4)
    memory = available_memory()
    gpu = Path("/proc/driver/nvidia/version").exists()
    resources = Resources(len(os.sched_getaffinity(0)), memory, memory_needed, free, needed, gpu)
    warnings = []
    if needed > free / 2:
        warnings.append(
            f"The outputs need about {_size(needed)}, but {output} has {_size(free)} free. Free some, choose another "
            "output folder, or turn off the annotated videos (visualize: false)."
        )
    if memory is not None and memory < memory_needed:
        warnings.append(
            f"The engine needs about {_size(memory_needed)} of memory, but {_size(memory)} is available. Lower "
            "--concurrency, or `streams` and `window` in the configuration."
        )
    if config.device.startswith("cuda") and not gpu:
        warnings.append(
            f"device is {config.device}, but this machine has no NVIDIA driver: only a worker on a machine with one "
            "can do this job (`yolo-server --worker --queues yolo-gpu`)."
        )
    refused = None
    if model.error is not None:
        refused = model.error
    elif needed > free:
        refused = warnings[0]
    return Examination(resources, tuple(warnings), refused)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def available_memory() -> int | None:
    """Return the memory available to programs in bytes; None if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")), None)


def _size(count: int) -> str:
    value = float(count)
    for unit in ("bytes", "KB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
