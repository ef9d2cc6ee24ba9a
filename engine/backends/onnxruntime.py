"""ONNX Runtime: one session that many threads call at once.

On a CPU each call computes on its caller's thread alone: several frames side by side beat one frame spread over the
cores, since small convolutions don't fill them (YOLOX-nano on 2 cores: 7.4 against 9.9 ms a frame).
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engine.errors import BackendError, BackendMissing, ModelError

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_GPU_INSTALL = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"


def installed_builds() -> list[str]:
    """The distributions of ONNX Runtime that are installed. More than one shadow each other: they share a folder."""
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def shadowing() -> str | None:
    """A sentence with the remedy when several builds are installed, else None."""
    builds = installed_builds()
    if len(builds) < 2:
        return None
    return f"{' and '.join(builds)} are both installed and shadow each other. Repair: {_GPU_INSTALL}"


class OnnxRuntimeBackend:
    """A model in ONNX Runtime. Satisfies engine.backends.base.Backend."""

    name = "onnxruntime"

    def __init__(self, path: Path, device: str = "cpu", *, tensorrt: bool = False, batch_safe: bool = True) -> None:
        """`device` is cpu, cuda or cuda:N; with `tensorrt`, ONNX Runtime's TensorRT provider computes there.

        Raises BackendMissing where the device can't be used, ModelError where the file can't.
        """
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise BackendMissing(f"ONNX Runtime can't be loaded ({error}). Repair: pip install onnxruntime") from error
        self.on_gpu = device.startswith("cuda")
        self.batch_safe = batch_safe
        providers = _providers(ort, device, tensorrt=tensorrt)
        options = ort.SessionOptions()
        options.log_severity_level = 4 if self.on_gpu else 3  # a missing CUDA library is told below, in one sentence
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.enable_mem_pattern = False  # input shapes vary
        try:
            self._session = ort.InferenceSession(str(path), options, providers=providers)
        except Exception as error:
            raise ModelError(f"{path} can't be loaded by ONNX Runtime: {_first_line(error)}") from error
        self.provider = self._session.get_providers()[0]
        wanted = providers[0][0] if isinstance(providers[0], tuple) else providers[0]
        if self.provider != wanted:
            raise BackendMissing(
                f"{wanted} was asked for and is not active: ONNX Runtime could not load its libraries. "
                "`yolo-engine doctor` says what is missing; --device cpu runs without."
            )
        entry = self._session.get_inputs()[0]
        if entry.type not in _DTYPES:
            raise ModelError(f"{path} takes {entry.type}; float32, float16 or uint8 are supported.")
        self.input_dtype = _DTYPES[entry.type]
        self._input = entry.name
        self._output = self._session.get_outputs()[0].name
        if len(entry.shape) != 4:
            raise ModelError(f"{path} takes {entry.shape}; a picture (N, 3, H, W) is needed.")
        height, width = entry.shape[2:]
        self.fixed_hw = (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        if self._session is None:
            raise BackendError("the engine is closed: its model was freed")
        try:
            output: NDArray[Any] = self._session.run([self._output], {self._input: tensor})[0]
        except Exception as error:
            raise BackendError(f"ONNX Runtime failed on a {tensor.shape} {tensor.dtype} tensor: {error}") from error
        return output

    def close(self) -> None:
        self._session = None


def _providers(ort: Any, device: str, *, tensorrt: bool) -> list[Any]:
    """The provider asked for, and behind it those that take the operators it has no kernel for."""
    if not device.startswith("cuda"):
        return ["CPUExecutionProvider"]
    wanted = (["TensorrtExecutionProvider"] if tensorrt else []) + ["CUDAExecutionProvider"]
    if wanted[0] not in ort.get_available_providers():
        asked = "--backend tensorrt" if tensorrt else f"--device {device}"
        reason = (
            shadowing()
            or f"the installed build has no {wanted[0]} ({', '.join(installed_builds())}). Repair: {_GPU_INSTALL}"
        )
        raise BackendMissing(f"{asked} was asked for, but {reason}; or run with --device cpu.")
    number = int(device.partition(":")[2] or 0)
    return [*((name, {"device_id": number}) for name in wanted), "CPUExecutionProvider"]


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
