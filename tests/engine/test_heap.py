"""Large blocks are mapped on their own, also after others were freed."""

import os
import platform
import subprocess
import sys

import pytest

# Prints how many more blocks are mapped for one of `size` bytes, once one of 8 MiB was freed.
SCRIPT = """
import ctypes, sys
from engine.pipeline.heap import keep_frames_off_the_heap

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in "arena ordblks smblks hblks a b c d e f".split()]

how, size = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.mallinfo.restype = Info
if how == "set":
    keep_frames_off_the_heap()
libc.free(libc.malloc(8 << 20))
before = libc.mallinfo().hblks
libc.malloc(size)
print(libc.mallinfo().hblks - before)
"""
LIMITS = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
@pytest.mark.parametrize(
    ("how", "size", "environment", "mapped"),
    [
        ("left", 2 << 20, {}, 0),
        ("set", 2 << 20, {}, 1),
        ("set", 1 << 19, {}, 0),
        ("set", 2 << 20, {"MALLOC_ARENA_MAX": "2"}, 1),
        ("set", 2 << 20, {"MALLOC_MMAP_THRESHOLD_": str(4 << 20)}, 0),
        ("set", 2 << 20, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=4194304"}, 0),
    ],
)
def test_a_large_block(how, size, environment, mapped):
    others = {name: value for name, value in os.environ.items() if name not in LIMITS}
    command = [sys.executable, "-c", SCRIPT, how, str(size)]
    done = subprocess.run(command, env=others | environment, capture_output=True, text=True, check=True)
    assert int(done.stdout) == mapped
