"""A CUDA driver without a card, with the names and the manners of PyCUDA 2026.1.

What it is strict about is what goes wrong on a card and is not seen on a laptop:

* Nothing on a stream runs before somebody waits for it, and then only what that wait needs, so that a missing wait or
  event leaves old bytes. Sources of copies are read when they run, not when they are enqueued.
* Every address must lie in memory that was allocated and not freed. Fresh memory holds 0xa5.
* A call needs the context on top of the calling thread's stack. What is freed without it leaks, as in PyCUDA, and what
  is freed twice is an error. `leaks` lists all that is left.
* After a failed launch every call fails, until the context is gone.

`fail` makes the next call of a name fail. Kernels are those of the emulator: the CUDA source compiled for the CPU.
"""

import builtins
import ctypes
import threading
import weakref
from collections import deque
from types import SimpleNamespace

import numpy as np

from tests.engine.gpu import emulator


class Error(Exception):
    """pycuda.driver.Error."""


class MemoryError(Error, builtins.MemoryError):
    """pycuda.driver.MemoryError."""


class LogicError(Error):
    """pycuda.driver.LogicError."""


class LaunchError(Error):
    """pycuda.driver.LaunchError."""


class RuntimeError(Error):
    """pycuda.driver.RuntimeError."""


class FakeDriver:
    """What engine/gpu uses of pycuda.driver. One object is one machine.

    memory  bytes of the GPU
    gpus    name and compute capability of each
    """

    event_flags = SimpleNamespace(BLOCKING_SYNC=1)
    Error, MemoryError, LogicError, LaunchError, RuntimeError = (
        Error,
        MemoryError,
        LogicError,
        LaunchError,
        RuntimeError,
    )

    def __init__(self, memory=1 << 30, gpus=(("Fake 3080", (8, 6)),), version=13000):
        self.total = memory
        self.gpus = gpus
        self.lock = threading.RLock()
        self.stacks = {}
        self.broken = None
        self.initialised = False
        self.blocks = {}  # address -> array of what is allocated on the GPU
        self.alive = {"stream": 0, "event": 0, "module": 0, "pinned": 0, "context": 0, "execution": 0, "graph": 0}
        self.streams = weakref.WeakValueDictionary()
        self.calls = []
        self.clock = 0.0
        self._version = version
        self._failures = {}
        self.Device = _device_class(self)
        self.Context = SimpleNamespace(pop=self._pop)

    # -- for tests ------------------------------------------------------------------------------------------------

    def fail(self, name, error, *, after=0):
        """The call of that name fails once, after `after` that go well. A LaunchError breaks the context."""
        self._failures[name] = [after, error]

    def leaks(self):
        """What is still allocated, as text."""
        found = [f"{count} {what}" for what, count in self.alive.items() if count]
        if self.blocks:
            found.append(f"{len(self.blocks)} blocks of {sum(map(len, self.blocks.values()))} bytes")
        found += [f"a context on the stack of thread {ident}" for ident, stack in self.stacks.items() if stack]
        return found

    def called(self, name):
        """To be called by whatever stands for a call into CUDA."""
        with self.lock:
            self.calls.append(name)
            if self.broken is not None:
                raise LaunchError(f"{name} failed: {self.broken}")
            if name in self._failures:
                self._failures[name][0] -= 1
                if self._failures[name][0] < 0:
                    _, error = self._failures.pop(name)
                    if isinstance(error, LaunchError):
                        self.broken = str(error)
                    raise error

    def need_context(self, name):
        self.called(name)
        if not self.stacks.get(threading.get_ident()):
            raise LogicError(f"{name} failed: invalid device context")

    def current(self):
        return bool(self.stacks.get(threading.get_ident()))

    def view(self, address, nbytes):
        """The bytes there. An address outside what is allocated breaks the context, as on a card."""
        for start, block in self.blocks.items():
            if start <= address and address + nbytes <= start + len(block):
                return block[address - start : address - start + nbytes]
        self.broken = "an illegal memory access was encountered"
        raise LaunchError(self.broken)

    # -- pycuda.driver --------------------------------------------------------------------------------------------

    def init(self, flags=0):
        self.called("init")
        self.initialised = True

    def get_driver_version(self):
        return self._version

    def mem_get_info(self):
        self.need_context("mem_get_info")
        return self.total - sum(map(len, self.blocks.values())), self.total

    def mem_alloc(self, nbytes):
        self.need_context("mem_alloc")
        with self.lock:
            if nbytes > self.mem_get_info()[0]:
                raise MemoryError("cuMemAlloc failed: out of memory")
            return DeviceAllocation(self, nbytes)

    def pagelocked_empty(self, shape, dtype, order="C", mem_flags=0):
        self.need_context("pagelocked_empty")
        return _pinned(self, shape, np.dtype(dtype))

    def memcpy_htod_async(self, dest, src, stream=None):
        self.need_context("memcpy_htod_async")
        raw = _bytes_of(src)
        stream.put(lambda: np.copyto(self.view(dest, len(raw)), raw))

    def memcpy_dtoh_async(self, dest, src, stream=None):
        self.need_context("memcpy_dtoh_async")
        raw = _bytes_of(dest)
        assert raw.flags.writeable
        stream.put(lambda: np.copyto(raw, self.view(src, len(raw))))

    def memset_d32_async(self, dest, data, size, stream=None):
        self.need_context("memset_d32_async")
        stream.put(lambda: self.view(dest, 4 * size).view(np.uint32).fill(data))

    def Stream(self, flags=0):
        self.need_context("Stream")
        return Stream(self)

    def Event(self, flags=0):
        assert flags in (0, 1)
        self.need_context("Event")
        return Event(self)

    def module_from_buffer(self, cubin):
        self.need_context("module_from_buffer")
        return Module(self)

    def _pop(self):
        with self.lock:
            stack = self.stacks.get(threading.get_ident())
            if not stack:
                raise LogicError("context::pop failed: invalid device context - cannot pop non-current context")
            if "pop" in self._failures:  # most calls report errors of earlier work; this one leaves the context there
                raise self._failures.pop("pop")[1]
            stack.pop()


def _device_class(driver):
    class Device:
        def __init__(self, number):
            assert driver.initialised
            self._number = number

        @staticmethod
        def count():
            driver.called("count")
            return len(driver.gpus)

        def name(self):
            return driver.gpus[self._number][0]

        def compute_capability(self):
            return driver.gpus[self._number][1]

        def retain_primary_context(self):
            driver.called("retain_primary_context")
            driver.alive["context"] += 1
            return Context(driver)

    return Device


class Context:
    """A primary context, retained once."""

    def __init__(self, driver):
        self._driver = driver
        self._valid = True
        self._thread = threading.get_ident()

    def push(self):
        with self._driver.lock:
            assert self._valid, "a context that was released"
            self._driver.stacks.setdefault(threading.get_ident(), []).append(self)

    def detach(self):
        """As PyCUDA does: released where it is current, which leaves it on the driver's own stack of this thread."""
        driver = self._driver
        with driver.lock:
            if not self._valid:
                raise LogicError("context::detach failed: invalid device context - cannot detach from invalid context")
            self._valid = False
            stack = driver.stacks.get(threading.get_ident(), [])
            if stack and stack[-1] is self:
                stack.pop()
                assert threading.current_thread().name == "cuda-release", "leaves a context on this thread's stack"
                driver.alive["context"] -= 1
                driver.broken = None


class _Held:
    """Counted while it lives; destroyed only with a context current, else it leaks."""

    what = ""

    def __init__(self, driver):
        self._driver = driver
        driver.alive[self.what] += 1

    def __del__(self):
        if self._driver.current():
            self._driver.alive[self.what] -= 1


class DeviceAllocation:
    def __init__(self, driver, nbytes):
        self._driver = driver
        self.array = np.full(nbytes, 0xA5, np.uint8)
        self._address = self.array.ctypes.data
        driver.blocks[self._address] = self.array

    def __int__(self):
        return self._address

    def free(self):
        with self._driver.lock:
            if self.array is None:
                raise LogicError("device_allocation::free failed: invalid resource handle")
            self.array, array = None, self.array
            if self._driver.current():
                del self._driver.blocks[self._address]
                array[:] = 0xDD

    def __del__(self):
        if self.array is not None:
            self.free()


class PagelockedHostAllocation:
    def __init__(self, driver, nbytes):
        self._driver = driver
        self._buffer = np.full(nbytes, 0xA5, np.uint8)
        self._freed = False
        driver.alive["pinned"] += 1

    @property
    def __array_interface__(self):
        return self._buffer.__array_interface__

    def free(self):
        assert not self._freed, "freed twice"
        self._freed = True
        if self._driver.current():
            self._driver.alive["pinned"] -= 1
            self._buffer[:] = 0xDD


def _pinned(driver, shape, dtype):
    held = PagelockedHostAllocation(driver, int(np.prod(shape)) * dtype.itemsize)
    array = np.asarray(held)
    assert array.base is held
    return array.view(dtype).reshape(shape) if dtype != np.uint8 else array


class Stream(_Held):
    what = "stream"

    def __init__(self, driver):
        super().__init__(driver)
        self._queue = deque()
        self.recording = None  # launches of a graph that is being captured
        self.handle = id(self)
        driver.streams[self.handle] = self

    def put(self, work):
        with self._driver.lock:
            (self._queue if self.recording is None else self.recording).append(work)

    def run_until(self, marker=None):
        """Runs what stands in front of the marker, or all of it."""
        with self._driver.lock:
            while self._queue:
                work = self._queue.popleft()
                self._driver.clock += 0.25
                if isinstance(work, Marker):
                    work.reached(self._driver.clock)
                    if work is marker:
                        return
                    continue
                try:
                    work()
                except LaunchError as error:
                    self._driver.broken = str(error)
                    raise

    def synchronize(self):
        self._driver.need_context("stream.synchronize")
        assert self.recording is None, "not allowed while a graph is captured"
        self.run_until()

    def wait_for_event(self, event):
        self._driver.need_context("wait_for_event")
        marker = event.marker
        if marker is not None:  # an event that was never recorded is no reason to wait
            self.put(marker.wait)


class Marker:
    """Where an event was recorded. It keeps what the event meant then; recording it again is another marker."""

    def __init__(self, stream):
        self._stream = weakref.ref(stream)
        self.at = None

    def reached(self, clock):
        self.at = clock

    def wait(self):
        if self.at is None:
            self._stream().run_until(self)


class Event(_Held):
    what = "event"

    def __init__(self, driver):
        super().__init__(driver)
        self.marker = None

    def record(self, stream=None):
        self._driver.need_context("event.record")
        self.marker = Marker(stream)
        stream.put(self.marker)
        return self

    def synchronize(self):
        self._driver.need_context("event.synchronize")
        if self.marker is not None:
            with self._driver.lock:
                self.marker.wait()
        return self

    def time_since(self, event):
        self._driver.need_context("time_since")
        if self.marker is None or self.marker.at is None or event.marker.at is None:
            raise LogicError("cuEventElapsedTime failed: device not ready")
        return self.marker.at - event.marker.at


class Module(_Held):
    what = "module"

    def get_function(self, name):
        return Function(self._driver, name)


class Function:
    """A kernel of the emulator, launched on a stream."""

    def __init__(self, driver, name):
        self._driver = driver
        self._run = getattr(emulator.kernels(), f"run_{name}")
        self._size = None

    def prepare(self, types):
        (dtype,) = types
        self._size = dtype.itemsize
        return self

    def prepared_async_call(self, grid, block, stream, job):
        self._driver.need_context("launch")
        assert len(job) == self._size
        sizes = (ctypes.c_uint * 2)(*grid), (ctypes.c_uint * 2)(*block[:2])
        stream.put(lambda: self._run(*sizes, job, 0))


def _bytes_of(array):
    if isinstance(array, bytes):
        return np.frombuffer(array, np.uint8)
    assert array.flags.c_contiguous
    return array.reshape(-1).view(np.uint8)


class FakeGraphs:
    """engine.inference.gpu.graphs.GraphApi over the same machine."""

    def __init__(self, driver):
        self._driver = driver
        self._graphs = {}
        self.launched = 0

    def begin(self, stream):
        self._driver.need_context("capture")
        assert stream.recording is None
        stream.recording = deque()

    def end(self, stream):
        recorded, stream.recording = list(stream.recording), None
        self._graphs[id(recorded)] = recorded
        self._driver.alive["graph"] += 1
        return id(recorded)

    def abandon(self, stream):
        stream.recording = None

    def launch(self, executable, stream):
        self._driver.need_context("graph launch")
        self.launched += 1
        for work in self._graphs[executable]:
            stream.put(work)

    def destroy(self, executable):
        del self._graphs[executable]  # a KeyError the second time
        self._driver.alive["graph"] -= 1
