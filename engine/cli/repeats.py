"""Signals that come twice: `timeout`, and those who stop a process and its group, send one to the process first and
then to all of the group. What follows within a second of the first is the same one."""

from __future__ import annotations

import time
from collections.abc import Callable

SAME_S = 1.0


class Repeats:
    """Tells a signal from its own repetition."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._first: float | None = None

    def seen(self) -> bool:
        """Note a signal, and return whether it is the one before once more."""
        now = self._now()
        if self._first is not None and now - self._first < SAME_S:
            return True
        self._first = now
        return False
