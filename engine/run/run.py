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
    """Where a run is. It goes from READY to RUNNING and ends as DONE, STOPPED or FAILED; `stop` leads to STOPPING."""

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
        # Reentrant: a signal handler may call `stop` on the thread that is just here.
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
        """End it after the frames in flight: what is complete is kept. Return at once. After its end, do nothing.

        Unfinished videos keep a checkpoint, from which the next run continues, and appear as `.partial` outputs; with
        `hand_over` they don't appear.
        """
        with self._lock:
            self._go(RunState.STOPPING)
            if self.state is RunState.STOPPING:
                self.pipeline.stop(hand_over=hand_over)

    @property
    def interrupted(self) -> bool:
        """Whether `stop` ended it, or is about to."""
        return self.state in (RunState.STOPPING, RunState.STOPPED) and self.pipeline.fatal is None

    def total(self, streams: list[Progress]) -> Total | None:
        """Return how far it is as a whole, with what is under way in `streams`; None if its videos come one by one,
        or before they are known."""
        return self.totals.now(streams) if self.totals is not None else None

    def verdict(self) -> Verdict | None:
        """Return what bound it, and what a change would give (engine.profiling); None if no frame was done."""
        from engine.profiling.bottleneck import verdict_of  # a run that is not asked starts without it

        return verdict_of(self.pipeline.usage(), on_card=self._on_gpu)

    def _go(self, state: RunState) -> None:
        """Change the state where that is allowed; a stop outlasts the beginning, and an end everything."""
        with self._lock:
            if state in _NEXT.get(self.state, ()):
                self.state = state
