"""The NVIDIA GPU of this machine, queried from its driver, without a CUDA toolkit or a Python package."""

from __future__ import annotations

import ctypes
from typing import NamedTuple

from engine.inference.gpu.process import claim

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


class Gpu(NamedTuple):
    """The driver's name of the GPU, and the compute capability, e.g. "8.6"."""

    name: str
    capability: str


def find_gpu(device: int = 0) -> Gpu | None:
    """Return the GPU with this number; None without a driver or such a GPU. Creates no context.

    Raises BackendError in a fork of the process that started CUDA.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    claim()
    handle, name, number = ctypes.c_int(), ctypes.create_string_buffer(256), ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(handle), device):
        return None
    if cuda.cuDeviceGetName(name, len(name), handle):
        return None
    parts = []
    for attribute in (_MAJOR, _MINOR):
        if cuda.cuDeviceGetAttribute(ctypes.byref(number), attribute, handle):
            return None
        parts.append(str(number.value))
    return Gpu(name.value.decode(errors="replace"), ".".join(parts))


def count_gpus() -> int:
    """Return the number of GPUs that the driver sees."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    claim()
    number = ctypes.c_int()
    return 0 if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(number)) else number.value
