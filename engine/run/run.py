"""A run: one use of an engine, which can be stopped and knows how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING

from engine.pipeline.pipeline import Pipeline
from engine.pipeline.stream import Progress
from engine.pipeline.total import Total, Totals

if TYPE_CHECKING:
    from engine.profiling.bottleneck import Verdict


class RunState(StrEnum):
    """The state of a run: from READY to RUNNING to DONE, STOPPED or FAILED; `stop` leads to STOPPING."""

    READY = "ready"
    RUNNING = "running"
    STOPPING = "stopping"
    DONE = "done"
    STOPPED = "stopped"
    FAILED = "failed"


_NEXT = {
    RunState.READY: {RunState.RUNNING, RunState.STOPPING},
    RunState.RUNNING: {RunState.STOPPING, RunState.DONE, RunState.FAILED},
    RunState.STOPPING: {RunState.STOPPED, RunState.FAILED},
}
_ENDED = {RunState.DONE, RunState.STOPPED, RunState.FAILED}


class Run:
    """One use of an engine, from any thread. As a context manager it lasts as long as the block.

    `pipeline` does the work; `ended` is called once, at the end of the block.
    """

    def __init__(self, pipeline: Pipeline, *, on_gpu: bool, ended: Callable[[Run], None] = lambda run: None) -> None:
        self.pipeline = pipeline
        self.state = RunState.READY
        self.totals: Totals | None = None
        self._on_gpu = on_gpu
        self._ended = ended
        # Reentrant: a signal handler may call `stop` on the thread that holds it.
        self._lock = threading.RLock()

    def __enter__(self) -> Run:
        self._go(RunState.RUNNING)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            broken = self.pipeline.fatal is not None or not (kind is None or issubclass(kind, GeneratorExit))
            stopped = self.state is RunState.STOPPING
            self._go(RunState.FAILED if broken else RunState.STOPPED if stopped else RunState.DONE)
        self._ended(self)

    def stop(self, *, hand_over: bool = False) -> None:
        """End the run after the frames in flight, keeping what is complete. Returns at once; no effect after the end.

        Unfinished videos keep a checkpoint, from which the next run continues, and appear as `.partial` outputs; with
        `hand_over` they don't appear.
        """
        with self._lock:
            self._go(RunState.STOPPING)
            if self.state is RunState.STOPPING:
                self.pipeline.stop(hand_over=hand_over)

    @property
    def interrupted(self) -> bool:
        """Whether `stop` has ended the run or is about to."""
        return self.state in (RunState.STOPPING, RunState.STOPPED) and self.pipeline.fatal is None

    def total(self, streams: list[Progress]) -> Total | None:
        """Return the overall progress, including the running `streams`; None if videos arrive one by one or are not
        known yet."""
        return self.totals.now(streams) if self.totals is not None else None

    def verdict(self) -> Verdict | None:
        """Return what limited the run and what a change would gain (engine.profiling); None without any frame."""
        from engine.profiling.bottleneck import verdict_of  # speeds up the start of runs that need none

        return verdict_of(self.pipeline.usage(), on_card=self._on_gpu)

    def _go(self, state: RunState) -> None:
        """Change the state if that is allowed: a stop is not undone by the beginning, nor an end by anything."""
        with self._lock:
            if state in _NEXT.get(self.state, ()):
                self.state = state
