"""OpenVINO on a CPU, an extra: what computes in 8-bit integers, and in bfloat16 what our executor does not take.

A model is compiled for each size of image, which takes a second, since one of free axes takes a tenth longer to run. A
batch is computed image by image, so that its size can't change a result.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.choices.precision import Precision
from engine.errors import BackendError, BackendMissing, ModelError
from engine.inference.backends.base import CpuModel
from engine.install import extra
from engine.text.printable import printable

_DTYPES = {"f32": "float32", "f16": "float16", "u8": "uint8"}
_SIZES_KEPT = 8


def on_cpu(model: CpuModel) -> OpenVinoBackend:
    """Make the backend. Raises BackendMissing and ModelError."""
    return OpenVinoBackend(model.path, model.workers, batch_safe=model.batch_safe)


class OpenVinoBackend:
    """A model in OpenVINO. Satisfies engine.inference.backends.base.Backend."""

    name = "openvino"
    on_gpu = False

    def __init__(
        self,
        model: Path | bytes,
        workers: int,
        *,
        batch_safe: bool = True,
        precision: Precision = "f32",
        named: str = "",
    ) -> None:
        """`workers` requests compute at the same time, each on one thread.

        model      an ONNX file, or its bytes; `named` is what messages call it then
        precision  f32: the same answer on every CPU, also on one with bfloat16
        Raises BackendMissing if OpenVINO is not installed, ModelError if it does not take the model.
        """
        try:
            import openvino
        except ImportError as error:
            asked = "--backend openvino" if precision == "f32" else f"--precision {precision}"
            raise BackendMissing(
                f"{asked} was requested, but OpenVINO is not installed. Repair: {extra('openvino')}"
            ) from error
        self.batch_safe = batch_safe
        self.provider = "CPU" if precision == "f32" else f"OpenVINO {precision}"
        self._named = named or str(model if isinstance(model, Path) else "the model")
        self._settings = {
            "PERFORMANCE_HINT": "THROUGHPUT",
            "NUM_STREAMS": str(workers),
            "INFERENCE_NUM_THREADS": str(workers),
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        }
        self._core = openvino.Core()
        try:
            self._model = self._core.read_model(model if isinstance(model, bytes) else str(model))
        except RuntimeError as error:
            raise ModelError(f"{self._named} can't be loaded by OpenVINO: {_first_line(error)}") from error
        entry = self._model.input(0)
        dtype, dims = entry.get_element_type().get_type_name(), list(entry.get_partial_shape())
        if dtype not in _DTYPES:
            raise ModelError(f"{self._named} takes {dtype}; float32, float16 or uint8 are supported.")
        if len(dims) != 4:
            raise ModelError(f"{self._named} takes {entry.get_partial_shape()}; an image (N, 3, H, W) is needed.")
        self.input_dtype = _DTYPES[dtype]
        height, width = dims[2:]
        fixed = height.is_static and width.is_static
        self.fixed_hw = (height.get_length(), width.get_length()) if fixed else None
        self._compiled: dict[tuple[int, int], Any] = {}
        self._compiling = threading.Lock()
        self._own = threading.local()
        if self.fixed_hw is not None:
            try:
                self._compile(self.fixed_hw)
            except RuntimeError as error:
                raise ModelError(f"{self._named} can't be loaded by OpenVINO: {_first_line(error)}") from error

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        if self._model is None:
            raise BackendError("the engine is closed: its model was freed")
        try:
            request = self._request((tensor.shape[2], tensor.shape[3]))
            answers = []
            for first in range(len(tensor)):
                request.infer([tensor[first : first + 1]], share_inputs=True, share_outputs=True)
                # The one copy: the request's own buffer is written again by this thread's next inference.
                answers.append(np.array(request.get_output_tensor(0).data))
        except RuntimeError as error:
            raise BackendError(
                f"OpenVINO failed on a {tensor.shape} {tensor.dtype} tensor: {printable(str(error))}"
            ) from error
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def close(self) -> None:
        self._model = None
        self._compiled.clear()

    def _request(self, hw: tuple[int, int]) -> Any:
        """Return this thread's request for images of a size."""
        kept: dict[tuple[int, int], Any] = self._own.__dict__.setdefault("requests", {})
        if hw not in kept:
            if len(kept) >= _SIZES_KEPT:
                kept.clear()
            kept[hw] = self._compile(hw).create_infer_request()
        return kept[hw]

    def _compile(self, hw: tuple[int, int]) -> Any:
        with self._compiling:
            if hw not in self._compiled:
                if len(self._compiled) >= _SIZES_KEPT:
                    self._compiled.clear()
                model = self._model.clone()
                model.reshape([1, 3, *hw])
                self._compiled[hw] = self._core.compile_model(model, "CPU", self._settings)
            return self._compiled[hw]


def _first_line(error: RuntimeError) -> str:
    return printable(str(error).splitlines()[0] if str(error) else type(error).__name__)
