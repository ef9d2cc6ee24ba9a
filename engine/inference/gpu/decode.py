"""Decoding on the GPU, through PyAV's hardware contexts: what this build offers, and whether the device opens.

Only the check. The engine decodes on the CPU: a checkpoint, a resumed run and a damaged file all lean on FFmpeg's own
decoder giving the same frames every time, and whether a card's does was not tried on a card yet. `hardware_planes` is
for the benchmark that compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4", "mpeg2video", "mjpeg")


@dataclass(frozen=True)
class HardwareDecoding:
    """`kinds` of devices that this FFmpeg knows, `codecs` that it can hand to CUDA. `problem` says why the device does
    not open, None if it does."""

    kinds: tuple[str, ...]
    codecs: tuple[str, ...]
    problem: str | None


def hardware_decoding(device: int = 0) -> HardwareDecoding:
    """Try to open GPU `device` for decoding. Makes a CUDA context in this process where it can, so never call it before
    a fork."""
    kinds = tuple(hwdevices_available())
    codecs = tuple(name for name in CODECS if name in av.codecs_available and opens_on_cuda(av.Codec(name, "r")))
    if not codecs:
        return HardwareDecoding(kinds, codecs, "this FFmpeg was built without CUDA")
    try:
        HWAccel("cuda", device=str(device), allow_software_fallback=False).create(av.Codec(codecs[0], "r"))
    except Exception as error:  # noqa: BLE001 - FFmpeg's errors are of many kinds, and any of them is the answer
        return HardwareDecoding(kinds, codecs, f"cuda does not open ({getattr(error, 'strerror', None) or error})")
    return HardwareDecoding(kinds, codecs, None)


def hardware_planes(video: Path, device: int = 0) -> Iterator[Any]:
    """Yield the frames of a video as the GPU decodes them, copied to main memory (nv12; with 10 bits p010). Raises what
    PyAV raises where it can't: nothing falls back to the CPU."""
    acceleration = HWAccel("cuda", device=str(device), allow_software_fallback=False)
    with av.open(str(video), hwaccel=acceleration) as container:
        yield from container.decode(video=0)


def opens_on_cuda(codec: Any) -> bool:
    """Return whether FFmpeg was built with a CUDA way for this decoder."""
    return any(
        str(getattr(config.device_type, "name", config.device_type)) == "cuda" for config in codec.hardware_configs
    )
