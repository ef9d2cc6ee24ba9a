"""python -m tests.engine.gpu.hostdriver.run LIBCUDA KERNELS FOLDER: the backend over the real PyCUDA."""

import ctypes
import gc
import sys
import threading
from pathlib import Path
from unittest.mock import patch

import numpy as np

HOST = ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)  # ahead of PyCUDA, which then finds its names in it
KINDS = "memory pinned stream event module context graph".split()
OUT_OF_MEMORY, LAUNCH_FAILED = 2, 719

import pycuda.driver as cuda  # noqa: E402

from engine.errors import BackendError  # noqa: E402
from engine.inference.backends.tensorrt import TensorRtBackend  # noqa: E402
from engine.inference.gpu.graphs import GraphApi  # noqa: E402
from engine.inference.gpu.kernels import CudaKernels  # noqa: E402
from engine.inference.layouts import get_layout  # noqa: E402
from engine.records import FrameBatch  # noqa: E402
from tests.engine.gpu.fakemachine import FakeMachine, mean_of_cells, tensor_of  # noqa: E402
from tests.engine.gpu.test_frames import HW, on_cpu, on_gpu, some_frames  # noqa: E402


class Process:
    """The fake TensorRT's view of this process as a machine: any address is memory, streams are the driver's."""

    alive = {"execution": 0}  # noqa: RUF012 - one process, one machine
    MemoryError = cuda.MemoryError

    def __init__(self):
        self.calls = []
        self.streams = self

    def current(self):
        return HOST.host_depth() > 0

    def need_context(self, name):
        assert self.current(), name

    def mem_alloc(self, nbytes):
        return cuda.mem_alloc(nbytes)

    def view(self, address, nbytes):
        return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))

    def __getitem__(self, handle):
        return HostStream(self, handle)


class HostStream:
    """A stream of the driver's, on which TensorRT enqueues."""

    recording = None

    def __init__(self, process, handle):
        self._process, self._handle = process, handle

    def put(self, work):
        callback = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: work())
        self._process.calls.append(callback)  # a graph calls it again
        assert HOST.host_enqueue(ctypes.c_void_p(self._handle), callback, None) == 0


def machine_in(folder, *, rtx):
    folder.mkdir()
    process = Process()
    with patch("tests.engine.gpu.fakemachine.FakeDriver", lambda memory: process):
        machine = FakeMachine(folder, rtx=rtx, kernels=True)
    machine.make = lambda **options: TensorRtBackend(
        machine.plan,
        flavor=machine.flavor,
        load_kernels=lambda driver, capability: CudaKernels(driver, {"letterbox": b"cubin", "heads": b"cubin"}),
        graphs=lambda: GraphApi(HOST),
        **options,
    )
    return machine


def check_nothing_left(what):
    gc.collect()
    left = {kind: HOST.host_left(number) for number, kind in enumerate(KINDS) if HOST.host_left(number)}
    assert not left, (what, left)
    assert HOST.host_depth() == 0


def check_tensors(machine):
    backend = machine.make(batch=8, lanes=2)
    assert backend.gpu.name == "Fake 3080"
    failures = []

    def work(seed):
        for step in range(12):
            tensor = tensor_of(100 * seed + step, 1 + (seed + step) % 6, 32 * (1 + step % 2))
            if not np.array_equal(backend.run(tensor), mean_of_cells(tensor)):
                failures.append((seed, step))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    if not machine.flavor.ahead_of_time:
        assert HOST.host_left(KINDS.index("graph")) > 0
    assert sum(backend.times_ms) > 0
    backend.close()
    backend.close()
    check_nothing_left("tensors")


def check_frames(machine):
    backend = machine.make(batch=4, lanes=1)
    record = FrameBatch(some_frames(), HW)
    outputs = on_cpu(record, backend)
    np.testing.assert_array_equal(np.stack(on_gpu(record, backend)), outputs)
    filters = backend.head_filters(0.055, None)
    for output, found in zip(outputs, on_gpu(record, backend, filters), strict=True):
        for got, expected in zip(found, get_layout("yolov5").decode(output, HW, 0.055), strict=True):
            np.testing.assert_array_equal(got, expected)
    backend.close()
    check_nothing_left("frames")


def check_failures(machine):
    for name, code, part in [
        ("cuMemcpyHtoDAsync_v2", LAUNCH_FAILED, "CUDA failed while inferring: cuMemcpyHtoDAsync failed: unspecified"),
        ("cuEventSynchronize", LAUNCH_FAILED, "CUDA failed while inferring: cuEventSynchronize failed"),
        ("cuCtxPopCurrent_v2", 1, None),
    ]:
        backend = machine.make(lanes=1)
        backend.run(tensor_of(1))
        HOST.host_fail(name.encode(), 0, code)
        message = said_by(lambda backend=backend: backend.run(tensor_of(1)))
        assert message is None if part is None else part in message, message
        assert "failed before" in (said_by(lambda backend=backend: backend.run(tensor_of(1))) or ""), name
        backend.close()
        assert HOST.host_left(KINDS.index("context")) == 0
    for after in range(3):
        HOST.host_fail(b"cuMemAlloc_v2", after, OUT_OF_MEMORY)
        assert "Try --batch 2 or --workers 1" in (said_by(lambda: machine.make(batch=4)) or "")
        HOST.host_fail(b"", 0, 0)
        check_nothing_left("out of memory")
    HOST.host_fail(b"cuMemHostAlloc", 1, OUT_OF_MEMORY)
    assert "that can be pinned for batches of 4" in (said_by(lambda: machine.make(batch=4)) or "")
    HOST.host_fail(b"", 0, 0)
    check_nothing_left("no pinned memory")


def said_by(call):
    """The message of a BackendError; its traceback is gone."""
    try:
        call()
    except BackendError as error:
        return str(error)
    return None


def main():
    assert HOST.host_kernels(sys.argv[2].encode()) == 0
    for rtx in (True, False):
        machine = machine_in(Path(sys.argv[3]) / ("rtx" if rtx else "tensorrt"), rtx=rtx)
        check_tensors(machine)
        check_frames(machine)
        check_failures(machine)
    sys.stdout.write("passed\n")


if __name__ == "__main__":
    main()
