"""Tiny clips, engines with the fake backend, and runs of the command line in separate processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np

from engine import Engine, EngineConfig
from engine.alarms import AlarmSettings
from engine.inference.backends.fake import FakeBackend, fake_manifest
from engine.inference.layouts import get_layout
from engine.inference.model import LoadedModel
from engine.inference.tensor_shape import TensorShape
from engine.resume.attempts import label
from engine.resume.checkpoint import EVERY_S

ROOT = Path(__file__).resolve().parents[2]


def clip(
    path: Path,
    frames: int = 12,
    size_wh: tuple[int, int] = (64, 48),
    *,
    seed: int = 0,
    codec: str = "mpeg4",
    container: str | None = None,
    rate: int = 25,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a clip of a white square that moves on black, from a position that depends on `seed`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    width, height = size_wh
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        if options is not None or codec == "libx264":
            stream.options = options or {"preset": "ultrafast"}
        for index in range(frames):
            image = np.zeros((height, width, 3), np.uint8)
            left, top = (3 * seed + index) % (width // 2), (5 * seed + index // 2) % (height // 2)
            image[top : top + 16, left : left + 16] = 255
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        output.mux(stream.encode(None))
    return path


def fake_engine(
    *,
    delay_s: float = 0.0,
    fail_after: int | None = None,
    checkpoint_s: float = EVERY_S,
    stats: bool = False,
    alarms: AlarmSettings | None = None,
    **settings: Any,
) -> Engine:
    """Return an engine whose model finds the white square."""
    config = EngineConfig(**{"backend": "fake", "visualize": False, "min_hits": 1, **settings})
    backend = FakeBackend(delay_s=delay_s, fail_after=fail_after)
    model = LoadedModel(fake_manifest(), backend, get_layout("end2end"), TensorShape((128, 128), 32, rect=True), "")
    return Engine(config, stats=stats, model=model, checkpoint_s=checkpoint_s, alarms=alarms)


def statuses(summary: dict[str, Any]) -> dict[str, str]:
    """Return the statuses by file name."""
    return {Path(video["path"]).name: video["status"] for video in summary["videos"]}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def frames_in(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def attempt(output: Path, stem: str) -> Path:
    """Return the folder of the last attempt at a video."""
    found = (output / ".yolo-engine" / label(PurePosixPath(stem))).glob("[0-9]*")
    return max(found, key=lambda path: int(path.name))


def is_there(folder: Path, pattern: str) -> bool:
    """Whether there is such a file of a run. A folder may be renamed while it is looked through."""
    try:
        return any(folder.rglob(pattern))
    except FileNotFoundError:
        return False


def left_over(folder: Path, *patterns: str) -> list[str]:
    """Return what a run should not leave behind."""
    wanted = patterns or ("*.part", "*.new", ".write-test-*", ".yolo-engine.lock")
    return sorted(path.name for pattern in wanted for path in folder.rglob(pattern))


def engine_threads() -> list[str]:
    """Return the live threads of the engine."""
    names = ("decode-", "worker-", "sink-", "hash", "stream")
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith(names))


def cli(*arguments: Any, delay_s: float = 0.0, checkpoint_s: float = EVERY_S, **options: Any) -> subprocess.Popen[str]:
    """Start `yolo-engine` in a separate process, with a fake backend that takes `delay_s` per call."""
    given = {"FAKE_DELAY_S": str(delay_s), "CHECKPOINT_S": str(checkpoint_s)}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **given}
    command = [sys.executable, "-m", "tests.e2e.slow_cli", *map(os.fspath, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, **options.pop("env", {})},
        **options,
    )


def ended(process: subprocess.Popen[str], timeout_s: float = 60.0) -> tuple[int, str, str]:
    """Return exit status, standard output and standard error. Kill a process that does not end in time, and fail."""
    try:
        output, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, output, errors
