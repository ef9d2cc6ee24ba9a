"""The priority of this process, which must stay: SVT-AV1 takes real-time priority where root encodes with it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def ordinary_priority() -> Iterator[None]:
    """Gives all threads of the process the scheduling that the calling thread had, when what is within has ended.

    A process that stays at SCHED_FIFO 99 takes the cores from all others, and what it starts inherits it.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        for thread in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(int(thread.name), policy, parameters)
