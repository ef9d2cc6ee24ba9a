"""Waiting for another thread, where mostly nobody waits."""

from __future__ import annotations

import threading


class Condition(threading.Condition):
    """A condition on which a notification costs next to nothing while no thread waits: it comes with every frame, on
    each way from one thread to the next, under Python's lock."""

    def __init__(self, lock: threading.RLock | None = None) -> None:
        super().__init__(lock)
        self._waiting = 0  # threads; it changes under the lock

    def wait(self, timeout: float | None = None) -> bool:
        self._waiting += 1
        try:
            return super().wait(timeout)
        finally:
            self._waiting -= 1

    def notify(self, n: int = 1) -> None:
        if self._waiting:
            super().notify(n)
