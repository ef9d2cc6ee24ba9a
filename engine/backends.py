"""The backends that can compute a model, by the name that a configuration gives them: one line per backend.

Importing this loads none of them: the configuration is checked against it by programs that never compute anything.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

AUTO = "auto"


@dataclass(frozen=True)
class BackendKind:
    """`cpu` is the module and function that makes it of an engine.inference.backends.base.CpuModel; None: it computes
    on a GPU only. `gpu`: it computes on a GPU, where engine.inference.select makes it."""

    cpu: str | None = None
    gpu: bool = False

    def on_cpu(self, model: Any) -> Any:
        """Make it for a CPU. Raises BackendMissing and ModelError."""
        assert self.cpu is not None
        module, _, name = self.cpu.partition(":")
        return getattr(importlib.import_module(module), name)(model)


BACKENDS: dict[str, BackendKind] = {
    "native": BackendKind("engine.inference.backends.native:on_cpu"),
    "onnxruntime": BackendKind("engine.inference.backends.onnxruntime:on_cpu", gpu=True),
    "onnxruntime-tensorrt": BackendKind(gpu=True),
    "openvino": BackendKind("engine.inference.backends.openvino:on_cpu"),
    "tensorrt": BackendKind(gpu=True),
    "fake": BackendKind("engine.inference.backends.fake:on_cpu"),
}


def needs_gpu(name: str) -> bool:
    """Return whether there is a backend of that name, and it computes on a GPU only."""
    return name in BACKENDS and BACKENDS[name].cpu is None
