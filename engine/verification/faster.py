"""What a faster precision gave when `yolo-engine verify --precision` measured it, kept to be told once after a run.

A record per model and precision is in the user's cache. It is of use on the processor it was measured on alone. A
record that can't be read or written is no reason to fail: it is as if nothing had been measured.
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from engine.choices.precision import processor
from engine.text.printable import printable
from models.errors import ModelError
from models.files import atomic_write, cache_dir, read_regular

log = logging.getLogger(__name__)

_MAX_BYTES = 16_384
_WORTH = 1.1
_FASTER = ("bf16", "int8")


@dataclass(frozen=True)
class Measured:
    """A precision beside f32 on a video.

    sha256   of the float model; `model` is what to name for the precision, "" where it is the same file
    f1       share of boxes that agree (engine.verification.agreement); `frames` of `video` were compared
    times    CPU time of an inference in f32 over that in the precision
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
    """Keep what was measured, in place of what was before."""
    try:
        with atomic_write(_place(measured.sha256, measured.precision)) as stream:
            stream.write(json.dumps(asdict(measured)).encode())
    except (ModelError, OSError) as error:
        log.info("what was measured is not kept: %s", error)


def worth_telling(sha256: str) -> str | None:
    """Return one line on the fastest precision that was measured for a model here, if it was not told yet. It counts as
    told then."""
    here = processor().name
    found = [known for each in _FASTER if (known := _recall(sha256, each)) is not None]
    found = [each for each in found if each.processor == here and not each.told and each.times >= _WORTH]
    if not found:
        return None
    best = max(found, key=lambda each: each.times)
    for each in found:
        remember(replace(each, told=True))
    named = f"--model {printable(best.model, 200)} " if best.model else ""
    return (
        f"Measured here: {best.precision} infers {best.times:.1f} times as fast as f32, and agreed with it by "
        f"{best.f1:.3f} (F1 at IoU 0.8) on {best.frames:,} frames of {printable(best.video, 200)}. It is had with "
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
