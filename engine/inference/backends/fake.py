"""A backend for tests: finds one bright rectangle in each image, without a model.

Its output has the `end2end` layout, so everything around inference is real: a clip with a white square on black gives
the square's box in each frame.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError
from engine.inference.backends.base import CpuModel
from models.manifest import InputSpec, ModelManifest

_BRIGHT = 0.7


def fake_manifest(height: int = 128, width: int = 128) -> ModelManifest:
    """Return the fake model's declaration: float32 RGB in [0, 1], any multiple of 32."""
    return ModelManifest(
        name="fake",
        file="",
        sha256="",
        size_bytes=0,
        url="",
        licence="Apache-2.0",
        input=InputSpec(height=height, width=width, scale=1 / 255, pad_value=0.0),
        layout="end2end",
        strides=(32,),
        classes=("square",),
        description="finds bright rectangles; for tests",
    )


def on_cpu(model: CpuModel) -> FakeBackend:
    """Create the backend; the model is ignored."""
    return FakeBackend()


class FakeBackend:
    """Satisfies engine.inference.backends.base.Backend.

    delay_s     duration of each call, to make inference the bottleneck
    fail_after  number of successful calls, after which every call raises BackendError
    """

    name = "fake"
    provider = "fake"
    on_gpu = False
    input_dtype = "float32"
    batch_safe = True
    fixed_hw: tuple[int, int] | None = None

    def __init__(self, *, delay_s: float = 0.0, fail_after: int | None = None) -> None:
        self.calls = 0
        self._delay_s = delay_s
        self._fail_after = fail_after

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        self.calls += 1
        if self._fail_after is not None and self.calls > self._fail_after:
            raise BackendError("the fake backend was told to fail")
        if self._delay_s:
            time.sleep(self._delay_s)
        output = np.zeros((len(tensor), 1, 6), np.float32)
        for row, image in zip(output[:, 0], tensor, strict=True):
            rows, columns = np.nonzero(image.min(axis=0) > _BRIGHT)
            if len(rows):
                row[:5] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9
        return output

    def close(self) -> None:
        pass
