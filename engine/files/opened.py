"""Inputs, opened once: what a file is was asked of its descriptor, and that descriptor is what is read.

Where who may put links among the inputs is not who runs the engine, a path means one thing when it is checked and
another when it is opened. So the path is resolved once, walked from a root without following a link, and never used
again: probing, decoding, hashing and every later look read this one file.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from engine.errors import SourceError, describe_os_error

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

# A FIFO without a writer is opened at once, and found to be no file; a terminal is not made ours.
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


_LONGEST_PATH = 4096 - 256  # with a name behind it, the longest that can be opened


class OpenedFile:
    """A regular file, open for reading until `close`. Any number of readers share it, each with a place of its own."""

    etag: str | None = None  # what an object in storage has for a hash (objects.py)

    def __init__(self, path: str, roots: Sequence[Path] = ()) -> None:
        """Open `path`; with `roots`, only where it is below one of them, links resolved. Raises SourceError."""
        self.path = path
        self.descriptor = -1
        try:
            self.descriptor = _below(path, roots, _READ) if roots else _open(path)
            self.facts = os.fstat(self.descriptor)
            if not stat.S_ISREG(self.facts.st_mode):
                raise SourceError("is not a file")
            os.set_blocking(self.descriptor, True)
        except FileNotFoundError as error:
            self.close()
            raise SourceError("does not exist") from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            self.close()
            reason = describe_os_error(error) if isinstance(error, OSError) else str(error)
            raise SourceError(f"can't be read: {reason}") from error
        except SourceError:
            self.close()
            raise

    @property
    def size_bytes(self) -> int:
        """The size when it was opened."""
        return self.facts.st_size

    def size_now(self) -> int:
        """Return the size that it has by now. Raises OSError."""
        return os.fstat(self.descriptor).st_size

    @property
    def stamp(self) -> int | str:
        """What is another one after each change: the time of the last one, in ns."""
        return os.fstat(self.descriptor).st_mtime_ns

    @property
    def problem(self) -> SourceError | None:
        """Why it could not be read to its end, where whoever reads it may have taken that for the end."""
        return None

    def changed(self) -> str | None:
        """Return how it has changed since it was opened, in words; None if it has not."""
        before, now = self.facts, os.fstat(self.descriptor)
        if now.st_size != before.st_size:
            return (
                "was still being written while it was read: "
                f"{before.st_size:,} bytes when it was opened, {now.st_size:,} at the end"
            )
        return "was written to while it was read" if now.st_mtime_ns != before.st_mtime_ns else None

    def reader(self) -> io.RawIOBase:
        """Return a reader that is at the beginning. It does not outlive the file."""
        return Reader(self.descriptor, self.path)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> OpenedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PlacedReader(io.RawIOBase):
    """Reads an open input from a place of its own. Closing it leaves the input open."""

    def __init__(self, path: str) -> None:
        self._place = 0
        # FFmpeg tells some raw formats by the suffix alone. The rest of a name it would read patterns and URLs into.
        self.name = f"input{os.path.splitext(path)[1]}"

    def _read_at(self, place: int, size: int) -> bytes:
        """Return up to `size` bytes from `place`, fewer at the end."""
        raise NotImplementedError

    def _end(self) -> int:
        """Return the place behind the last byte."""
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return self.readall()
        data = self._read_at(self._place, size)
        self._place += len(data)
        return data

    def readall(self) -> bytes:
        return b"".join(iter(lambda: self.read(1 << 20), b""))

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place}.get(whence)
        place = offset + (self._end() if base is None else base)
        if place < 0:
            raise ValueError(f"no place before the first byte: {place}")
        self._place = place
        return place

    def tell(self) -> int:
        return self._place


class Reader(PlacedReader):
    """Reads an open file."""

    def __init__(self, descriptor: int, path: str) -> None:
        super().__init__(path)
        self._descriptor = descriptor

    def _read_at(self, place: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, place)

    def _end(self) -> int:
        return os.fstat(self._descriptor).st_size

    def readinto(self, buffer: Buffer, /) -> int:
        count = os.preadv(self._descriptor, [buffer], self._place)
        self._place += count
        return count


def _open(path: str) -> int:
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a device may already do something
        raise SourceError("is not a file")
    return os.open(path, _READ)


class Entry(NamedTuple):
    """One name in a folder; of a link, `is_folder` says what it leads to."""

    name: str
    is_folder: bool
    is_link: bool


def entries(folder: Path, roots: Sequence[Path] = ()) -> list[Entry]:
    """Return the names in a folder, sorted. With `roots`, only below one of them, links resolved. Raises OSError and
    SourceError."""
    if len(os.fsencode(folder)) > _LONGEST_PATH:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = _below(str(folder), roots, flags) if roots else os.open(folder, flags)
    try:
        with os.scandir(descriptor) as found:
            return sorted(Entry(entry.name, _is_folder(entry), entry.is_symlink()) for entry in found)
    finally:
        os.close(descriptor)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _below(path: str, roots: Sequence[Path], flags: int) -> int:
    """Open the resolved path step by step from its root: a link that has come in between is an error."""
    resolved = os.path.realpath(path)
    for root in map(os.path.realpath, roots):
        if os.path.commonpath([root, resolved]) != root:
            continue
        if resolved == root:
            return os.open(root, flags | os.O_NOFOLLOW)
        top = os.open(root, _FOLDER)
        try:
            return _walk(top, Path(resolved).relative_to(root).parts, flags)
        finally:
            os.close(top)
    raise SourceError(f"is outside the folders that may be read ({os.pathsep.join(map(str, roots))})")


def _walk(top: int, steps: tuple[str, ...], flags: int) -> int:
    """Open the last of `steps`, each below the previous one, and none of them a link."""
    folder = os.dup(top)
    try:
        for step in steps[:-1]:
            inner = os.open(step, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        if flags == _READ and not stat.S_ISREG(os.stat(steps[-1], dir_fd=folder, follow_symlinks=False).st_mode):
            raise SourceError("is not a file")  # opening a device may already do something
        return os.open(steps[-1], flags | os.O_NOFOLLOW, dir_fd=folder)
    finally:
        os.close(folder)
