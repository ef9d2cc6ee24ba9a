"""A file of a job's directory in object storage: conditional writes stand for exclusive creation, the times that the
server gives objects for those of files.

The clock of the server is known by an object that is written now and then; in between, this machine counts seconds, so
its own clock may be set to anything. Nothing can be appended to an object: the lines of a log are objects, numbered
without a gap, of which each is created by one process.
"""

from __future__ import annotations

import contextlib
import errno
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.errors import StorageError
from engine.storage.urls import store_of
from orchestrator.errors import StorageAway
from orchestrator.job.stored_path import StoredPath

if TYPE_CHECKING:
    from engine.storage.stores import Store

R = TypeVar("R")

_CLOCK = ".clock"
_CLOCK_KEPT_S = 60.0
_TRIES = 5


@dataclass(frozen=True)
class StoredFile:
    """Implements `files.File`. An object appears as a whole or not at all, and is durable from then on."""

    path: StoredPath

    def create(self, data: bytes) -> bool:
        def write(store: Store, key: str) -> bool:
            for _ in range(_TRIES):
                if store.create(key, data) is not None:
                    return True
                if (found := store.get(key)) is not None:
                    return found == data  # a request that was repeated because its answer was lost finds its own object
            raise StorageError("can't be written: the server refuses it, and has no such object", transient=True)

        return self._asked(write)

    def replace(self, data: bytes, *, durable: bool) -> None:
        self._asked(lambda store, key: store.put(key, data))

    def read(self, largest: int) -> bytes | None:
        data = self._asked(lambda store, key: store.get(key))
        if data is not None and len(data) > largest:
            raise ValueError(f"it has {len(data)} bytes, more than {largest}")
        return data

    def exists(self) -> bool:
        return self._asked(lambda store, key: store.facts(key)) is not None

    surely_exists = exists

    def remove(self) -> None:
        self._asked(lambda store, key: store.delete(key))

    def touch(self) -> None:
        """Write the same content again, if the object is still there."""

        def write(store: Store, key: str) -> None:
            if (found := store.version(key)) is not None:
                store.replace(key, found.data, found.etag)

        self._asked(write)

    def touched(self) -> float | None:
        facts = self._asked(lambda store, key: store.facts(key))
        return None if facts is None else facts.modified.timestamp()

    def clock(self) -> float:
        try:
            return _server(self.path.place.scheme, self.path.place.bucket).time(StoredFile(self.path.with_name(_CLOCK)))
        except OSError:
            return time.time()

    def append(self, line: bytes) -> None:
        """Create the object with the next number."""
        number = _last_lines.get(self.path)
        if number is None:
            number = max((int(name) for name in names_in_storage(self.path) if name.isdecimal()), default=0)
        number += 1
        while not StoredFile(self.path / _numbered(number)).create(line):
            number += 1
        _last_lines[self.path] = number

    def send(self, file: Path) -> None:
        """Write a file's content, however large. Raises OSError."""
        self._asked(lambda store, key: store.put(key, file))

    def fetch(self, file: Path) -> None:
        """Write the content to a file, which appears as a whole. Raises OSError, also if there is none."""
        part = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
        try:
            with open(part, "xb") as opened:
                self._asked(lambda store, key: store.fetch(key, opened))
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)

    def lines(self, after: int) -> Iterator[bytes]:
        """Yield the lines behind the one with this number; the first is number 1."""
        while (line := StoredFile(self.path / _numbered(after + 1)).read(_LONGEST_LINE)) is not None:
            after += 1
            yield line

    def _asked(self, ask: Callable[[Store, str], R]) -> R:
        """Return an answer of the store. Raises StorageAway."""
        try:
            return ask(store_of(self.path.place), self.path.place.key)
        except StorageError as error:
            raise _away(self.path, error) from error


def names_in_storage(folder: StoredPath) -> Sequence[str]:
    """Return the names right below a prefix; none if nothing is there. Raises StorageAway."""
    try:
        return store_of(folder.place).names(_prefix(folder))
    except StorageError as error:
        raise _away(folder, error) from error


def remove_all(folder: StoredPath) -> None:
    """Remove all objects below a prefix. Raises StorageAway."""
    try:
        store = store_of(folder.place)
        for each in list(store.list(_prefix(folder))):
            store.delete(each.key)
    except StorageError as error:
        raise _away(folder, error) from error


def size_of(folder: StoredPath) -> int:
    """Return the bytes of all objects below a prefix; 0 if that can't be known."""
    with contextlib.suppress(StorageError):
        return sum(each.size for each in store_of(folder.place).list(_prefix(folder)))
    return 0


_LONGEST_LINE = 1 << 20
_last_lines: dict[StoredPath, int] = {}
"""The last line that this process added to each log."""


class _Server:
    """A server's clock, between two looks at it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: tuple[float, float] | None = None  # by the server, and by this machine's monotonic clock

    def time(self, probe: StoredFile) -> float:
        """Return its time. Raises OSError."""
        with self._lock:
            if self._known is None or time.monotonic() - self._known[1] > _CLOCK_KEPT_S:
                probe.replace(b"", durable=False)
                touched = probe.touched()
                if touched is None:  # removed since, with the job
                    raise FileNotFoundError(errno.ENOENT, "not there any more", str(probe.path))
                self._known = touched, time.monotonic()  # late rather than early: no lease expires too soon by it
            then, counted_from = self._known
            return then + time.monotonic() - counted_from


@cache
def _server(scheme: str, bucket: str) -> _Server:
    return _Server()


def _numbered(number: int) -> str:
    return f"{number:08d}"


def _prefix(folder: StoredPath) -> str:
    return f"{folder.place.key}/" if folder.place.key else ""


def _away(path: StoredPath, error: StorageError) -> StorageAway:
    """Return what a store's error is for the job system: an error of a disk."""
    return StorageAway(errno.EIO, str(error).removeprefix("can't be read: "), str(path))
