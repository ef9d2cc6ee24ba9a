"""How a process loads the libraries: what it finds in its environment, and without the garbage collector."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator, Mapping

_NEW_AT_ONCE = 5_000
"""So many objects more than before make the garbage collector look at them, seven times as many as Python's default:
little of what a run makes is ever garbage that only the collector finds."""


def additions(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what to add to an environment; what the user has set counts.

    NumPy's BLAS would start threads, which spin for 50 ms of computing time, while each of our threads multiplies its
    own small matrices; with one thread, results also have the same bytes everywhere. Pydantic would read the metadata
    of all installed packages in search of plugins.
    """
    wanted = {"OPENBLAS_NUM_THREADS": "1", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
    if "OMP_NUM_THREADS" in environment:
        del wanted["OPENBLAS_NUM_THREADS"]
    return {name: value for name, value in wanted.items() if name not in environment}


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Turn the garbage collector off while a process of our own imports, because it would scan everything several
    times; afterwards it ignores the imported objects, because they live until the end."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(_NEW_AT_ONCE, *gc.get_threshold()[1:])
        gc.enable()
