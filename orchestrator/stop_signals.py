"""A process that is told to stop twice at once, itself and as one of its group, as `timeout` does it: the two are one.

Celery takes the second of two SIGINTs for "drop everything", and its pool children die of a SIGTERM in the midst of a
step, though the worker has just begun to let them end in order.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType

from engine.cli.repeats import SAME_S, Repeats

_TICK_S = 0.02


@contextlib.contextmanager
def interrupting(*numbers: signal.Signals) -> Iterator[None]:
    """Have each of these signals raise KeyboardInterrupt within a block, one that comes twice at once only once. A
    SIGINT that is ignored, as in a shell's background, stays ignored."""
    repeats = Repeats()

    def interrupt(*_: object) -> None:
        if not repeats.seen():
            raise KeyboardInterrupt

    heard = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def spare_the_worker(told_at_s: float) -> None:
    """Ignore, in the worker's parent as it begins to stop, a SIGINT that belongs to the same stop."""
    last_resort = signal.getsignal(signal.SIGINT)

    def again(number: int, frame: FrameType | None) -> None:
        if time.monotonic() - told_at_s >= SAME_S and callable(last_resort):
            last_resort(number, frame)

    signal.signal(signal.SIGINT, again)


def spare_the_child(stopped_at: Callable[[], float | None]) -> None:
    """Ignore, in a pool child, a SIGTERM that came to the worker as well; any other one ends the child.
    `stopped_at` is when the worker was told to stop, in seconds since the epoch; None: it was not."""

    usual = signal.getsignal(signal.SIGTERM)
    if getattr(usual, "spares", False):  # a child does one task after the other
        return

    def told(number: int, frame: FrameType | None) -> None:
        came_at = time.time()
        while (at := stopped_at()) is None and time.time() - came_at < SAME_S:
            time.sleep(_TICK_S)  # the worker may hear of it a little later
        if at is not None and abs(came_at - at) <= SAME_S:
            return
        if callable(usual):
            usual(number, frame)
        else:
            signal.signal(number, usual)
            os.kill(os.getpid(), number)

    told.spares = True  # type: ignore[attr-defined]  # a mark of ours
    signal.signal(signal.SIGTERM, told)
