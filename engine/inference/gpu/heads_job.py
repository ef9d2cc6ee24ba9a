"""The arguments of heads.cu, and the parsing of its results. NumPy only, no CUDA."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.inference.gpu.protocol import HeadSpec
from engine.inference.layouts import Decoded

_LEVELS = 8
_STRIDES = (8, 16, 32)
_FLOAT_INTEGERS = 2.0**24  # end2end without a mask: any class that float32 and int32 represent
MIN_FEATURES = {"yolox": 6, "yolov5": 6, "yolov8": 5, "end2end": 6}

JOB = np.dtype(
    [
        ("output", "<u8"),
        ("class_mask", "<u8"),
        ("counts", "<u8"),
        ("candidates", "<u8"),
        ("anchors", "<i4"),
        ("features", "<i4"),
        ("mask_classes", "<i4"),
        ("capacity", "<i4"),
        ("conf", "<f4"),
        ("class_limit", "<f4"),
        ("input_hw", "<i4", (2,)),
        ("levels", "<i4"),
        ("strides", "<i4", (_LEVELS,)),
        ("padding", "V4"),
    ]
)
"""HeadsJob of heads.cu, 104 bytes."""

BLOCK = (128, 1, 1)


class HeadPlan:
    """One output's shape, threshold and classes. `mask` must be copied to GPU memory; `job` returns the argument of a
    launch. Raises ValueError if the shape does not fit the layout or a value is out of range."""

    def __init__(self, spec: HeadSpec, strides: tuple[int, ...] = _STRIDES) -> None:
        anchors, features = spec.shape[::-1] if spec.layout == "yolov8" else spec.shape
        _check(spec, anchors, features, strides)
        self.kernel = f"heads_{spec.layout}_{spec.dtype}"
        self.capacity = spec.capacity
        self.mask = bytes(map(bool, spec.class_mask or ()))
        self._anchors = anchors
        self._job = np.zeros((), JOB)
        self._job["anchors"], self._job["features"] = anchors, features
        self._job["mask_classes"] = len(self.mask)
        self._job["capacity"] = spec.capacity
        self._job["conf"] = spec.conf
        self._job["class_limit"] = len(self.mask) or _FLOAT_INTEGERS
        self._job["input_hw"] = spec.input_hw
        self._job["levels"] = len(strides)
        self._job["strides"][: len(strides)] = strides

    def grid(self, batch: int) -> tuple[int, int]:
        return max(1, -(-self._anchors // BLOCK[0])), batch

    def job(self, output: int, mask: int, counts: int, candidates: int) -> bytes:
        """Return the argument of a launch, from memory addresses. `counts` must be zeroed."""
        job = self._job.copy()
        job["output"], job["class_mask"], job["counts"], job["candidates"] = output, mask, counts, candidates
        return job.tobytes()


def decoded(count: int, candidates: NDArray[Any]) -> Decoded | None:
    """Return one image's candidates in the order of the anchors, like engine_ext.decode_heads.

    None if the count exceeds them, because some are missing or (end2end) a class is invalid. The layout's own `decode`
    must read the whole output then, which also reports what is wrong.
    """
    if count > len(candidates):
        return None
    found = candidates[:count]
    found = found[np.argsort(found["index"], kind="stable")]
    return (
        np.ascontiguousarray(found["box_xyxy"]),
        np.ascontiguousarray(found["score"]),
        np.ascontiguousarray(found["class_id"]),
    )


def _check(spec: HeadSpec, anchors: int, features: int, strides: tuple[int, ...]) -> None:
    if spec.layout not in MIN_FEATURES:
        raise ValueError(f"layout must be one of {', '.join(MIN_FEATURES)}. Got {spec.layout!r}.")
    if spec.dtype not in ("float32", "float16"):
        raise ValueError(f"dtype must be float32 or float16. Got {spec.dtype!r}.")
    least = MIN_FEATURES[spec.layout]
    if anchors < 0 or features < least or (spec.layout == "end2end" and features != least):
        raise ValueError(f"shape must be one image's output of layout {spec.layout}. Got {spec.shape}.")
    if not 0.0 <= spec.conf <= 1.0:
        raise ValueError(f"conf must be a number in [0, 1]. Got {spec.conf}.")
    if spec.capacity < 1:
        raise ValueError(f"capacity must be an int above 0. Got {spec.capacity}.")
    classes = features - (4 if spec.layout == "yolov8" else 5)
    wrong = spec.layout != "end2end" and spec.class_mask is not None and len(spec.class_mask) != classes
    if wrong or spec.class_mask == ():
        raise ValueError(f"class_mask must have an entry a class, {classes}. Got {len(spec.class_mask or ())}.")
    if spec.layout == "yolox":
        height, width = spec.input_hw
        if not 0 < len(strides) <= _LEVELS or any(height % stride or width % stride for stride in strides):
            raise ValueError(f"input_hw must be multiples of each stride in {strides}. Got {spec.input_hw}.")
        expected = sum((height // stride) * (width // stride) for stride in strides)
        if anchors != expected:
            raise ValueError(
                f"shape must have {expected} rows, one a grid cell of an input of {height} x {width}. Got {anchors}."
            )
