"""A folder that appears whole or not at all, in the place of an earlier one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator

from engine.errors import OutputError
from engine.files.folders import Folder


@contextlib.contextmanager
def whole_folder(parent: Folder, name: str) -> Iterator[Folder]:
    """Give a new folder, to be filled, that takes the place of `name` in `parent` at the end of the block; where that
    raises, nothing of it stays. What was left of one whose process was killed goes. Raises OSError."""
    token = secrets.token_hex(8)
    part, old = f".{name}-{token}.part", f".{name}-{token}.old"
    with _alone(parent):
        _mend(parent, name)
        os.mkdir(part, dir_fd=parent.descriptor)
        growing = parent.sub(part)
        _lock(growing, wait=True)  # as long as this process lives
    try:
        with growing:
            yield growing
            with _alone(parent):
                if parent.facts(name) is not None:
                    parent.rename(name, old)
                parent.rename(part, name)
                parent.sync()
    finally:
        for each in (part, old):
            shutil.rmtree(each, ignore_errors=True, dir_fd=parent.descriptor)


def _mend(parent: Folder, name: str) -> None:
    """Remove what killed processes have left; an earlier folder that was already moved away comes back."""
    own = re.compile(rf"\.{re.escape(name)}-[0-9a-f]{{16}}\.(part|old)", re.DOTALL)
    for each in sorted(parent.names()):
        if (match := own.fullmatch(each)) is None:
            continue
        if match[1] == "old" and parent.facts(name) is None:
            parent.rename(each, name)
        elif _is_nobodys(parent, each):
            shutil.rmtree(each, ignore_errors=True, dir_fd=parent.descriptor)


def _is_nobodys(parent: Folder, name: str) -> bool:
    try:
        with parent.sub(name) as folder:
            return _lock(folder, wait=False)
    except (OSError, OutputError):  # none of ours
        return False


def _lock(folder: Folder, *, wait: bool) -> bool:
    """Lock a folder until it is closed, and return whether that is done. Where a file system has no locks, nobody is
    known to be away."""
    try:
        fcntl.flock(folder.descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return wait
    return True


@contextlib.contextmanager
def _alone(parent: Folder) -> Iterator[None]:
    """Hold others who do the same in a folder off for a moment."""
    # Opened again: what is locked by one descriptor is not locked against its copies.
    with Folder(os.open(".", os.O_RDONLY | os.O_CLOEXEC, dir_fd=parent.descriptor), parent.shown) as held:
        _lock(held, wait=True)
        yield
