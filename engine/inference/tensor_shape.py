"""The size of the model's input for a frame."""

from __future__ import annotations

import math


class TensorShape:
    """Chooses the tensor's (H, W) for a frame size.

    `square` is the model's own input size. `rect` scales the frame into that size in the same way, but pads only to the
    stride: the same pixels with less padding, so that a 16:9 video costs about 0.6 times as much as a square.
    """

    def __init__(self, model_hw: tuple[int, int], stride: int, *, rect: bool) -> None:
        self.model_hw = model_hw
        self.stride = stride
        self.rect = rect
        self._chosen: dict[tuple[int, int], tuple[int, int]] = {}  # by the frame's size: a run asks for each frame

    def __call__(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        chosen = self._chosen.get(size_wh)
        if chosen is None:
            chosen = self._chosen[size_wh] = self._choose(size_wh)
        return chosen

    def _choose(self, size_wh: tuple[int, int]) -> tuple[int, int]:
        if not self.rect:
            return self.model_hw
        height, width = self.model_hw
        ratio = min(width / size_wh[0], height / size_wh[1])
        return self._padded(size_wh[1] * ratio, height), self._padded(size_wh[0] * ratio, width)

    def _padded(self, side: float, most: int) -> int:
        return min(most, max(1, math.ceil(round(side, 3) / self.stride)) * self.stride)
