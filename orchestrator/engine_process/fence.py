"""The fence of an attempt, which its engine checks before it writes anything visible to others."""

from __future__ import annotations

import time

from engine.errors import LeaseLost
from orchestrator.job.atomic_json import there
from orchestrator.job.files import AnyPath

UNREADABLE_S = 2.0
"""How long a share may be unavailable, in seconds."""


class Fence:
    """Raises LeaseLost once one of the files exists: a later attempt has begun, or the job has ended without this
    one."""

    def __init__(self, *signs: AnyPath) -> None:
        self._signs = signs

    def __call__(self) -> None:
        deadline = time.monotonic() + UNREADABLE_S
        while True:
            try:
                if any(map(there, self._signs)):
                    raise LeaseLost("another worker has taken over this video")
                return
            except OSError as error:  # a share that is briefly unavailable
                if time.monotonic() > deadline:
                    raise LeaseLost(f"the job's directory can't be read: {error.strerror}") from error
                time.sleep(UNREADABLE_S / 20)
