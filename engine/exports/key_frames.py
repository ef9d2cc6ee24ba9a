"""Reduces a track to the few boxes from which the others can be interpolated, so that people edit 20 instead of 2000.

Between key frames every tool interpolates linearly by frame number. The algorithm of Douglas and Peucker (1973) keeps
the two ends of a section, and recursively the box between them that is furthest from the interpolation, until none is
off by more than the permitted error.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def runs_of(frames: NDArray[np.int64]) -> list[slice]:
    """Return the gapless parts of a track. frames: (N,) int64, ascending."""
    bounds = np.flatnonzero(np.diff(frames) != 1) + 1
    starts, ends = [0, *bounds.tolist()], [*bounds.tolist(), len(frames)]
    return [slice(start, end) for start, end in zip(starts, ends, strict=True) if end > start]


def key_frames(frames: NDArray[np.int64], boxes: NDArray[np.float64], error_px: float) -> NDArray[np.intp]:
    """Return the indices (K,) of the boxes to keep, ends included: no side of any other box deviates by more than
    `error_px` pixels from the interpolation between its kept neighbours. frames (N,) int64, boxes (N, 4) float64, of a
    gapless part. Deterministic."""
    keep = np.zeros(len(frames), dtype=np.bool_)
    if not len(frames):
        return np.flatnonzero(keep)
    keep[[0, -1]] = True
    left = [(0, len(frames) - 1)]
    while left:
        first, last = left.pop()
        if last - first < 2:
            continue
        share = (frames[first + 1 : last] - frames[first]) / (frames[last] - frames[first])
        on_the_line = boxes[first] + share[:, None] * (boxes[last] - boxes[first])
        off = np.abs(boxes[first + 1 : last] - on_the_line).max(axis=1)
        worst = int(off.argmax())
        if off[worst] > error_px:
            middle = first + 1 + worst
            keep[middle] = True
            left += [(first, middle), (middle, last)]
    return np.flatnonzero(keep)
