"""The arguments of letterbox.cu: the tables of a geometry, and the single argument of a launch. NumPy only, no CUDA.

Geometry and checks come from an engine_ext.letterbox.Letterbox; tables and colours are the same as its own
(engine_ext.letterbox_tables), so that both round in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.inference.letterbox import LetterboxSpec
from engine_ext.letterbox import PLANES
from engine_ext.letterbox_tables import sample_to_rgb, tables

_FRACTION = 128  # of a sample: 7 bits
_FLOAT16_MAX = 65504.0

SAMPLE = np.dtype([("data", "<u8"), ("stride", "<i8"), ("step", "<i4"), ("table", "<i4")])
JOB = np.dtype(
    [
        ("sample", SAMPLE, (3,)),
        ("x_at", "<u8"),
        ("y_at", "<u8"),
        ("x_weight", "<u8"),
        ("y_weight", "<u8"),
        ("out", "<u8"),
        ("samples", "<i4"),
        ("dst_wh", "<i4", (2,)),
        ("left_top", "<i4", (2,)),
        ("wh", "<i4", (2,)),
        ("zero", "<i4", (3,)),
        ("weight", "<f4", (3, 3)),
        ("bias", "<f4", (3,)),
        ("low", "<f4", (3,)),
        ("high", "<f4", (3,)),
        ("fill", "<f4", (3,)),
        ("padding", "V4"),
    ]
)
"""LetterboxJob of letterbox.cu, 240 bytes."""

BLOCK = (32, 8, 1)


class LetterboxPlan:
    """One geometry, format and precision. `tables` must be copied to GPU memory; `job` returns the argument of a
    launch.

    Raises ValueError if Letterbox would reject the spec, or if its values don't fit the dtype.
    """

    def __init__(self, spec: LetterboxSpec) -> None:
        if spec.dtype not in ("float32", "float16", "uint8"):
            raise ValueError(f"dtype must be float32, float16 or uint8. Got {spec.dtype!r}.")
        self.letterbox = spec.make()
        self.kernel = f"letterbox_{spec.dtype}"
        components = PLANES[spec.pix_fmt]
        self.planes = len(components)
        height, width = spec.dst_hw
        self.grid = (-(-width // BLOCK[0]), -(-height // BLOCK[1]))
        self._job = np.zeros((), JOB)
        self._job["dst_wh"] = width, height
        self._job["left_top"] = self.letterbox.pad_xy
        self._job["wh"] = self.letterbox.resized_wh
        self._set_colour(spec)
        self._parts: tuple[NDArray[Any], ...] = tables(spec.src_wh, self.letterbox.resized_wh, components)
        self.tables = b"".join(part.tobytes() for part in self._parts)
        # Of each component: its plane and its place in a pixel of it.
        places = [(plane, byte) for plane, count in enumerate(components) for byte in range(count)]
        self._job["samples"] = len(places)
        self._places = places + places[:1] * (3 - len(places))
        for sample, (plane, _) in zip(self._job["sample"], self._places, strict=True):
            narrow = (spec.src_wh[0] if plane == 0 else (spec.src_wh[0] + 1) // 2) == 1
            sample["step"] = 0 if narrow else components[plane]
            sample["table"] = plane > 0

    def job(self, tables: int, planes: Sequence[int], pitches: Sequence[int], out: int) -> bytes:
        """Return the argument of a launch, from memory addresses."""
        if len(planes) != self.planes or len(pitches) != self.planes:
            raise ValueError(
                f"planes and pitches must be {self.planes} for {self.letterbox.pix_fmt}. "
                f"Got {len(planes)} and {len(pitches)}."
            )
        job = self._job.copy()
        job["sample"]["data"] = [planes[plane] + byte for plane, byte in self._places]
        job["sample"]["stride"] = [pitches[plane] for plane, _ in self._places]
        for name, part in zip(("x_at", "y_at", "x_weight", "y_weight"), self._parts, strict=True):
            job[name] = tables
            tables += part.nbytes
        job["out"] = out
        return job.tobytes()

    def _set_colour(self, spec: LetterboxSpec) -> None:
        zeros, rows = sample_to_rgb(spec.pix_fmt, spec.matrix, spec.full_range)
        scales, means = (np.broadcast_to(np.asarray(value, np.float64), 3) for value in (spec.scale, spec.mean))
        if spec.channel_order == "bgr":
            rows = rows[::-1]
        ends = np.sort([(0.0 - means) * scales, (255.0 - means) * scales], axis=0)
        if spec.dtype == "uint8" and not ((scales == 1).all() and (means == 0).all()):
            raise ValueError("dtype may be uint8 only with scale 1 and mean 0. Got another scale or mean.")
        if spec.dtype == "float16" and (largest := float(np.abs(ends).max())) > _FLOAT16_MAX:
            raise ValueError(f"dtype may be float16 only for values up to {_FLOAT16_MAX:g}. Got up to {largest:g}.")
        self._job["zero"] = np.multiply(zeros, _FRACTION)
        self._job["weight"] = np.array(rows) * scales[:, None] / _FRACTION
        self._job["bias"] = -means * scales
        self._job["low"], self._job["high"] = ends
        self._job["fill"] = (spec.pad_value - means) * scales
