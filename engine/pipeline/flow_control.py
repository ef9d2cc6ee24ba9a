"""The frames of one stream that are in flight between its decoder and its sinks: what bounds the memory."""

from __future__ import annotations

from engine.pipeline.waiting import Condition


class Window:
    """Counts frames in flight, at most `size`. `enter` waits for room, `leave` makes it."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._inside = 0
        self._open = True
        self._few = 0  # the decoder rests until fewer are inside; 0: it does not rest
        self._changed = Condition()

    def narrow(self, size: int) -> None:
        """Admit at most `size` frames from now on, but at least one, because they are large."""
        with self._changed:
            self._size = min(self._size, max(1, size))

    def enter(self, *, wait: bool = True, held: int = 0) -> bool:
        """Return True once there is room for one more; False if there is none (`wait=False`) or the window was closed.
        The `held` frames inside that wait for this one, or for a later one, take up no room."""
        with self._changed:
            while wait and self._open and self._inside >= self._size + held:
                self._changed.wait()
            if not self._open or self._inside >= self._size + held:
                return False
            self._inside += 1
            return True

    def wait_for_room(self) -> None:
        """Return once one more could enter, or the window was closed."""
        with self._changed:
            while self._open and self._inside >= self._size:
                self._changed.wait()

    def rest(self, many: int, few: int) -> bool:
        """Return whether the decoder is to rest, because `many` frames are inside, or all that there is room for. The
        `leave` after which there are fewer than `few` calls it back."""
        with self._changed:
            if not self._open or self._inside < min(many, self._size):
                return False
            self._few = min(few, self._size)
            return True

    def leave(self) -> bool:
        """Make room for one more. Return whether to call the decoder back, which rests."""
        with self._changed:
            self._inside -= 1
            self._changed.notify()
            if self._inside >= self._few:
                return False
            self._few = 0
            return True

    def close(self) -> None:
        """Wake all waiting threads: nothing enters any more."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
