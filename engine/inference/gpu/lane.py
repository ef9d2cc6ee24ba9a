"""A lane: the resources for one thread at a time to run a plan. Several lanes run concurrently on one GPU."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from engine.inference.gpu.filters import Filters, KernelSet
from engine.inference.gpu.frames import PlaneBatch
from engine.inference.gpu.graphs import GraphApi
from engine.inference.gpu.plan import LoadedPlan
from engine.inference.gpu.slot import Shape, Slot, Streams

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream, which others may use


class Lane:
    """Three streams and `slots` slots. The CUDA context must be current for every call."""

    def __init__(self, driver: Any, plan: LoadedPlan, most: Shape, slots: int, graphs: GraphApi | None) -> None:
        """Allocate everything. Raises OutOfMemory after freeing what was allocated."""
        self._driver = driver
        self._slots: list[Slot] = []
        self._streams = Streams(*(driver.Stream(_NON_BLOCKING) for _ in range(3)))
        self.times_ms = [0.0, 0.0, 0.0]
        try:
            for _ in range(slots):
                self._slots.append(Slot(driver, plan, self._streams, most, graphs))
        except BaseException:
            self.free()
            raise

    def run(
        self, jobs: Sequence[NDArray[Any] | PlaneBatch], kernels: KernelSet | None, filters: Filters | None
    ) -> list[Any]:
        """Return a result per image, in order. The next job is uploaded while one is being computed."""
        answers: list[Any] = []
        under_way: deque[Slot] = deque()
        try:
            for number, job in enumerate(jobs):
                if len(under_way) == len(self._slots):
                    answers += self._finish(under_way.popleft())
                slot = self._slots[number % len(self._slots)]
                under_way.append(slot)
                slot.start(job, kernels, filters)
            while under_way:
                answers += self._finish(under_way.popleft())
        except BaseException:
            self.settle()
            raise
        return answers

    def _finish(self, slot: Slot) -> list[Any]:
        answers = slot.finish()
        self.times_ms = [sum(pair) for pair in zip(self.times_ms, slot.times_ms(), strict=True)]
        return answers

    def settle(self) -> None:
        """Wait until all its work has ended, successfully or not, because its buffers will be reused."""
        for stream in (self._streams.upload, self._streams.compute, self._streams.download):
            if stream is not None:
                with contextlib.suppress(self._driver.Error):
                    stream.synchronize()

    def free(self) -> None:
        """Free everything. Idempotent."""
        self.settle()
        for slot in self._slots:
            slot.free()
        self._slots.clear()
        self._streams.free()
