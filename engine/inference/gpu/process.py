"""CUDA belongs to the process that started it: in a fork of that process nothing of it works.

Nothing of CUDA is touched at import time. The first use claims it for this process; a use in a process that was forked
from there is refused in a sentence, where CUDA itself would say "not initialized" or crash.
"""

from __future__ import annotations

import os

from engine.errors import BackendError

owner: int | None = None


def claim() -> None:
    """Claim the GPU for this process, ahead of the first call into the driver. Raises BackendError in a fork of CUDA's
    process."""
    global owner
    if owner is None:
        owner = os.getpid()
    check(owner)


def check(owner: int) -> None:
    """Raise BackendError unless this is the process `owner`."""
    if owner != os.getpid():
        raise BackendError(
            f"CUDA was started in process {owner}, from which this process ({os.getpid()}) was forked, and can't be "
            "used here. Start the engine in the process that runs it, or start processes with `spawn`."
        )
