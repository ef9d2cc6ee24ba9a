"""Waiting for a condition: the only place where tests sleep."""

import time
from collections.abc import Callable


def until(true: Callable[[], object], within_s: float = 30.0, about: Callable[[], object] = lambda: "") -> None:
    """Return once `true` gives something true. After `within_s`, which is generous since a busy machine is slow, fail
    with what `about` tells."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"not within {within_s:g} s. {about()}"
        time.sleep(0.02)
