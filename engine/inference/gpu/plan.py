"""A TensorRT plan in memory, and its execution contexts. The CUDA context must be current for every call."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import BackendError, PlanError
from engine.inference.gpu.context import OutOfMemory
from engine.inference.trt.flavors import Flavor
from engine.inference.trt.network import make_logger
from engine.inference.trt.sidecar import PlanRecord
from models.errors import ModelError as ModelPackageError
from models.files import atomic_write, cache_dir

log = logging.getLogger(__name__)


class LoadedPlan:
    """A deserialised plan. Its execution contexts run concurrently, each on a separate stream.

    captures  whether the caller should capture CUDA graphs; TensorRT for RTX does that by itself
    """

    def __init__(self, path: Path, record: PlanRecord, flavor: Flavor, gpu_name: str) -> None:
        """Load the plan. Raises PlanError if TensorRT rejects it, OutOfMemory if it does not fit."""
        self.record = record
        self.captures = not flavor.ahead_of_time
        self._flavor = flavor
        self._logger = make_logger(flavor.trt)
        self._config: Any = None
        self._kernels: Any = None
        self._kernels_at = _kernel_cache(record, gpu_name)
        self._runtime = flavor.trt.Runtime(self._logger)
        self._engine = self._ask(lambda: self._runtime.deserialize_cuda_engine(path.read_bytes()))
        if self._engine is None:
            raise PlanError(
                f"{path}: {flavor.info.title} {flavor.version} can't load it: {self.said()}. "
                f"Build it again: `{record.command}`."
            )
        if flavor.ahead_of_time:
            self._set_up_rtx()

    def _set_up_rtx(self) -> None:
        """Configure TensorRT for RTX, which compiles its kernels on the GPU: cache them between runs, capture whole
        graphs if possible, and wait for the kernels of a new shape. By default the first batches of a shape run with
        other kernels, so that a frame's result could depend on when it arrived."""
        trt = self._flavor.trt
        with self._optional("a runtime configuration"):
            config = self._engine.create_runtime_config()
            with self._optional("CUDA graphs"):
                config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            with self._optional("eager kernels"):
                eager = trt.DynamicShapesKernelSpecializationStrategy.EAGER
                config.dynamic_shapes_kernel_specialization_strategy = eager
            with self._optional("a cache of kernels"):
                kernels = config.create_runtime_cache()
                if self._kernels_at.exists() and not kernels.deserialize(self._kernels_at.read_bytes()):
                    log.debug("%s is of no use: kernels are compiled anew", self._kernels_at)
                config.set_runtime_cache(kernels)
                self._kernels = kernels
            self._config = config

    @contextlib.contextmanager
    def _optional(self, what: str) -> Any:
        try:
            yield
        except (AttributeError, TypeError, OSError, RuntimeError, ModelPackageError) as error:
            log.debug("%s %s runs without %s: %s", self._flavor.info.title, self._flavor.version, what, error)

    def context(self) -> Any:
        """Return a new execution context, with its own memory on the GPU. Raises OutOfMemory or BackendError."""
        made = self._ask(
            lambda: (
                self._engine.create_execution_context()
                if self._config is None
                else self._engine.create_execution_context(self._config)
            )
        )
        if made is None:
            raise BackendError(f"{self._flavor.info.title} can't run the plan here: {self.said()}")
        return made

    def _ask(self, call: Callable[[], Any]) -> Any:
        """Return the result of a TensorRT call; None for a null pointer. Its errors are in its log."""
        before = len(self._logger.errors)
        try:
            made = call()
        except (TypeError, RuntimeError) as error:  # how pybind11 reports a null pointer
            self._logger.errors.append(str(error))
            made = None
        except MemoryError as error:
            raise OutOfMemory(str(error)) from error
        said = " ".join(self._logger.errors[before:])
        if made is None and re.search(r"out\s?of\s?memory|cuda.{0,30}alloc|\bOOM\b", said, re.IGNORECASE):
            raise OutOfMemory(said)
        return made

    def said(self) -> str:
        """Return TensorRT's last error."""
        return self._logger.errors[-1] if self._logger.errors else "it gives no reason"

    def close(self) -> None:
        """Free the plan; its execution contexts must be gone. Idempotent."""
        if self._engine is not None:
            self._keep_kernels()
        self._kernels = self._config = self._engine = self._runtime = None

    def _keep_kernels(self) -> None:
        if self._kernels is None:
            return
        with self._optional("keeping its kernels"):
            data = bytes(self._kernels.serialize())
            if data and not (self._kernels_at.exists() and self._kernels_at.read_bytes() == data):
                with atomic_write(self._kernels_at) as stream:
                    stream.write(data)


def _kernel_cache(record: PlanRecord, gpu_name: str) -> Path:
    about = re.sub(r"[^\w.-]", "_", f"{record.plan_sha256[:16]}-{record.version}-{gpu_name}")
    return cache_dir("rtx-kernels") / f"{about}.bin"
