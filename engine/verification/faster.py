"""Keeps what `yolo-engine verify --precision` measured, to mention a faster precision once after a run.

The user's cache has one record per model and precision, valid only on the processor it was measured on. A record that
can't be read or written is ignored.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import NamedTuple

from engine.choices.precision import processor
from engine.text.printable import printable
from models.errors import ModelError
from models.files import atomic_write, cache_dir, read_regular

log = logging.getLogger(__name__)

_MAX_BYTES = 16_384
_WORTH = 1.1
_FASTER = ("bf16", "int8")


class Measured(NamedTuple):
    """A precision compared with f32 on a video.

    sha256   hash of the float model; `model` is the file to pass for the precision, "" if it is the same
    f1       agreement of boxes (engine.verification.agreement) over `frames` frames of `video`
    times    CPU time of an inference in f32 divided by that in the precision
    """

    sha256: str
    precision: str
    model: str
    processor: str
    video: str
    frames: int
    f1: float
    times: float
    told: bool = False


def remember(measured: Measured) -> None:
    """Store a measurement, replacing the previous one."""
    try:
        with atomic_write(_place(measured.sha256, measured.precision)) as stream:
            stream.write(json.dumps(measured._asdict()).encode())
    except (ModelError, OSError) as error:
        log.info("the measurement can't be stored: %s", error)


def worth_telling(sha256: str) -> str | None:
    """Return one line about the fastest precision measured for a model here, and mark it as told; None if there is none
    or it has been told before."""
    here = processor().name
    found = [known for each in _FASTER if (known := _recall(sha256, each)) is not None]
    found = [each for each in found if each.processor == here and not each.told and each.times >= _WORTH]
    if not found:
        return None
    best = max(found, key=lambda each: each.times)
    for each in found:
        remember(each._replace(told=True))
    named = f"--model {printable(best.model, 200)} " if best.model else ""
    return (
        f"Measured here: {best.precision} infers {best.times:.1f} times as fast as f32, and agreed with it by "
        f"{best.f1:.3f} (F1 at IoU 0.8) on {best.frames:,} frames of {printable(best.video, 200)}. Use it with "
        f"{named}--precision {best.precision}"
    )


def _place(sha256: str, precision: str) -> Path:
    return cache_dir("precision") / f"{sha256}-{precision}.json"


def _recall(sha256: str, precision: str) -> Measured | None:
    path = _place(sha256, precision)
    if not path.exists():
        return None
    try:
        found = Measured(**json.loads(read_regular(path, _MAX_BYTES)))
        whole = isinstance(found.frames, int) and isinstance(found.told, bool)
        numbers = all(isinstance(each, int | float) and math.isfinite(each) for each in (found.f1, found.times))
        texts = all(isinstance(each, str) for each in (found.model, found.processor, found.video))
    except (ModelError, ValueError, TypeError, RecursionError) as error:
        log.info("%s is not a record of a precision: %s", path, error)
        return None
    return found if whole and numbers and texts and (found.sha256, found.precision) == (sha256, precision) else None
