"""The contract between the backend and the kernels on the GPU.

The backend (backends/tensorrt.py, gpu/{context,memory,slot}.py) owns the context, all buffers, the streams and the
order of operations. The kernels (gpu/kernels.py over *.cu) own their module and constants, and only enqueue work. The
path of a batch, all on one stream of one worker:

    frame's planes --copy--> device planes --LetterboxKernel, once per frame--> the model's input --plan--> its output
    output --HeadFilter, once per batch--> counts and candidates --copy--> host

Rules for a launch:
* It enqueues on the given stream and returns at once, without allocation, synchronisation or copies from movable host
  memory, so that it can be captured into a CUDA graph.
* The caller ensures that the context is current in its thread. Several threads may launch the same kernel object
  concurrently, on other streams and buffers, so a launch must not modify the object.
* Addresses are plain ints (`CUdeviceptr`), aligned to 256 bytes, except for `out` of a letterbox, which is a slot
  within a
  batch: aligned to its dtype. Streams are `pycuda.driver.Stream`, or the fake's.
* Errors are raised as PyCUDA's own; the backend translates them.

The driver is passed in (`pycuda.driver`, or a fake in tests): kernels.py never imports PyCUDA and creates no context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from engine.inference.letterbox import LetterboxSpec

CANDIDATE = np.dtype(
    [("index", "<i4"), ("class_id", "<i4"), ("score", "<f4"), ("box_xyxy", "<f4", (4,))],
)
"""An anchor that passes, 28 bytes: its number in the output, best class, score, and box in pixels of the model's input,
as engine_ext.decode_heads gives them. In any order; the reader sorts by `index`, which is the order of the CPU."""


@dataclass(frozen=True)
class HeadSpec:
    """The parameters of a head filter.

    layout      yolox, yolov5 or yolov8 (end2end has few rows: they come back whole)
    dtype       of the output, float32 or float16
    shape       of one image's output: (A, 5 + C), for yolov8 (4 + C, A)
    input_hw    of the model's input; yolox's grid follows from it, with strides 8, 16, 32
    conf        lowest score, rounded to float32 as engine_ext.decode_heads does
    class_mask  one flag per class, or None for all
    capacity    candidates kept of one image. `counts` continues counting beyond: the caller then reads the whole output
    """

    layout: str
    dtype: str
    shape: tuple[int, int]
    input_hw: tuple[int, int]
    conf: float
    class_mask: tuple[bool, ...] | None
    capacity: int


class Event(Protocol):
    """A `pycuda.driver.Event`, or the fake's."""

    def record(self, stream: Any) -> object: ...

    def synchronize(self) -> object: ...

    def time_since(self, event: Any) -> float:
        """Return the milliseconds between two events."""
        ...


class Function(Protocol):
    """A `pycuda.driver.Function`, or the fake's."""

    def prepare(self, arg_types: Sequence[Any]) -> object: ...

    def prepared_async_call(self, grid: Any, block: Any, stream: Any, *arguments: Any) -> object: ...


class LetterboxKernel(Protocol):
    """One frame's planes -> one slot of the input tensor, its padding included."""

    def launch(self, planes: Sequence[int], pitches: Sequence[int], out: int, stream: Any) -> None:
        """
        planes   device addresses of the frame's planes, in the order of engine_ext.letterbox.PLANES
        pitches  bytes from a row of each plane to the next
        out      device address of (3, H, W) of the spec's dtype, C-contiguous; written in full
        """
        ...


class HeadFilter(Protocol):
    """Finds the anchors that pass in each image of a batch."""

    def launch(self, output: int, batch: int, counts: int, candidates: int, stream: Any) -> None:
        """
        output      device address of (B, *shape), C-contiguous, read
        batch       B
        counts      device address of (B,) int32, set to 0 by this launch, on the stream, and then counted up: anchors
                    that pass, more than `capacity` where there are more
        candidates  device address of (B, capacity) CANDIDATE; the first min(count, capacity) of each image are written
        """
        ...


class Kernels(Protocol):
    """The compiled kernels of one context, which must be current when they are created and closed."""

    def letterbox(self, spec: LetterboxSpec) -> LetterboxKernel:
        """Return the kernel for frames of one size and format, for the caller to keep; cheap, without compilation.
        Raises ValueError if engine_ext.letterbox.Letterbox would reject the spec."""
        ...

    def head_filter(self, spec: HeadSpec) -> HeadFilter:
        """Return the filter for one output shape; cheap. Raises ValueError if it can't read such an output."""
        ...

    def close(self) -> None:
        """Unload the module and free constants. Idempotent; no launch may be in progress."""
        ...


class LoadKernels(Protocol):
    """`engine.inference.gpu.kernels.load_kernels`."""

    def __call__(self, driver: Any, capability: str) -> Kernels:
        """Compile for a compute capability such as "8.6", or use the user's cache.

        Raises BackendMissing with the remedy if they can't be compiled here; the backend then reports that once and
        does this work on the CPU, with the same results.
        """
        ...
