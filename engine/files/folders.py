"""Folders held by a descriptor: what is done below one follows no link, and reads nothing but plain files.

Others may write where results go. A name that is looked up twice can be another thing the second time; a descriptor
can't, also not when its folder is renamed or removed meanwhile: then whatever is done below it fails.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePath
from types import TracebackType
from typing import IO

from engine.errors import OutputError

# Errors that say that a file, or the folder around it, no longer exists.
GONE = frozenset({errno.ENOENT, errno.ESTALE})

# Errors of a file system that has no hard links. rclone's is EIO; where it means what it says, what is done instead
# fails with it too.
NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EIO})

# Errors of one, or of a system, that does not know a rename which replaces nothing.
NO_SUCH_RENAME = NO_LINKS | {errno.EINVAL}

# Of Linux: relative to the current folder; replace nothing.
_HERE, _NOREPLACE = -100, 1

_SYNCS = 8  # files that are made durable at the same time

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Folder:
    """An open folder. `shown` is its path for people. Close it, or use it as a context manager."""

    def __init__(self, descriptor: int, shown: Path) -> None:
        self.descriptor = descriptor
        self.shown = shown

    @classmethod
    def at(cls, path: Path) -> Folder:
        """Open a folder that a user named; its own name may be a link. Raises OSError."""
        return cls(os.open(path, _FOLDER_FLAGS), path)

    def sub(self, name: str, *, make: bool = False) -> Folder:
        """Open a folder in this one, and make it where it is missing. Raises OSError, and OutputError for a link."""
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, dir_fd=self.descriptor)
        try:
            descriptor = os.open(name, _FOLDER_FLAGS | os.O_NOFOLLOW, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP) and self.is_link(name):
                raise OutputError(
                    f"{self.shown / name} is a symbolic link, and results are never written through one. Remove it, "
                    "or choose another output folder."
                ) from error
            raise
        return Folder(descriptor, self.shown / name)

    def below(self, path: PurePath, *, make: bool = False) -> Folder:
        """Open a folder any number of steps below this one, each as `sub` does."""
        here = self.again()
        for name in path.parts:
            with here as parent:
                if name == ".." or os.sep in name:
                    raise OutputError(f"{path} leads out of {self.shown}.")
                here = parent.sub(name, make=make)
        return here

    def again(self) -> Folder:
        """Return the same folder, open once more."""
        return Folder(os.dup(self.descriptor), self.shown)

    def is_without_links(self, path: Path) -> bool:
        """Return whether this is what a resolved path means: no link has come into it since it was resolved."""
        return os.readlink(f"/proc/self/fd/{self.descriptor}") == os.path.abspath(path)

    def is_at(self, path: Path) -> bool:
        """Return whether `path` leads to this very folder: not where it was moved or removed meanwhile. Raises
        OSError."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self.descriptor))
        except NotADirectoryError:
            return False
        except OSError as error:
            if error.errno in GONE:
                return False
            raise

    def path(self, name: str) -> Path:
        """Return a path to a file of this very folder, for those who take paths only. It is useless once this is
        closed."""
        return Path(f"/proc/self/fd/{self.descriptor}", name)

    def create(self, name: str) -> IO[bytes]:
        """Open a new file for writing. Raises FileExistsError if anything has that name, and OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return open(os.open(name, flags, 0o666, dir_fd=self.descriptor), "w+b")

    def open(self, name: str, *, append: bool = False) -> IO[bytes]:
        """Open a regular file for reading; with `append`, for writing at its end as well, and make it where it is
        missing. Raises OSError, and ValueError for anything else: it neither follows a link, nor waits for a FIFO, nor
        reads from a device."""
        kind = os.O_RDWR | os.O_APPEND | os.O_CREAT if append else os.O_RDONLY
        try:
            descriptor = os.open(
                name, kind | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666, dir_fd=self.descriptor
            )
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO, errno.ENODEV):  # a link, a socket, a device without a driver
                raise ValueError("not a regular file") from error
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise ValueError("not a regular file")
        return open(descriptor, "ab+" if append else "rb")

    def read(self, name: str, most: int) -> bytes:
        """Return the content of a regular file of at most `most` bytes. Raises OSError, and ValueError for anything
        else, as `open` does."""
        with self.open(name) as file:
            text = file.read(most + 1)
            if len(text) > most:
                raise ValueError(f"larger than {most} bytes")
            return text

    def write(self, name: str, text: bytes) -> None:
        """Write or replace a file, durably and whole. Only one may write this name at a time. Raises OSError."""
        part = f"{name}.tmp"
        self.remove(part)  # of an own write that failed
        with self.create(part) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self.rename(part, name)
        self.sync()

    def put(self, name: str, text: bytes) -> None:
        """Write or replace a file, durably and whole, whoever does so at the same time. What a process that was killed
        has left of one goes. Raises OSError."""
        self.put_all({name: text})

    def put_all(self, texts: Mapping[str, bytes]) -> None:
        """Write or replace files as `put` does, each whole, in less time than one after the other: what is asked of a
        file system at the same time becomes durable at once, and the folder is made durable once. Where one can't be
        written, those before it may be there. Raises OSError."""
        self._sweep(texts)
        with contextlib.ExitStack() as parts:
            made = {name: parts.enter_context(self._part(name, text)) for name, text in texts.items()}
            with ThreadPoolExecutor(_SYNCS) as pool:
                list(pool.map(os.fsync, (file.fileno() for _, file in made.values())))
            for name, (part, _) in made.items():
                self.rename(part, name)
        self.sync()

    @contextlib.contextmanager
    def _part(self, name: str, text: bytes) -> Iterator[tuple[str, IO[bytes]]]:
        """Give the name of a new file with this text, and the file, which is removed if what follows fails."""
        while True:
            part = f"{name}.{secrets.token_hex(8)}.part"
            with self.create(part) as file:  # never what somebody has put there
                _lock(file, fcntl.LOCK_EX)  # as long as this process lives: so others know that it is at it
                facts = self.facts(part)
                if facts is None or not os.path.samestat(facts, os.fstat(file.fileno())):
                    continue  # it was taken for a dead one before it was locked
                try:
                    file.write(text)
                    file.flush()
                    yield part, file
                except BaseException:
                    with contextlib.suppress(OSError):
                        self.remove(part)
                    raise
            return

    def _sweep(self, names: Iterable[str]) -> None:
        """Remove the parts of `put` that nobody is writing."""
        parts = re.compile(f"(?:{'|'.join(map(re.escape, names))})" + r"\.[0-9a-f]{16}\.part", re.DOTALL)
        for each in filter(parts.fullmatch, self.names()):
            with contextlib.suppress(OSError, ValueError), self.open(each) as file:
                _lock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self.remove(each)

    def rename(self, name: str, target: str, into: Folder | None = None) -> None:
        """Give a file another name, here or in another folder. Raises OSError."""
        there = self.descriptor if into is None else into.descriptor
        os.rename(name, target, src_dir_fd=self.descriptor, dst_dir_fd=there)

    def rename_to_new(self, name: str, target: str, into: Folder) -> None:
        """As `rename`, but replaces nothing: raises FileExistsError if anything else has that name."""
        try:
            os.link(name, target, src_dir_fd=self.descriptor, dst_dir_fd=into.descriptor, follow_symlinks=False)
        except FileExistsError:
            own, there = self.facts(name), into.facts(target)
            if own is None or there is None or not os.path.samestat(own, there):
                raise
            # It was ended here, between the two steps.
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            self._rename_without_links(name, target, into)
            return
        self.remove(name)

    def link_to_new(self, name: str, other: str) -> None:
        """Give a file a second name; where the file system has none, that one alone. Raises FileExistsError if
        another file has it, and OSError."""
        try:
            os.link(name, other, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor, follow_symlinks=False)
        except FileExistsError:
            own, there = self.facts(name), self.facts(other)
            if own is None or there is None or not os.path.samestat(own, there):
                raise
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            self._rename_without_links(name, other, self)

    def _rename_without_links(self, name: str, target: str, into: Folder) -> None:
        """Rename a file to a name that is free; in one step where the file system knows one. Raises FileExistsError and
        OSError."""
        try:
            rename_to_new(name, target, self.descriptor, into.descriptor)
        except OSError as error:
            if error.errno not in NO_SUCH_RENAME:
                raise
            if into.facts(target) is not None:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
            self.rename(name, target, into)

    def remove(self, name: str) -> bool:
        """Remove a file; a link itself, not what it leads to. False if there is none. Raises OSError."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno in GONE:
                return False
            raise
        return True

    def empty(self) -> None:
        """Remove the files in it; folders are left. Never raises."""
        with contextlib.suppress(OSError):
            for name in self.names():
                with contextlib.suppress(OSError):
                    self.remove(name)

    def remove_folder(self, name: str) -> None:
        """Remove a folder in this one with the files in it. Folders in it are left, and with them it. Never raises."""
        with contextlib.suppress(OSError, OutputError), self.sub(name) as folder:
            folder.empty()
        with contextlib.suppress(OSError):
            os.rmdir(name, dir_fd=self.descriptor)

    def names(self) -> list[str]:
        """Return what is in it, asked again. Raises OSError."""
        with Folder(os.open(".", _FOLDER_FLAGS, dir_fd=self.descriptor), self.shown) as again:
            return os.listdir(again.descriptor)

    def is_link(self, name: str) -> bool:
        facts = self.facts(name)
        return facts is not None and stat.S_ISLNK(facts.st_mode)

    def facts(self, name: str) -> os.stat_result | None:
        """Return the status of the name itself, not of what a link leads to; None if there is none. Raises
        OSError."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except OSError as error:
            if error.errno in GONE:
                return None
            raise

    def sync(self) -> None:
        """Make names that were given or taken durable. Raises OSError."""
        os.fsync(self.descriptor)

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def rename_to_new(name: str | Path, target: str | Path, source: int = _HERE, into: int = _HERE) -> None:
    """Rename a file in one step that replaces nothing, each name relative to an open folder. Raises FileExistsError
    where the name is taken, OSError with one of `NO_SUCH_RENAME` if there is no such step."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(target))
    if call(source, os.fsencode(name), into, os.fsencode(target), _NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(target))


def _lock(file: IO[bytes], kind: int) -> None:
    """Lock a file until it is closed. Raises BlockingIOError if another holds it."""
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        if kind & fcntl.LOCK_NB:
            raise


@contextlib.contextmanager
def opened(place: Path | Folder, *names: str) -> Iterator[Folder | None]:
    """Open the folder `names` below a path, or below an open folder, to read it; None if it can't be opened."""
    folder: Folder | None = None
    try:
        folder = place.again() if isinstance(place, Folder) else Folder.at(place)
        for name in names:
            with folder as parent:
                folder = parent.sub(name)
    except (OSError, OutputError):
        folder = None
    try:
        yield folder
    finally:
        if folder is not None:
            folder.close()
