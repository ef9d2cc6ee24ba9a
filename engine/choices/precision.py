"""Numeric precisions on a CPU (float32, bfloat16, 8-bit integers), and which of them a processor supports.

    f32    the file as it is, in our executor or in ONNX Runtime: the same bits whatever else is installed; deformable
           attention and shuffled channels in OpenVINO where that is installed
    bf16   float32 weights and activations rounded to 8 bits of mantissa, in our executor or in OpenVINO
    int8   a file made by `yolo-engine quantize`, in OpenVINO

Instructions alone do not make bfloat16 fast: in OpenVINO a Xeon with AVX-512 BF16 but without AMX needs 1.5 times the
time of float32 for YOLOv8n, an EPYC 0.55 times. `pays` tells whether a gain can be expected.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

Precision = Literal["f32", "bf16", "int8"]

_CPUINFO = Path("/proc/cpuinfo")
_NEEDED: dict[str, tuple[str, tuple[str, ...]]] = {
    "bf16": ("AVX-512 BF16 or AMX", ("avx512_bf16", "amx_bf16")),
    "int8": ("VNNI or AMX", ("avx512_vnni", "avx_vnni", "amx_int8")),
}


class Processor(NamedTuple):
    """A processor's name, vendor id and flags, as in Linux's /proc/cpuinfo."""

    name: str
    vendor: str
    flags: frozenset[str]

    def lacks(self, precision: Precision) -> str | None:
        """Return the instruction sets missing for a precision, as text for a message; None if it is supported."""
        if precision == "f32":
            return None
        named, flags = _NEEDED[precision]
        return None if self.flags.intersection(flags) else named

    def pays(self, precision: Precision) -> bool:
        """Return whether a precision can be expected to be faster than f32."""
        if self.lacks(precision) is not None:
            return False
        return precision != "bf16" or "amx_bf16" in self.flags or self.vendor == "AuthenticAMD"

    def computes(self, precision: Precision) -> str:
        """Return the instructions that compute a precision here, as people name them; "" where none are special."""
        named = {
            "f32": (("avx512f", "AVX-512"), ("avx2", "AVX2")),
            "bf16": (("amx_bf16", "AMX"), ("avx512_bf16", "AVX-512 BF16")),
            "int8": (("amx_int8", "AMX"), ("avx512_vnni", "AVX-512 VNNI"), ("avx_vnni", "AVX VNNI")),
        }
        return next((name for flag, name in named[precision] if flag in self.flags), "")


@cache
def processor(cpuinfo: Path = _CPUINFO) -> Processor:
    """Return this machine's processor; without a name and flags if `cpuinfo` can't be read."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        text = ""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return Processor(found.get("model name", ""), found.get("vendor_id", ""), frozenset(found.get("flags", "").split()))
