"""A driver without a GPU: the kernels' own source, compiled for the CPU, runs every thread of a grid.

`EmulatedDriver` has what engine/inference/gpu/kernels.py uses of pycuda.driver. Its memory is the process's own, each
allocation of exactly the bytes asked for, so that a sanitizer sees what is read or written beyond.
"""

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
import weakref
from pathlib import Path

import numpy as np
import pytest

from tests.assets import ROOT

HERE = Path(__file__).parent
FLAGS = "-x c++ -std=c++17 -O2 -shared -fPIC -fvisibility=hidden -ffp-contract=off -Wall -Wextra -Werror".split()
GIVEN = "YOLO_ENGINE_EMULATED_KERNELS"


def require_compiler():
    """A C++ compiler. Skips the test where there is none, and fails it in CI."""
    found = shutil.which("g++")
    if found is None:
        reason = "no g++ here, which runs the GPU's kernels on the CPU: apt-get install g++"
        if os.environ.get("YOLO_ENGINE_REQUIRE_ASSETS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def build(library, *more):
    """Compiles the kernels into a library."""
    include = [f"-I{HERE}", f"-I{ROOT / 'engine' / 'inference' / 'gpu'}"]
    command = [require_compiler(), *FLAGS, *more, *include, str(HERE / "run.cpp"), "-o", str(library)]
    subprocess.run(command, check=True, timeout=120)


@functools.cache
def kernels():
    """The kernels as a library of this process: compiled once, or the one that is given."""
    if given := os.environ.get(GIVEN):
        return ctypes.CDLL(given)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernels.so"
        build(library)
        return ctypes.CDLL(str(library))


class Memory:
    """An allocation. What was there before is seen as 0xa5."""

    def __init__(self, driver, size):
        self._driver = driver
        self.array = np.full(size, 0xA5, np.uint8)
        driver.allocated.add(self)

    def __int__(self):
        return self.array.ctypes.data

    def free(self):
        self._driver.allocated.remove(self)  # a KeyError the second time


class Stream:
    handle = 1

    def synchronize(self):
        pass


class Function:
    def __init__(self, driver, library, name):
        self._run = getattr(library, f"run_{name}")
        self._driver = driver
        self._size = None

    def prepare(self, types):
        (dtype,) = types
        self._size = dtype.itemsize
        return self

    def prepared_async_call(self, grid, block, stream, job):
        assert isinstance(stream, Stream)
        assert isinstance(job, bytes)
        assert len(job) == self._size
        self._driver.launches += 1
        sizes = (ctypes.c_uint * 2)(*grid), (ctypes.c_uint * 2)(*block[:2])
        self._run(*sizes, job, int(self._driver.backwards))


class Module:
    def __init__(self, driver, library):
        self._driver, self._library = driver, library

    def get_function(self, name):
        return Function(self._driver, self._library, name)


class EmulatedDriver:
    """`backwards`: the threads of a grid run in the opposite order."""

    Stream = Stream

    def __init__(self, *, version=13000):
        self._library = kernels()
        self._version = version
        self.backwards = False
        self.launches = 0
        self.allocated = weakref.WeakSet()  # as with PyCUDA, what nobody has any more is freed

    def get_driver_version(self):
        return self._version

    def module_from_buffer(self, cubin):
        assert isinstance(cubin, bytes)
        return Module(self, self._library)

    def mem_alloc(self, size):
        return Memory(self, size)

    def memcpy_htod_async(self, address, content, stream):
        assert isinstance(stream, Stream)
        self.memcpy_htod(address, np.frombuffer(content, np.uint8))

    def memcpy_htod(self, address, array):
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def memcpy_dtoh(self, array, address):
        ctypes.memmove(array.ctypes.data, address, array.nbytes)

    def memcpy_dtoh_async(self, array, address, stream):
        assert isinstance(stream, Stream)
        self.memcpy_dtoh(array, address)

    def memset_d32_async(self, address, value, count, stream):
        assert isinstance(stream, Stream)
        ctypes.memmove(address, np.full(count, value, np.uint32).tobytes(), 4 * count)
