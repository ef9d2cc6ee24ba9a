"""Decoding on the GPU through PyAV's hardware contexts: what this build supports, and whether the device opens.

This is only a check. The engine decodes on the CPU, because checkpoints, resumed runs and damaged files rely on
FFmpeg's own decoder always giving the same frames; whether a GPU's decoder does has not been tested. `hardware_planes`
is for the benchmark that compares the two.
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
    """`kinds` are the devices that this FFmpeg supports, `codecs` those that CUDA can decode. `problem` says why the
    device does not open, None if it does."""

    kinds: tuple[str, ...]
    codecs: tuple[str, ...]
    problem: str | None


def hardware_decoding(device: int = 0) -> HardwareDecoding:
    """Try to open GPU `device` for decoding. This may create a CUDA context in this process, so never call it before a
    fork."""
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
    """Yield the frames of a video as decoded by the GPU, copied to main memory (nv12; p010 for 10 bits). Raises PyAV's
    errors; nothing falls back to the CPU."""
    acceleration = HWAccel("cuda", device=str(device), allow_software_fallback=False)
    with av.open(str(video), hwaccel=acceleration) as container:
        yield from container.decode(video=0)


def opens_on_cuda(codec: Any) -> bool:
    """Return whether FFmpeg was built with CUDA support for this decoder."""
    return any(
        str(getattr(config.device_type, "name", config.device_type)) == "cuda" for config in codec.hardware_configs
    )
