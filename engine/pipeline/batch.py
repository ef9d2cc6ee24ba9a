"""Batch: frames of many streams become batches of one tensor shape.

Batching never changes a result, only how many frames share one inference. A batch leaves when it is full, when no frame
has arrived for `wait_s`, or when its first frame has waited for `longest_s`: so a video that ends, a slow source or
many frames of another shape delay nobody.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import av

from engine.pipeline.channel import Closed, Handoff
from engine.pipeline.feed import Feed
from engine.records import EndOfStream, Frame, FrameBatch


class Batcher:
    """Hands batches to several workers, which take turns at `take`.

    What needs no inference, skipped frames, the ends of streams and decoders, is handed to them at once. The order
    within a stream is restored after the workers.
    """

    def __init__(
        self,
        frames: Handoff[Frame | EndOfStream | Feed],
        size: int,
        shape_of: Callable[[av.VideoFrame], tuple[int, int]],
        wait_s: float = 0.02,
        longest_s: float = 0.25,
    ) -> None:
        self._frames = frames
        self._size = size
        self._shape_of = shape_of
        self._wait_s = wait_s
        self._longest_s = longest_s
        self._turn = threading.Lock()
        # Frames that wait for company, and since when; oldest shape first.
        self._waiting: dict[tuple[int, int], list[Frame]] = {}
        self._since: dict[tuple[int, int], float] = {}

    def take(self) -> FrameBatch | Frame | EndOfStream | Feed:
        """Return the next batch, or what comes before it and needs no inference, waiting for frames. Raises Closed when
        no more will come."""
        with self._turn:
            while True:
                if self._waiting and time.monotonic() - next(iter(self._since.values())) > self._longest_s:
                    return self._oldest()
                try:
                    record = self._frames.get(self._wait_s if self._waiting else None)
                except TimeoutError:
                    return self._oldest()
                except Closed:
                    if self._waiting:
                        return self._oldest()
                    raise
                if not isinstance(record, Frame) or not record.infer:
                    return record
                plan = record.plan
                shape = plan.tensor_hw if plan is not None and plan.parts else self._shape_of(record.image)
                frames = self._waiting.setdefault(shape, [])
                self._since.setdefault(shape, time.monotonic())
                frames.append(record)
                if len(frames) >= self._size:
                    del self._waiting[shape], self._since[shape]
                    return FrameBatch(frames, shape)

    def _oldest(self) -> FrameBatch:
        shape = next(iter(self._waiting))
        del self._since[shape]
        return FrameBatch(self._waiting.pop(shape), shape)
