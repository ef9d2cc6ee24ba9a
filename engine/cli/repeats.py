"""Signals delivered twice: `timeout` and others send a signal to a process and then to its whole group. A signal within
a second of the previous one counts as the same."""

from __future__ import annotations

import time
from collections.abc import Callable

SAME_S = 1.0


class Repeats:
    """Distinguishes a new signal from a repetition."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._first: float | None = None

    def seen(self) -> bool:
        """Record a signal, and return whether it is a repetition of the previous one."""
        now = self._now()
        if self._first is not None and now - self._first < SAME_S:
            return True
        self._first = now
        return False
