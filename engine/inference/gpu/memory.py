"""GPU memory, and pinned host memory, whose copies to and from the GPU run concurrently with other work."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.inference.gpu.context import OutOfMemory

ALIGNED = 256


def aligned(nbytes: int) -> int:
    """Round up to CUDA's own alignment of allocations."""
    return -(-nbytes // ALIGNED) * ALIGNED


class Buffers:
    """The allocations of one owner, freed together in reverse order. The context must be current for every call."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._held: list[Any] = []

    def device(self, nbytes: int) -> int:
        """Allocate `nbytes` of GPU memory and return the address. Raises OutOfMemory with the requested and available
        amounts."""
        try:
            held = self._driver.mem_alloc(max(nbytes, 1))
        except self._driver.MemoryError as error:
            free, total = self._room()
            raise OutOfMemory(str(error), nbytes, free, total) from error
        self._held.append(held)
        return int(held)

    def pinned(self, nbytes: int) -> NDArray[np.uint8]:
        """Allocate (nbytes,) uint8 of page-locked host memory. Raises OutOfMemory."""
        try:
            array: NDArray[np.uint8] = self._driver.pagelocked_empty((max(nbytes, 1),), np.uint8)
        except self._driver.MemoryError as error:
            raise OutOfMemory(str(error), nbytes, pinned=True) from error
        self._held.append(array.base)
        return array

    def _room(self) -> tuple[int | None, int | None]:
        with contextlib.suppress(self._driver.Error):
            free, total = self._driver.mem_get_info()
            return int(free), int(total)
        return None, None

    def free(self) -> None:
        """Free everything. Idempotent."""
        while self._held:
            self._held.pop().free()
