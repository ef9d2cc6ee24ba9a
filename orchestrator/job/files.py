"""The files of a job's directory, wherever it lies: on a file system, or in object storage.

Both give what a job's records rest on: of two that create a file one succeeds, a file is complete or absent, and its
age is measured by one clock for all machines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from engine.storage.urls import place_of
from orchestrator.job.disk_file import DiskFile, names_on_disk
from orchestrator.job.stored_file import StoredFile, names_in_storage
from orchestrator.job.stored_path import StoredPath

AnyPath = Path | StoredPath
"""The place of a file or folder of a job."""


class File(Protocol):
    """One file. All methods raise OSError if it can't be known or done; StorageAway is one that names the remedy."""

    def create(self, data: bytes) -> bool:
        """Create it, durably. Return False if it exists already; of two concurrent writers, one wins."""

    def replace(self, data: bytes, *, durable: bool) -> None:
        """Write or replace it; after a crash of this process, it contains the old or the new content, and if `durable`
        after one of the machine, too."""

    def read(self, largest: int) -> bytes | None:
        """Return its content; None if it does not exist. Raises ValueError if it is larger, or is not a file."""

    def exists(self) -> bool:
        """Return whether it exists, as far as this machine knows."""

    def surely_exists(self) -> bool:
        """Return the same, asking whoever keeps it."""

    def remove(self) -> None:
        """Remove it, if it exists."""

    def touch(self) -> None:
        """Set its time to now."""

    def touched(self) -> float | None:
        """Return when it was written or touched, in seconds since 1970; None if it does not exist."""

    def clock(self) -> float:
        """Return the present time by the clock that sets the times of files there; this machine's time if nothing can
        be written there."""

    def append(self, line: bytes) -> None:
        """Add a line, which ends with a newline. Lines of several processes don't mix."""


def any_path(text: str) -> AnyPath:
    """Return the path that a text names: of an object where it is the URL of one, else on disk."""
    place = place_of(text)
    return Path(text) if place is None else StoredPath(place._replace(key=place.key.strip("/")))


def file_at(path: AnyPath) -> File:
    """Return the file with a path."""
    return StoredFile(path) if isinstance(path, StoredPath) else DiskFile(path)


def names_in(folder: AnyPath) -> list[str]:
    """Return the sorted names in a folder, without hidden ones; none if it can't be read."""
    try:
        found = names_in_storage(folder) if isinstance(folder, StoredPath) else names_on_disk(folder)
    except OSError:
        return []
    return sorted(name for name in found if not name.startswith("."))
