"""Windows: which frames of a gated stream are inferred whole, too, to see what the gate costs; and how far it is open.

A stream is divided by frame numbers alone. Each stretch has one window of frames that follow each other, at a place
that a seed decides. By a fixed number of frames behind it, what was seen there is known, however frames are batched:
there, and nowhere else, the gate may open.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass

WINDOW = 8
"""Frames of a window."""
DELAY = 64
"""Frames from a window's end to the frame at which the gate may open by what was seen in it."""
LEVELS = 4
"""How far the gate opens: 0 not at all; 1 one frame is between two others, at most; 2 none is; 3 nothing is inferred in
parts; 4 every frame is inferred whole."""

# The first stretches are short, so that clips of ten seconds have windows too; of the others, 2 % is seen whole.
_SHORT, _MANY_SHORT, _LONG = 96, 3, 400


@dataclass(frozen=True)
class Place:
    """Where a frame lies: in which stretch; `audited`: in its window, of which it may be the last one (`ends`);
    `decides`: here the gate may open."""

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
        """Return where frame `number`, counted from 0, lies."""
        shorts = _SHORT * _MANY_SHORT
        if number < shorts:
            stretch, begins, length = number // _SHORT, number // _SHORT * _SHORT, _SHORT
        else:
            stretch = _MANY_SHORT + (number - shorts) // _LONG
            begins, length = shorts + (stretch - _MANY_SHORT) * _LONG, _LONG
        if self._known[0] != stretch:
            chance = int.from_bytes(hashlib.sha256(f"{self._seed} {stretch}".encode()).digest()[:8], "big")
            # Not with the first frame: the tracker has nothing yet from which another could continue.
            self._known = stretch, begins + 1 + chance % (length - WINDOW - DELAY)
        first = self._known[1]
        last = first + WINDOW - 1
        return Place(stretch, first <= number <= last, number == last, number == last + DELAY)


class Opening:
    """How far the gate of one stream is open: told by the thread that tracks, waited for by the one that decodes."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stretch, self._level = -1, 0
        self._closed = False

    def tell(self, stretch: int, level: int) -> None:
        """Say how far it is open once the window of a stretch has been seen."""
        with self._changed:
            self._stretch, self._level = stretch, level
            self._changed.notify_all()

    def level(self, stretch: int) -> int | None:
        """Return how far it is open behind the window of a stretch, once that is known; None if nobody will tell."""
        with self._changed:
            while self._stretch < stretch and not self._closed:
                self._changed.wait()
            return self._level if self._stretch >= stretch else None

    def close(self) -> None:
        """Wake who waits: nothing more is told."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
