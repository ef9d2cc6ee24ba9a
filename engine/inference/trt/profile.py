"""The input shapes of a plan: minimum, optimum (the one it is tuned for) and maximum."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.errors import ConfigError

MAX_BATCH = 256

Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class Profile:
    """(N, 3, H, W) each."""

    least: Shape
    opt: Shape
    most: Shape

    @property
    def fixed_hw(self) -> tuple[int, int] | None:
        """(H, W) if there is only one."""
        return self.most[2:] if self.least[2:] == self.most[2:] else None

    def takes(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 4 and all(a <= s <= b for a, s, b in zip(self.least, shape, self.most, strict=True))


def make_profile(
    shape: str, model_hw: tuple[int, int], stride: int, batches: tuple[int, int, int], *, fixed: str | None = None
) -> Profile:
    """Build a profile. `shape` is square (the model's own size), rect (any rectangle within it, tuned for 16:9) or HxW
    (only that).

    fixed   why the ONNX only supports its own shape at batch 1; None if it supports others
    """
    least, opt, most = batches
    if not 1 <= least <= opt <= most <= MAX_BATCH:
        raise ConfigError(
            f"--min-batch, --opt-batch and --max-batch must rise and lie in [1, {MAX_BATCH}]. "
            f"Got {least}, {opt} and {most}."
        )
    if most > 1 and fixed is not None:
        raise ConfigError(f"--max-batch must be 1 for this model: {fixed}. Got {most}.")
    low, tuned, high = _sizes(shape, model_hw, stride)
    if fixed is not None and (low, high) != (model_hw, model_hw):
        raise ConfigError(
            f"--shape must be square for this model, {model_hw[0]}x{model_hw[1]}: {fixed}. Got {shape!r}."
        )
    return Profile((least, 3, *low), (opt, 3, *tuned), (most, 3, *high))


def _sizes(
    shape: str, model_hw: tuple[int, int], stride: int
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    if shape == "square":
        return model_hw, model_hw, model_hw
    if shape == "rect":
        height, width = model_hw
        wide = min(height, -(-width * 9 // 16 // stride) * stride)
        return (stride, stride), (wide, width), model_hw
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", shape)
    if found is None:
        raise ConfigError(f"--shape must be square, rect or a height and width such as 384x640. Got {shape!r}.")
    size = int(found[1]), int(found[2])
    if any(side % stride for side in size):
        raise ConfigError(f"--shape must be of multiples of the model's stride {stride}. Got {shape!r}.")
    return size, size, size
