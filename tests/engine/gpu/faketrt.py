"""A TensorRT without a card: the names and manners of `tensorrt` and `tensorrt_rtx`, over the fake driver's memory.

A plan is a few bytes; what it computes is a NumPy function. The names that are used are compared with those of the real
bindings, where they are installed (test_bindings.py).
"""

from enum import Enum
from types import SimpleNamespace

import numpy as np

WORKSPACE = 4096  # bytes of the GPU that an execution context takes


class Severity(Enum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    Severity = Severity


def make_trt(driver, record, compute, *, version="1.7.1.116", rtx=True):
    """The module. `compute` takes (B, 3, H, W) and gives the first output."""
    trt = SimpleNamespace(__version__=version, ILogger=ILogger)

    class Runtime:
        def __init__(self, logger):
            self._logger = logger

        def deserialize_cuda_engine(self, data):
            assert driver.current(), "no context is current"
            if not bytes(data).startswith(b"plan"):
                self._logger.log(Severity.ERROR, "the plan's magic tag does not match")
                return None
            return Engine(self._logger)

    class Engine:
        def __init__(self, logger):
            self._logger = logger

        def create_execution_context(self, config=None):
            assert driver.current(), "no context is current"
            trt.configs.append(config)
            try:
                memory = driver.mem_alloc(WORKSPACE)
            except driver.MemoryError:
                self._logger.log(Severity.ERROR, "Requested amount of GPU memory could not be allocated: OutOfMemory")
                return None
            return Execution(self._logger, memory)

    class Execution:
        def __init__(self, logger, memory):
            self._logger, self._memory = logger, memory
            self._shape = None
            self._addresses = {}
            self._warm = None
            driver.alive["execution"] += 1

        def __del__(self):
            if driver.current():
                driver.alive["execution"] -= 1
                self._memory.free()

        def set_input_shape(self, name, shape):
            assert name == record.inputs[0].name
            assert isinstance(shape, tuple)
            if not record.profile.takes(shape):
                self._logger.log(Severity.ERROR, f"{shape} is outside of the profile")
                return False
            self._shape = shape
            return True

        def set_tensor_address(self, name, memory):
            assert isinstance(memory, int)
            self._addresses[name] = memory
            return True

        def get_tensor_shape(self, name):
            (output,) = [each for each in record.outputs if each.name == name]
            return trt.output_shape(self._shape, output)

        def execute_async_v3(self, stream_handle):
            driver.need_context("execute_async_v3")
            stream = driver.streams[stream_handle]
            if trt.refuses:
                self._logger.log(Severity.ERROR, trt.refuses)
                return False
            assert set(self._addresses) == {each.name for each in (*record.inputs, *record.outputs)}
            if stream.recording is not None and self._warm != self._shape:
                self._logger.log(Severity.ERROR, "the first run of a shape can't be captured")
                return False
            self._warm = self._shape
            shape, addresses = self._shape, dict(self._addresses)
            stream.put(lambda: run(shape, addresses))
            return True

    def run(shape, addresses):
        entry, output = record.inputs[0], record.outputs[0]
        dtype = np.dtype(entry.dtype)
        tensor = driver.view(addresses[entry.name], int(np.prod(shape)) * dtype.itemsize).view(dtype).reshape(shape)
        answer = np.ascontiguousarray(compute(tensor)).astype(output.dtype)
        assert answer.shape == trt.output_shape(shape, output)
        raw = answer.reshape(-1).view(np.uint8)
        driver.view(addresses[output.name], len(raw))[:] = raw
        trt.batches.append(shape)

    trt.Runtime = Runtime
    trt.configs, trt.batches, trt.refuses = [], [], None
    trt.output_shape = lambda shape, output: (shape[0], *compute(np.zeros((1, *shape[1:]), np.float32)).shape[1:])
    if rtx:
        trt.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")
        trt.DynamicShapesKernelSpecializationStrategy = SimpleNamespace(EAGER="eager")
        trt.kept = []

        class Kernels:
            def deserialize(self, data):
                trt.kept.append(bytes(data))
                return True

            def serialize(self):
                return b"compiled kernels"

        class Config:
            cuda_graph_strategy = dynamic_shapes_kernel_specialization_strategy = kernels = None

            def create_runtime_cache(self):
                return Kernels()

            def set_runtime_cache(self, cache):
                self.kernels = cache
                return True

        Engine.create_runtime_config = lambda self: Config()
    return trt
