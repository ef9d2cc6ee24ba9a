"""What a backend is: a loaded model that turns a tensor into raw outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from engine.config import EngineConfig
    from engine.inference.gpu.filters import Filters
    from engine.inference.gpu.frames import PlaneBatch
    from engine.inference.layouts import Decoded
    from engine.inference.trt.gpu import Gpu
    from models.dynamic_axes import FreedModel
    from models.manifest import ModelManifest


@dataclass(frozen=True)
class CpuModel:
    """What a backend on a CPU is made of.

    path        the ONNX file, with dynamic axes where the model allows them
    name        the model as its user named it, for messages: the file may be one of a cache
    size        height and width of the model's own input; others may follow
    workers     threads that will infer at the same time
    batch_safe  false if the model computes over the whole batch
    """

    path: Path
    name: str
    size: tuple[int, int]
    workers: int
    batch_safe: bool


@dataclass(frozen=True)
class GpuModel:
    """What a backend on a GPU is made of.

    config    what was requested
    manifest  the model's declaration; `freed` is its ONNX file, with dynamic axes where the model allows them
    sha256    of the file that `freed` was made from
    workers   threads that will infer at the same time
    device    cuda or cuda:N, `number` N; `gpu` is the GPU of that number, None if none answers
    named     whether this backend was requested by name
    """

    config: EngineConfig
    manifest: ModelManifest
    freed: FreedModel
    sha256: str
    workers: int
    device: str
    number: int
    gpu: Gpu | None
    named: bool


class OnCpu(NamedTuple):
    """A backend on a CPU, and what it was chosen by; "" where it was asked for."""

    backend: Backend
    why: str = ""


class OnGpu(NamedTuple):
    """A backend on a GPU, and why it can be had."""

    backend: Backend
    why: str


class Backend(Protocol):
    """A loaded model. `run` may be called by several threads at once; none of them waits for another.

    name         of the backend, as in the configuration
    provider     what really computes, e.g. CPUExecutionProvider
    on_gpu       whether frames are worth batching
    input_dtype  NumPy name of the tensor's dtype
    batch_safe   false if a model computes over the whole batch, so that images would change each other's results
    fixed_hw     the only (H, W) it takes; None if it is free
    """

    name: str
    provider: str
    on_gpu: bool
    input_dtype: str
    batch_safe: bool
    fixed_hw: tuple[int, int] | None

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return the model's first output, (B, ...), for a (B, 3, H, W) tensor. Raises BackendError."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class FrameBackend(Backend, Protocol):
    """A backend that also takes frames as they are decoded, and makes the tensor of them itself."""

    @property
    def takes_frames(self) -> bool:
        """Whether `run_frames` can be used here."""
        ...

    def head_filters(self, conf: float, class_mask: NDArray[np.bool_] | None) -> Filters | None:
        """Return what `run_frames` may be given to answer only with the anchors that pass; None if it can't."""
        ...

    def run_frames(self, batch: PlaneBatch, filters: Filters | None = None) -> Sequence[NDArray[Any] | Decoded]:
        """Return one answer per frame: the model's output for it, or (boxes, scores, class_ids) as Layout.decode gives
        them. The planes are not needed any more when it returns. Raises BackendError."""
        ...


def frame_backend(backend: Backend) -> FrameBackend | None:
    """Return the backend, where it takes frames."""
    return cast("FrameBackend", backend) if getattr(backend, "takes_frames", False) else None
