"""The interface of backends: a loaded model that turns a tensor into raw outputs."""

from __future__ import annotations

from collections.abc import Sequence
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


class CpuModel(NamedTuple):
    """Input for building a CPU backend.

    path        the ONNX file, with dynamic axes if the model allows them
    name        the model as named by the user, for messages: the file may be in a cache
    size        height and width of the model's own input; other sizes may follow
    workers     number of threads that infer concurrently
    batch_safe  false if the model computes over the whole batch
    """

    path: Path
    name: str
    size: tuple[int, int]
    workers: int
    batch_safe: bool


class GpuModel(NamedTuple):
    """Input for building a GPU backend.

    config    what was requested
    manifest  the model's declaration; `freed` is its ONNX file, with dynamic axes if the model allows them
    sha256    hash of the file that `freed` was made from
    workers   number of threads that infer concurrently
    device    cuda or cuda:N; `number` is N; `gpu` is that GPU, None if there is none
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
    """A backend on a CPU, and why it was chosen; "" if it was requested."""

    backend: Backend
    why: str = ""


class OnGpu(NamedTuple):
    """A backend on a GPU, and why it can be used."""

    backend: Backend
    why: str


class Backend(Protocol):
    """A loaded model. `run` may be called concurrently by several threads, none of which waits for another.

    name         of the backend, as in the configuration
    provider     what actually computes, e.g. CPUExecutionProvider
    on_gpu       whether batching frames pays off
    input_dtype  NumPy name of the tensor's dtype
    batch_safe   false if a model computes over the whole batch, so that images would change each other's results
    fixed_hw     the only (H, W) it accepts; None if any
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
    """A backend that also accepts decoded frames, and builds the tensor itself."""

    @property
    def takes_frames(self) -> bool:
        """Whether `run_frames` can be used here."""
        ...

    def head_filters(self, conf: float, class_mask: NDArray[np.bool_] | None) -> Filters | None:
        """Return filters with which `run_frames` returns only the anchors that pass; None if not supported."""
        ...

    def run_frames(self, batch: PlaneBatch, filters: Filters | None = None) -> Sequence[NDArray[Any] | Decoded]:
        """Return a result per frame: the model's output, or (boxes, scores, class_ids) as from Layout.decode. The
        planes are not used after the return. Raises BackendError."""
        ...


def frame_backend(backend: Backend) -> FrameBackend | None:
    """Return the backend if it accepts frames, otherwise None."""
    return cast("FrameBackend", backend) if getattr(backend, "takes_frames", False) else None
