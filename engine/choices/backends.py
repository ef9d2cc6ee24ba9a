"""The inference backends by their names in the configuration: one line per backend.

Importing this module loads none of them: programs that never compute anything validate configurations with it.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

AUTO = "auto"


class BackendKind(NamedTuple):
    """`cpu` and `gpu` are "module:function" that build it from an engine.inference.backends.base.CpuModel or GpuModel;
    None: not available there. `turn` is the order in which `--device auto` tries it on a GPU, lowest first; None: only
    if named explicitly. `title` is its name for people."""

    cpu: str | None = None
    gpu: str | None = None
    turn: int | None = None
    title: str = ""

    def on_cpu(self, model: Any) -> Any:
        """Return the backend on a CPU. Raises BackendMissing and ModelError."""
        assert self.cpu is not None
        return _made(self.cpu, model)

    def on_gpu(self, model: Any) -> Any:
        """Return an engine.inference.backends.base.OnGpu. Raises BackendMissing, PlanError and ConfigError."""
        assert self.gpu is not None
        return _made(self.gpu, model)


def _made(home: str, model: Any) -> Any:
    module, _, name = home.partition(":")
    return getattr(importlib.import_module(module), name)(model)


_ROOM = "engine.inference.backends"

BACKENDS: dict[str, BackendKind] = {
    "native": BackendKind(f"{_ROOM}.native:on_cpu"),
    "onnxruntime": BackendKind(
        f"{_ROOM}.onnxruntime:on_cpu", f"{_ROOM}.onnxruntime:on_cuda", 3, "ONNX Runtime's CUDA provider"
    ),
    "onnxruntime-tensorrt": BackendKind(
        gpu=f"{_ROOM}.onnxruntime:on_tensorrt", turn=2, title="ONNX Runtime's TensorRT provider"
    ),
    "openvino": BackendKind(f"{_ROOM}.openvino:on_cpu"),
    "tensorrt": BackendKind(gpu=f"{_ROOM}.tensorrt:on_gpu", turn=1, title="a TensorRT plan"),
    "fake": BackendKind(f"{_ROOM}.fake:on_cpu"),
}


def gpu_number(device: str) -> int:
    """Return the number of the GPU that `device` (cuda or cuda:N) names; 0 if it names none."""
    return int(device.partition(":")[2] or 0)


def needs_gpu(name: str) -> bool:
    """Return whether a backend of that name exists and runs on GPUs only."""
    return name in BACKENDS and BACKENDS[name].cpu is None
