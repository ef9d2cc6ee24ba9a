"""File locks that are released when the process that holds them ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def lock(path: Path) -> int | None:
    """Lock a file, creating it if missing, and return its descriptor; None if another process has the lock. It is held
    until the descriptor and its copies in child processes are closed. Raises OSError."""
    descriptor = _opened(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def locked(path: Path) -> bool:
    """Return whether any process holds the lock of a file. Raises OSError."""
    try:
        descriptor = lock(path)
    except FileNotFoundError:
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


@contextlib.contextmanager
def sole(path: Path) -> Iterator[bool]:
    """Hold the lock of a file for a block; yields False if another process has it. Raises OSError."""
    descriptor = lock(path)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock of a file for a block, waiting for whoever has it. Raises OSError."""
    descriptor = _opened(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    # Links are not followed, FIFOs don't block and nothing is truncated: others may write to the folder.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
