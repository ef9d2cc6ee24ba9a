"""The kernels created so far by a backend: a letterbox per kind of frame, a head filter per output."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from engine.inference.gpu.protocol import HeadFilter, HeadSpec, Kernels, LetterboxKernel
from engine.inference.letterbox import LetterboxSpec

_FILTERED = ("yolox", "yolov5", "yolov8")
_KEPT = 64


class KernelSet:
    """Kernels of one context by purpose. Thread-safe; the context must be current for every call."""

    def __init__(self, kernels: Kernels) -> None:
        self._kernels = kernels
        self._letterboxes: dict[LetterboxSpec, LetterboxKernel] = {}
        self._filters: dict[HeadSpec, HeadFilter] = {}
        self._lock = threading.Lock()

    def letterbox(self, spec: LetterboxSpec) -> LetterboxKernel:
        with self._lock:
            if spec not in self._letterboxes:
                if len(self._letterboxes) >= _KEPT:
                    self._letterboxes.clear()
                self._letterboxes[spec] = self._kernels.letterbox(spec)
            return self._letterboxes[spec]

    def head_filter(self, spec: HeadSpec) -> HeadFilter:
        with self._lock:
            if spec not in self._filters:
                self._filters[spec] = self._kernels.head_filter(spec)
            return self._filters[spec]

    def close(self) -> None:
        with self._lock:
            self._letterboxes.clear()
            self._filters.clear()
            self._kernels.close()


class Filters:
    """The criteria for filtering heads, the same as in engine.stages.postprocess."""

    capacity = 1024

    def __init__(
        self, kernels: KernelSet, layout: str, dtype: str, conf: float, class_mask: NDArray[np.bool_] | None
    ) -> None:
        self._kernels = kernels
        self._layout = layout
        self._dtype = dtype
        self._conf = conf
        self._mask = None if class_mask is None else tuple(bool(flag) for flag in class_mask)

    @staticmethod
    def fit(layout: str, dtype: str) -> bool:
        """Return whether such outputs can and should be filtered; end2end has few rows and is copied whole."""
        return layout in _FILTERED and dtype in ("float32", "float16")

    def kernel(self, shape: tuple[int, ...], input_hw: tuple[int, ...]) -> HeadFilter | None:
        """Return the filter for one image's output; None if it can't be filtered, and the CPU will report what is wrong
        with it."""
        rows, columns = shape
        height, width = input_hw
        try:
            return self._kernels.head_filter(
                HeadSpec(
                    self._layout,
                    self._dtype,
                    (rows, columns),
                    (height, width),
                    self._conf,
                    self._mask,
                    self.capacity,
                )
            )
        except ValueError:
            return None
