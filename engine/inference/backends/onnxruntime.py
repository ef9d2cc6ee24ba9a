"""ONNX Runtime: one session that many threads call concurrently.

On a CPU each call computes only on its caller's thread: several frames in parallel beat one frame spread over the
cores, since small convolutions don't fill them (YOLOX-nano on 2 cores: 7.4 instead of 9.9 ms per frame). On a GPU each
thread has its own input buffer, reused by all batches of the same shape.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import threading
from importlib import metadata
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engine.choices.backends import gpu_number
from engine.choices.defaults import GPU_BATCH
from engine.errors import BackendError, BackendMissing, ModelError
from engine.inference.backends.base import CpuModel, GpuModel, OnGpu
from engine.install import onnxruntime_gpu
from engine.text.printable import printable
from models.files import cache_dir
from models.onnx_meta import read_meta

log = logging.getLogger(__name__)

Shapes = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(uint8)": "uint8"}
_SHAPES_KEPT = 8


def installed_builds() -> list[str]:
    """Return the installed distributions of ONNX Runtime. They share a folder, so several shadow each other."""
    found = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return found


def shadowing() -> str | None:
    """Return a sentence with the remedy if several builds are installed, otherwise None."""
    builds = installed_builds()
    if len(builds) < 2:
        return None
    return f"{' and '.join(builds)} are both installed and shadow each other. Repair: {onnxruntime_gpu()}"


def on_cpu(model: CpuModel) -> OnnxRuntimeBackend:
    """Create the backend for a CPU. Raises BackendMissing and ModelError."""
    return OnnxRuntimeBackend(model.path, "cpu", batch_safe=model.batch_safe)


def on_cuda(model: GpuModel) -> OnGpu:
    """Return the CUDA provider. Raises BackendMissing and ModelError."""
    backend = OnnxRuntimeBackend(model.freed.path, model.device, batch_safe=model.freed.batch_safe)
    return OnGpu(backend, "ONNX Runtime has its CUDA provider")


def on_tensorrt(model: GpuModel) -> OnGpu:
    """Return the TensorRT provider; unless requested by name, only if its cache has this model's engine. Raises
    BackendMissing and ModelError."""
    cache = engine_cache(model.sha256, model.gpu.name if model.gpu is not None else "gpu")
    if not model.named and not any(cache.glob("*.engine")):
        raise BackendMissing("its cache has no engine of this model; --backend onnxruntime-tensorrt builds one")
    backend = OnnxRuntimeBackend(
        model.freed.path,
        model.device,
        tensorrt=True,
        batch_safe=model.freed.batch_safe,
        engines=cache,
        shapes=_profile(model) if model.freed.dynamic else None,
    )
    return OnGpu(backend, "--backend onnxruntime-tensorrt" if model.named else f"engines in {cache}")


def _profile(model: GpuModel) -> Shapes:
    """Return the TensorRT provider's minimum, optimum and maximum input shapes, so that no later shape triggers a
    rebuild."""
    spec, batch = model.manifest.input, model.config.batch or GPU_BATCH
    least = (spec.height, spec.width) if model.config.shape == "square" else (spec.stride, spec.stride)
    return (1, 3, *least), (batch, 3, spec.height, spec.width), (batch, 3, spec.height, spec.width)


class OnnxRuntimeBackend:
    """A model in ONNX Runtime. Satisfies engine.inference.backends.base.Backend."""

    name = "onnxruntime"

    def __init__(
        self,
        path: Path | bytes,
        device: str = "cpu",
        *,
        tensorrt: bool = False,
        batch_safe: bool = True,
        engines: Path | None = None,
        shapes: Shapes | None = None,
    ) -> None:
        """`device` is cpu, cuda or cuda:N; with `tensorrt`, ONNX Runtime's TensorRT provider computes there. It caches
        the engines that it builds in `engines`, for inputs from the minimum to the maximum of `shapes`, tuned for the
        optimum.

        Raises BackendMissing if the device can't be used, ModelError if the file can't.
        """
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise BackendMissing(f"ONNX Runtime can't be loaded ({error}). Repair: pip install onnxruntime") from error
        self.on_gpu = device.startswith("cuda")
        self.batch_safe = batch_safe
        named = "the model" if isinstance(path, bytes) else path
        self._number = gpu_number(device)
        providers = _providers(ort, device, self._number, tensorrt=tensorrt)
        options = ort.SessionOptions()
        # Its errors are raised as exceptions. On standard error they would appear a second time, with unescaped names
        # from the model and lengthy text about missing CUDA libraries, which is reported below in one sentence.
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # The memory layout is cached per input shape: 3 % less time on a CPU, at 7 MB for 45 shapes.
        options.enable_mem_pattern = not self.on_gpu
        if tensorrt and engines is not None and isinstance(path, Path):
            providers[0] = (providers[0][0], providers[0][1] | engine_options(path, engines, shapes))
        if self.on_gpu:
            _preload(ort)
        try:
            model = path if isinstance(path, bytes) else str(path)
            self._session = ort.InferenceSession(model, options, providers=providers)
        except Exception as error:
            raise ModelError(f"{named} can't be loaded by ONNX Runtime: {_first_line(error)}") from error
        self.provider = self._session.get_providers()[0]
        wanted = providers[0][0] if isinstance(providers[0], tuple) else providers[0]
        if self.provider != wanted:
            raise BackendMissing(
                f"{wanted} was requested and is not active: ONNX Runtime could not load its libraries. "
                "`yolo-engine doctor` says what is missing; --device cpu runs without."
            )
        entry = self._session.get_inputs()[0]
        if entry.type not in _DTYPES:
            raise ModelError(f"{named} takes {entry.type}; float32, float16 or uint8 are supported.")
        self.input_dtype = _DTYPES[entry.type]
        self._input = entry.name
        self._output = self._session.get_outputs()[0].name
        if len(entry.shape) != 4:
            raise ModelError(f"{named} takes {entry.shape}; an image (N, 3, H, W) is needed.")
        height, width = entry.shape[2:]
        self.fixed_hw = (height, width) if isinstance(height, int) and isinstance(width, int) else None
        self._ort = ort
        self._own = threading.local()

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        if self._session is None:
            raise BackendError("the engine is closed: its model was freed")
        try:
            output: NDArray[Any] = (
                self._bound("cuda").run(tensor)
                if self.on_gpu
                else self._session.run([self._output], {self._input: tensor})[0]
            )
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime failed on a {tensor.shape} {tensor.dtype} tensor: {printable(str(error))}"
            ) from error
        return output

    def _bound(self, where: str) -> Binding:
        """Return this thread's binding to device memory."""
        binding: Binding | None = getattr(self._own, "binding", None)
        if binding is None:
            binding = self._own.binding = Binding(
                self._ort, self._session, self._input, self._output, where, self._number
            )
        return binding

    def close(self) -> None:
        self._session = None


def _preload(ort: Any) -> None:
    """Load CUDA's and cuDNN's libraries from wheels, where no loader looks (ONNX Runtime 1.21 and later). Its output
    about missing ones is suppressed; whether the provider is active is checked later."""
    if preload := getattr(ort, "preload_dlls", None):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            preload()
        if said.getvalue():
            log.debug("%s", said.getvalue().strip())


class Binding:
    """One thread's input and output in device memory: a batch is copied once in each direction, while `session.run`
    would allocate and copy through pageable memory."""

    def __init__(self, ort: Any, session: Any, entry: str, output: str, device: str, number: int) -> None:
        self._ort = ort
        self._session = session
        self._entry = entry
        self._output = output
        self._device = device, number
        self._kept: dict[tuple[int, ...], Any] = {}

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return a new array."""
        key = tensor.shape
        value = self._kept.get(key)
        if value is None:
            if len(self._kept) >= _SHAPES_KEPT:
                self._kept.clear()
            value = self._kept[key] = self._ort.OrtValue.ortvalue_from_numpy(tensor, *self._device)
        else:
            value.update_inplace(tensor)
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(self._entry, value)
        binding.bind_output(self._output, *self._device)
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        output: NDArray[Any] = binding.copy_outputs_to_cpu()[0]
        return output


def engine_cache(onnx_sha256: str, gpu: str) -> Path:
    """Return the folder in which ONNX Runtime's TensorRT provider caches a model's engines for a kind of GPU."""
    return cache_dir("ort-tensorrt") / f"{onnx_sha256[:16]}-{re.sub(r'[^A-Za-z0-9.-]', '_', gpu)}"


def engine_options(path: Path, engines: Path, shapes: Shapes | None) -> dict[str, object]:
    """Return the provider's options, with the names of ONNX Runtime 1.20."""
    try:
        engines.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BackendMissing(f"the cache of engines {engines} can't be written: {error.strerror or error}.") from error
    options: dict[str, object] = {
        "trt_engine_cache_enable": True,
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": True,
        "trt_timing_cache_path": str(engines),
    }
    if shapes is not None:
        entry = read_meta(path).inputs[0].name
        for which, shape in zip(("min", "opt", "max"), shapes, strict=True):
            options[f"trt_profile_{which}_shapes"] = f"{entry}:{'x'.join(map(str, shape))}"
    return options


def _providers(ort: Any, device: str, number: int, *, tensorrt: bool) -> list[Any]:
    """Return the requested provider, followed by those that run the operators for which it has no kernel."""
    if not device.startswith("cuda"):
        return ["CPUExecutionProvider"]
    wanted = (["TensorrtExecutionProvider"] if tensorrt else []) + ["CUDAExecutionProvider"]
    if wanted[0] not in ort.get_available_providers():
        asked, without = f"--device {device}", "run with --device cpu"
        if tensorrt:
            asked, without = "--backend onnxruntime-tensorrt", "run without --backend and with --device cpu"
        reason = (
            shadowing()
            or f"the installed build has no {wanted[0]} ({', '.join(installed_builds())}). Repair: {onnxruntime_gpu()}"
        )
        raise BackendMissing(f"{asked} was requested, but {reason}; or {without}.")
    return [*((name, {"device_id": number}) for name in wanted), "CPUExecutionProvider"]


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
