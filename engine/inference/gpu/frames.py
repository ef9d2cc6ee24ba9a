"""A batch of frames for the GPU: their unchanged planes, and how to letterbox each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.inference.gpu.memory import aligned
from engine.inference.letterbox import LetterboxSpec
from engine_ext.letterbox import PLANES


@dataclass(frozen=True, slots=True)
class FramePlanes:
    """One frame. `planes` are (rows, line_size) uint8, of which the first `row_bytes` of each row are read."""

    spec: LetterboxSpec
    planes: list[NDArray[np.uint8]]
    row_bytes: tuple[int, ...]

    @property
    def pitches(self) -> list[int]:
        """Bytes from row to row once they are on the GPU."""
        return [-(-width // 16) * 16 for width in self.row_bytes]

    @property
    def sizes(self) -> list[int]:
        """Bytes of each plane there."""
        pairs = zip(self.pitches, self.planes, strict=True)
        return [aligned(pitch * len(plane)) for pitch, plane in pairs]

    def copy_to(self, out: NDArray[np.uint8]) -> None:
        """Write the planes one behind the other."""
        at = 0
        for plane, width, pitch, size in zip(self.planes, self.row_bytes, self.pitches, self.sizes, strict=True):
            rows = out[at : at + pitch * len(plane)].reshape(len(plane), pitch)
            np.copyto(rows[:, :width], plane[:, :width])
            at += size


def frame_planes(spec: LetterboxSpec, planes: list[NDArray[np.uint8]]) -> FramePlanes:
    """Check that the planes are those of such a frame, as engine_ext.letterbox.Letterbox.apply does. ValueError."""
    width, height = spec.src_wh
    components = PLANES[spec.pix_fmt]
    if len(planes) != len(components):
        raise ValueError(f"{spec.pix_fmt} has {len(components)} planes. Got {len(planes)}.")
    widths = []
    for number, (plane, interleaved) in enumerate(zip(planes, components, strict=True)):
        rows, columns = (height, width) if not number else (-(-height // 2), -(-width // 2))
        widths.append(columns * interleaved)
        if len(plane) != rows or plane.shape[1] < widths[-1]:
            raise ValueError(
                f"plane {number} of a {width}x{height} {spec.pix_fmt} frame must be {rows} rows of at least "
                f"{widths[-1]} bytes. Got {len(plane)} of {plane.shape[1]}."
            )
    return FramePlanes(spec, planes, tuple(widths))


@dataclass(frozen=True, slots=True)
class PlaneBatch:
    """Stands where a tensor would in a TensorBatch: the model's input is made of it on the GPU."""

    frames: list[FramePlanes]
    hw: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, 3, H, W) of the tensor it becomes."""
        return len(self.frames), 3, *self.hw

    def __len__(self) -> int:
        return len(self.frames)

    def part(self, first: int, last: int) -> PlaneBatch:
        return PlaneBatch(self.frames[first:last], self.hw)
