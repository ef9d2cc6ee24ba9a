"""OpenVINO on a CPU, an extra. One inference request a calling thread."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, BackendMissing, ModelError
from engine.inference.backends.base import CpuModel
from engine.install import extra
from engine.text.printable import printable

_DTYPES = {"f32": "float32", "f16": "float16", "u8": "uint8"}


def on_cpu(model: CpuModel) -> OpenVinoBackend:
    """Make the backend. Raises BackendMissing and ModelError."""
    return OpenVinoBackend(model.path, model.workers, batch_safe=model.batch_safe)


class OpenVinoBackend:
    """A model in OpenVINO. Satisfies engine.inference.backends.base.Backend."""

    name = "openvino"
    on_gpu = False

    def __init__(self, path: Path, workers: int, *, batch_safe: bool = True) -> None:
        """`workers` requests compute at the same time, each on one thread."""
        try:
            import openvino
        except ImportError as error:
            raise BackendMissing(
                f"--backend openvino was asked for, but OpenVINO is not installed. Repair: {extra('openvino')}"
            ) from error
        self.batch_safe = batch_safe
        settings = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": str(workers),
            "INFERENCE_NUM_THREADS": str(workers),
            "INFERENCE_PRECISION_HINT": "f32",  # the same answer on every CPU, also one with bfloat16
        }
        try:
            core = openvino.Core()
            model = core.read_model(str(path))
            self._model = core.compile_model(model, "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"{path} can't be loaded by OpenVINO: {str(error).splitlines()[0]}") from error
        self.provider = "CPU"
        entry = self._model.input(0)
        dtype, dims = entry.get_element_type().get_type_name(), list(entry.get_partial_shape())
        if dtype not in _DTYPES:
            raise ModelError(f"{path} takes {dtype}; float32, float16 or uint8 are supported.")
        if len(dims) != 4:
            raise ModelError(f"{path} takes {entry.get_partial_shape()}; a picture (N, 3, H, W) is needed.")
        self.input_dtype = _DTYPES[dtype]
        height, width = dims[2:]
        fixed = height.is_static and width.is_static
        self.fixed_hw = (height.get_length(), width.get_length()) if fixed else None
        self._own = threading.local()

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        request: Any = getattr(self._own, "request", None)
        try:
            if request is None:
                request = self._own.request = self._model.create_infer_request()
            request.infer([tensor], share_inputs=True)
            # A copy: the request's own buffer is written again by this thread's next inference.
            return np.array(request.get_output_tensor(0).data)
        except RuntimeError as error:
            raise BackendError(
                f"OpenVINO failed on a {tensor.shape} {tensor.dtype} tensor: {printable(str(error))}"
            ) from error

    def close(self) -> None:
        self._model = None
