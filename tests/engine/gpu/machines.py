"""Where the kernels' tests run: on the CPU, thread by thread, and on the card where there is one."""

import contextlib
import os

import numpy as np
import pytest

from engine.inference.gpu.kernels import CudaKernels, load_kernels
from engine.inference.trt.gpu import find_gpu
from tests.engine.gpu.emulator import EmulatedDriver

# Looked for without CUDA, which a test that forks must find untouched. Where none is, hundreds of skips would say so.
_DRIVERS = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")
CARDS = [pytest.param("card", marks=pytest.mark.gpu)] if any(map(os.path.exists, _DRIVERS)) else []
MACHINES = ["emulated", *CARDS]


class Machine:
    """Kernels, a stream, and memory: what is `put` stays until `clear`."""

    def __init__(self, driver, kernels, *, emulated):
        self.driver, self.kernels, self.emulated = driver, kernels, emulated
        self.stream = driver.Stream()
        self._held = []

    def put(self, array):
        """A copy of an array in the machine's memory, to its last byte and no further. Its address."""
        array = np.ascontiguousarray(array)
        memory = self.driver.mem_alloc(max(1, array.nbytes))
        self._held.append(memory)
        if array.nbytes:
            self.driver.memcpy_htod(int(memory), array)
        return int(memory)

    def get(self, address, like):
        """What lies there, with the shape and dtype of `like`."""
        self.stream.synchronize()
        found = np.empty_like(like)
        if found.nbytes:
            self.driver.memcpy_dtoh(found, address)
        return found

    def clear(self):
        for memory in self._held:
            memory.free()
        self._held.clear()


@contextlib.contextmanager
def opened(kind):
    """A machine of MACHINES. Skips where there is no card, or nothing to use it with."""
    if kind == "emulated":
        driver = EmulatedDriver()
        machine = Machine(driver, CudaKernels(driver, {"letterbox": b"", "heads": b""}), emulated=True)
        yield machine
        machine.clear()
        machine.kernels.close()
        assert not driver.allocated
        return
    if find_gpu() is None:
        pytest.skip("no NVIDIA GPU here")
    pytest.importorskip("pycuda.driver")
    from engine.inference.gpu.context import CudaContext

    context = CudaContext(0)
    try:
        with context.current() as driver:
            machine = Machine(driver, load_kernels(driver, context.capability), emulated=False)
            yield machine
            machine.clear()
            machine.kernels.close()
            del machine
    finally:
        context.close()
