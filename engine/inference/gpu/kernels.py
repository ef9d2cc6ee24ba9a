"""The compiled kernels of one CUDA context: loads them and launches them. Satisfies engine.inference.gpu.protocol.

The driver, `pycuda.driver`, is handed in; this module imports none and makes no context.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

from engine.inference.gpu import heads_job, letterbox_job
from engine.inference.gpu.compiler import compile_all, find_compiler
from engine.inference.gpu.heads_job import HeadPlan
from engine.inference.gpu.letterbox_job import LetterboxPlan
from engine.inference.gpu.protocol import Function, HeadSpec
from engine.inference.letterbox import LetterboxSpec

LETTERBOX = tuple(f"letterbox_{dtype}" for dtype in ("float32", "float16", "uint8"))
HEADS = tuple(f"heads_{layout}_{dtype}" for layout in heads_job.MIN_FEATURES for dtype in ("float32", "float16"))


def load_kernels(driver: Any, capability: str) -> CudaKernels:
    """Compile the kernels for a compute capability such as "8.6", or read them from the user's cache, and load them
    into the current context. Raises BackendMissing if they can't be compiled here."""
    compiler = find_compiler(driver.get_driver_version() // 1000)
    return CudaKernels(driver, compile_all(compiler, capability))


class Constant:
    """Constant bytes in GPU memory. The context must be current when it is created and freed."""

    def __init__(self, driver: Any, content: bytes) -> None:
        self._memory = driver.mem_alloc(max(1, len(content)))
        self.address = int(self._memory)
        if content:
            stream = driver.Stream()  # a separate stream, so that no other work is waited for
            driver.memcpy_htod_async(self.address, content, stream)
            stream.synchronize()

    def free(self) -> None:
        """Free the memory. Idempotent."""
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.free()


class CudaKernels:
    """See protocol.Kernels."""

    def __init__(self, driver: Any, cubins: Mapping[str, bytes]) -> None:
        self._driver = driver
        self._modules = {name: driver.module_from_buffer(cubin) for name, cubin in cubins.items()}
        self._functions: dict[str, Function] = {}
        for source, names, job in (("letterbox", LETTERBOX, letterbox_job.JOB), ("heads", HEADS, heads_job.JOB)):
            for name in names:
                self._functions[name] = self._modules[source].get_function(name)
                self._functions[name].prepare([job])
        self._constants: weakref.WeakSet[Constant] = weakref.WeakSet()

    def letterbox(self, spec: LetterboxSpec) -> CudaLetterbox:
        plan = LetterboxPlan(spec)
        return CudaLetterbox(plan, self._functions[plan.kernel], self._constant(plan.tables))

    def head_filter(self, spec: HeadSpec) -> CudaHeadFilter:
        plan = HeadPlan(spec)
        return CudaHeadFilter(self._driver, plan, self._functions[plan.kernel], self._constant(plan.mask))

    def close(self) -> None:
        for constant in list(self._constants):
            constant.free()
        self._functions.clear()
        self._modules.clear()

    def _constant(self, content: bytes) -> Constant:
        constant = Constant(self._driver, content)
        self._constants.add(constant)
        return constant


class CudaLetterbox:
    """See protocol.LetterboxKernel."""

    def __init__(self, plan: LetterboxPlan, function: Function, tables: Constant) -> None:
        self.plan = plan
        self._function = function
        self._tables = tables

    def launch(self, planes: Sequence[int], pitches: Sequence[int], out: int, stream: Any) -> None:
        job = self.plan.job(self._tables.address, planes, pitches, out)
        self._function.prepared_async_call(self.plan.grid, letterbox_job.BLOCK, stream, job)


class CudaHeadFilter:
    """See protocol.HeadFilter."""

    def __init__(self, driver: Any, plan: HeadPlan, function: Function, mask: Constant) -> None:
        self.plan = plan
        self._driver = driver
        self._function = function
        self._mask = mask

    def launch(self, output: int, batch: int, counts: int, candidates: int, stream: Any) -> None:
        self._driver.memset_d32_async(counts, 0, batch, stream)
        job = self.plan.job(output, self._mask.address, counts, candidates)
        self._function.prepared_async_call(self.plan.grid(batch), heads_job.BLOCK, stream, job)
