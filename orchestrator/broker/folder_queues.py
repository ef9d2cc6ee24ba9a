"""Queues in a folder: a message is a file, and the process that renames it owns it.

    queues/<queue>/<level>-<time>-<random>          waiting; served in the order of names
    taken/<tag>~<queue>~<name>                      taken but not acknowledged; touched while its task runs

A message whose worker was killed is put back once it has not been touched for the visibility timeout. Times in names
are those of the machines, and only affect the order of service.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from orchestrator.broker.inbound import MAX_BYTES
from orchestrator.job.disk_file import clock_of

_LEVELS = 10

held_here: dict[str, str] = {}
"""Delivery tag -> file name of each message that this process holds."""


@dataclass(frozen=True)
class Waiting:
    """A waiting message: its queue, level and content."""

    queue: str
    level: int
    raw: bytes


class FolderQueues:
    """The queues of one folder, created with the first message. Every method raises OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken = folder / "taken"

    def put(self, queue: str, level: int, raw: bytes) -> None:
        """Append a message to its level."""
        name = f"{min(max(level, 0), _LEVELS - 1)}-{time.time_ns():020d}-{secrets.token_hex(4)}"
        place = self._of(queue)
        try:
            _write(place / f".{name}", raw)
        except FileNotFoundError:
            self._make(place)
            _write(place / f".{name}", raw)
        os.rename(place / f".{name}", place / name)

    def take(self, queue: str) -> tuple[bytes, str] | None:
        """Take the next message; return it and the name under which it is held, None if nothing waits."""
        for name in self._names(queue):
            held = f"{secrets.token_hex(16)}~{_quoted(queue)}~{name}"
            target = self._taken / held
            try:
                os.utime(self._of(queue) / name)  # its age counts from now
                os.rename(self._of(queue) / name, target)
            except FileNotFoundError:
                if not target.exists():  # otherwise a server's answer was lost and the request repeated
                    continue
            return _read(target), held
        return None

    def done(self, held: str) -> None:
        """Remove a held message, whose task has ended."""
        (self._taken / held).unlink(missing_ok=True)

    def give_back(self, held: str) -> None:
        """Put a held message back in its place. If another process has done so already, do nothing."""
        _, queue, name = held.split("~", 2)
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._taken / held, self._of(unquote(queue)) / name)

    def renew(self, helds: Iterable[str]) -> None:
        """Touch held messages, whose tasks continue."""
        for held in helds:
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._taken / held)

    def restore(self, older_s: float) -> int:
        """Put back held messages not renewed for `older_s`, by the file system's clock, and return how many."""
        present, count = clock_of(self._taken), 0
        for path in self._held():
            with contextlib.suppress(FileNotFoundError, ValueError):
                if present - path.stat().st_mtime > older_s:
                    self.give_back(path.name)
                    count += 1
        return count

    def length(self, queue: str) -> int:
        """Return the number of waiting messages."""
        return len(self._names(queue))

    def waiting(self, queue: str, limit: int) -> Iterator[Waiting]:
        """Yield the waiting messages, the next one first."""
        for name in self._names(queue)[:limit]:
            with contextlib.suppress(FileNotFoundError):
                yield Waiting(queue, _level(name), _read(self._of(queue) / name))

    def take_away(self, queue: str) -> Iterator[Waiting]:
        """Remove the waiting messages, and yield each removed one."""
        while (taken := self.take(queue)) is not None:
            raw, held = taken
            yield Waiting(queue, _level(held.split("~", 2)[2]), raw)
            self.done(held)

    def probe(self) -> None:
        """Write a file and remove it."""
        self._make(self._of("celery"))
        path = self.folder / f".probe.{secrets.token_hex(8)}"
        _write(path, b"")
        path.unlink()

    def _names(self, queue: str) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._of(queue)) if not name.startswith("."))
        except FileNotFoundError:
            return []

    def _held(self) -> list[Path]:
        try:
            return [self._taken / name for name in sorted(os.listdir(self._taken)) if not name.startswith(".")]
        except FileNotFoundError:
            return []

    def _of(self, queue: str) -> Path:
        return self.folder / "queues" / _quoted(queue)

    def _make(self, place: Path) -> None:
        """Create the folders for this user only, because anyone who can write here controls the workers."""
        if not self.folder.exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in (place, self._taken):
            each.mkdir(parents=True, exist_ok=True)


def tag_of(held: str) -> str:
    """Return the unique part of a held message's name."""
    return held.partition("~")[0]


def _level(name: str) -> int:
    return int(name[0]) if name[:1].isdecimal() else _LEVELS - 1


def _quoted(queue: str) -> str:
    return quote(queue, safe="").replace(".", "%2E").replace("~", "%7E") or "%"


def _write(path: Path, raw: bytes) -> None:
    with open(path, "xb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> bytes:
    """Return a file's content, truncated to one byte more than allowed, so that inbound refuses it."""
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)
