"""Windows: which frames of a gated stream are also inferred whole, to measure the cost of the gate; and how far it is
open.

A stream is divided into stretches by frame numbers alone. Each stretch has one window of consecutive frames, at a
position that a seed decides. A fixed number of frames after it, its result is known however frames are batched: only
there may the gate open.
"""

from __future__ import annotations

import hashlib
import threading
from typing import NamedTuple

WINDOW = 6
"""Frames per window."""
DELAY = 64
"""Frames from the end of a window to the frame at which the gate may open by its result."""
LEVELS = 4
"""How far the gate may open: 0 not at all; 1 at most one frame is skipped between two others; 2 none is; 3 nothing is
inferred in parts; 4 every frame is inferred whole."""

# The first stretches are short, so that clips of ten seconds have windows too; of the others, 2 % is seen whole.
_SHORT, _MANY_SHORT, _LONG = 96, 3, 300
# Frames of a stretch before its window may begin: in the first ones there is nothing that could be carried over.
_LEAD = 12


class Place(NamedTuple):
    """A frame's place: its stretch; `audited`: it is in the window, and may be its last frame (`ends`); `decides`: the
    gate may open here."""

    stretch: int
    audited: bool
    ends: bool
    decides: bool


class Windows:
    """The windows of one stream."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._known: tuple[int, int] = (-1, 0)

    def place(self, number: int) -> Place:
        """Return the place of frame `number`, counted from 0."""
        shorts = _SHORT * _MANY_SHORT
        if number < shorts:
            stretch, begins, length = number // _SHORT, number // _SHORT * _SHORT, _SHORT
        else:
            stretch = _MANY_SHORT + (number - shorts) // _LONG
            begins, length = shorts + (stretch - _MANY_SHORT) * _LONG, _LONG
        if self._known[0] != stretch:
            chance = int.from_bytes(hashlib.sha256(f"{self._seed} {stretch}".encode()).digest()[:8], "big")
            self._known = stretch, begins + _LEAD + chance % (length - _LEAD - WINDOW - DELAY)
        first = self._known[1]
        last = first + WINDOW - 1
        return Place(stretch, first <= number <= last, number == last, number == last + DELAY)


class Opening:
    """How far the gate of one stream is open: set by whoever tracks, awaited by the decoder."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stretch, self._level = -1, 0
        self._closed = False

    def tell(self, stretch: int, level: int) -> None:
        """Set how far it is open after the window of a stretch, up to `LEVELS`."""
        with self._changed:
            self._stretch, self._level = stretch, level
            self._changed.notify_all()

    def after(self, stretch: int) -> int | None:
        """Wait for, and return, how far it is open after the window of a stretch; None if nobody will set it."""
        with self._changed:
            while self._stretch < stretch and not self._closed:
                self._changed.wait()
            return self._level if self._stretch >= stretch else None

    def close(self) -> None:
        """Wake waiting threads: nothing more will be set."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
