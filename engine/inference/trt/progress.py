"""The progress of a build, and how to stop it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Protocol


class Watcher(Protocol):
    """Receives each phase, from any thread. A build stops soon after `stopped` is set."""

    stopped: threading.Event

    def phase(self, name: str, done: int, steps: int) -> None:
        """Report that `done` of `steps` of the outermost phase are done; `name` is the innermost phase."""
        ...


class QuietWatcher:
    """Shows nothing. Satisfies Watcher."""

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def phase(self, name: str, done: int, steps: int) -> None:
        pass


class CallingWatcher(QuietWatcher):
    """Calls a function. Satisfies Watcher."""

    def __init__(self, call: Callable[[str, int, int], None]) -> None:
        super().__init__()
        self._call = call

    def phase(self, name: str, done: int, steps: int) -> None:
        self._call(name, done, steps)


def make_monitor(trt: Any, watcher: Watcher) -> Any:
    """Return a TensorRT IProgressMonitor for a watcher. It must not raise, because a Python exception in it would end
    the process."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._outer: str | None = None
            self._steps = self._done = 0

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            if parent is None:
                self._outer, self._steps, self._done = name, steps, 0
            self._tell(name)

        def step_complete(self, name: str, step: int) -> bool:
            if name == self._outer:
                self._done = step + 1
                self._tell(name)
            return not watcher.stopped.is_set()

        def phase_finish(self, name: str) -> None:
            pass

        def _tell(self, name: str) -> None:
            with contextlib.suppress(Exception):  # a failed display must not end a build
                watcher.phase(name, self._done, self._steps)

    return Monitor()
