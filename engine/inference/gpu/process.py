"""CUDA belongs to the process that initialised it: in a fork of that process it does not work.

Importing does not use CUDA. The first use claims it for this process; use in a fork of that process is refused with a
clear error, whereas CUDA itself would report "not initialized" or crash.
"""

from __future__ import annotations

import os

from engine.errors import BackendError

owner: int | None = None


def claim() -> None:
    """Claim the GPU for this process, before the first call of the driver. Raises BackendError in a fork of the process
    that uses CUDA."""
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
