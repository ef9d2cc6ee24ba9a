"""The frames of one stream that are in flight between its decoder and its sinks: what bounds the memory."""

from __future__ import annotations

import threading


class Window:
    """Counts frames in flight, at most `size`. `enter` waits for room, `leave` makes it."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._open = True
        self._changed = threading.Condition()

    def enter(self, *, wait: bool = True) -> bool:
        """True when there is room for one more; False when there is none (`wait=False`) or the window was closed."""
        with self._changed:
            while wait and self._open and self._free == 0:
                self._changed.wait()
            if not self._open or self._free == 0:
                return False
            self._free -= 1
            return True

    def leave(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify()

    def close(self) -> None:
        """Wakes whoever waits: nothing enters any more."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
