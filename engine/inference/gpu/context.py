"""The CUDA context of one GPU: retained once, current only while a thread uses it, released at the end.

It is the primary context, which TensorRT and ONNX Runtime use, too. PyCUDA keeps a stack of contexts per thread, aborts
the process if a thread ends with a non-empty stack, and frees nothing in a thread where the context is not on top. So
every call, including frees, goes through `current`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

from engine.errors import BackendError, BackendMissing
from engine.inference.gpu.process import check, claim
from engine.install import extra

log = logging.getLogger(__name__)

INSTALL = f"{extra('tensorrt')} (docs/gpu.md has what its build needs)"


class OutOfMemory(Exception):
    """The GPU (or with `pinned` the host) is out of memory. `wanted`, `free` and `total` are in bytes, if known. A
    caller that knows the batch converts it to a BackendError."""

    def __init__(
        self,
        what: str,
        wanted: int | None = None,
        free: int | None = None,
        total: int | None = None,
        *,
        pinned: bool = False,
    ) -> None:
        super().__init__(what)
        self.wanted, self.free, self.total, self.pinned = wanted, free, total, pinned


def load_driver() -> Any:
    """Import `pycuda.driver`. Raises BackendMissing if it is not installed, or there is no NVIDIA driver."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a missing driver, which is reported below
            import pycuda.driver as driver
    except ModuleNotFoundError as error:
        raise BackendMissing(f"PyCUDA is not installed ({error}). Repair: {INSTALL}.") from error
    except (ImportError, OSError) as error:
        raise BackendMissing(
            f"PyCUDA is installed and can't be loaded: {error}. It needs NVIDIA's driver; `yolo-engine doctor` says "
            "what is there."
        ) from error
    return driver


class CudaContext:
    """The primary context of GPU `number`. Any thread may use it, with one `with` at a time.

    broken  CUDA's error, if any. After a failed kernel, a context is unusable.
    """

    def __init__(self, number: int = 0, driver: Any = None) -> None:
        """Retain the context. Raises BackendMissing if there is no such GPU."""
        self.driver = driver if driver is not None else load_driver()
        claim()
        self._owner = os.getpid()
        try:
            self.driver.init()
            count = self.driver.Device.count()
            if number >= count:
                raise BackendMissing(f"There is no GPU {number}: CUDA sees {count} here. Run with --device cuda:0.")
            device = self.driver.Device(number)
            self.name = str(device.name())
            self.capability = ".".join(str(part) for part in device.compute_capability())
            self._context = device.retain_primary_context()
        except self.driver.Error as error:
            raise BackendMissing(f"CUDA can't start on GPU {number}: {error}.") from error
        self.number = number
        self.broken: str | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def here(self) -> bool:
        """Whether this is the process that created it, not a fork."""
        return self._owner == os.getpid()

    @contextlib.contextmanager
    def current(self) -> Iterator[Any]:
        """Make the context current in this thread, and yield PyCUDA's driver. Raises PyCUDA's errors."""
        check(self._owner)
        self._context.push()
        try:
            yield self.driver
        except BaseException as error:
            _let_go(error)
            raise
        finally:
            self._pop()

    @contextlib.contextmanager
    def use(self, doing: str) -> Iterator[Any]:
        """Enter `current` with errors translated to OutOfMemory, or BackendError for anything else, after which the
        context is broken for good."""
        if self._closed:
            raise BackendError("the engine is closed: its model was freed")
        check(self._owner)
        if self.broken is not None:
            raise BackendError(f"the GPU failed before ({self.broken}), and the engine must be started anew")
        try:
            with self.current() as driver:
                yield driver
        except self.driver.MemoryError as error:
            raise OutOfMemory(str(error)) from error
        except self.driver.Error as error:
            self.broken = str(error)
            raise BackendError(f"CUDA failed while {doing}: {error}. The engine must be started anew.") from error

    def _pop(self) -> None:
        """Pop the context. Like most calls, this may report an error of earlier work and leave the context in place."""
        for _ in range(2):
            try:
                self.driver.Context.pop()
                return
            except self.driver.Error as error:
                self.broken = self.broken or str(error)
                log.debug("CUDA's context could not be popped: %s", error)

    def close(self) -> None:
        """Release the context, once. Everything allocated in it must have been freed.

        This uses a separate thread: PyCUDA releases the current context but leaves it on the driver's stack of that
        thread, where nothing can pop it. The stack vanishes with the thread.
        """
        with self._lock:
            if self._closed or not self.here:
                return
            self._closed = True
        thread = threading.Thread(target=self._release, name="cuda-release")
        thread.start()
        thread.join()

    def _release(self) -> None:
        try:
            self._context.push()
            self._context.detach()
        except self.driver.Error as error:
            log.debug("CUDA's context could not be released: %s", error)


def _let_go(error: BaseException) -> None:
    """Clear the frames of a traceback while the context is current: streams and execution contexts kept alive by an
    exception would be destroyed without a context, or never."""
    seen: BaseException | None = error
    while seen is not None:
        traceback.clear_frames(seen.__traceback__)
        seen = seen.__cause__ or seen.__context__
