"""CUDA graphs through the driver's own API, which PyCUDA (2026.1) does not wrap.

A graph is a recording of launches that is launched as a whole. Small models, whose kernels take less time than their
launches, gain most.
"""

from __future__ import annotations

import ctypes
from typing import Any

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may allocate meanwhile


class GraphError(Exception):
    """The failed call of the driver, and its CUresult."""


class GraphApi:
    """Six calls of libcuda. Streams are PyCUDA's; graphs are handles."""

    def __init__(self, cuda: Any = None) -> None:
        """Look up the functions. Raises GraphError if the driver is older than CUDA 11.4, which lacks some."""
        try:
            self._cuda = cuda if cuda is not None else ctypes.CDLL("libcuda.so.1")
            self._instantiate = self._cuda.cuGraphInstantiateWithFlags
        except (OSError, AttributeError) as error:
            raise GraphError(str(error)) from error

    def begin(self, stream: Any) -> None:
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream.handle), ctypes.c_int(_THREAD_LOCAL))

    def end(self, stream: Any) -> int:
        """Return the executable graph of the launches since `begin`."""
        graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamEndCapture", ctypes.c_void_p(stream.handle), ctypes.byref(graph))
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        finally:
            self._call("cuGraphDestroy", graph)
        return int(executable.value or 0)

    def abandon(self, stream: Any) -> None:
        """End a capture whose launches failed, and discard its graph, if any."""
        graph = ctypes.c_void_p()
        if not self._cuda.cuStreamEndCapture(ctypes.c_void_p(stream.handle), ctypes.byref(graph)) and graph.value:
            self._cuda.cuGraphDestroy(graph)

    def launch(self, executable: int, stream: Any) -> None:
        self._call("cuGraphLaunch", ctypes.c_void_p(executable), ctypes.c_void_p(stream.handle))

    def destroy(self, executable: int) -> None:
        self._call("cuGraphExecDestroy", ctypes.c_void_p(executable))

    def _call(self, name: str, *arguments: Any) -> None:
        if result := getattr(self._cuda, name)(*arguments):
            raise GraphError(f"{name} gave CUDA error {result}")
