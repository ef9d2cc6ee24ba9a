"""A file of a job's directory on a file system, which several machines may share."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.files.folders import NO_LINKS, NO_SUCH_RENAME, rename_to_new

# An empty file younger than this, in seconds, is read again: without hard links, it has just been created.
_ABOUT_TO_S, _LOOKS, _POLL_S = 2.0, 10, 0.02


@dataclass(frozen=True)
class DiskFile:
    """Implements `files.File`. It is complete or absent: written under another name, then renamed, or linked if only
    one process may create it."""

    path: Path

    def create(self, data: bytes) -> bool:
        with _part(self.path, data, durable=True) as part:
            try:
                os.link(part, self.path)
            except FileExistsError:
                if not _same(part, self.path):
                    return False  # otherwise a server's answer was lost and the request repeated
            except OSError as error:
                # sshfs also reports EPERM if the name is taken, which is detected below.
                if error.errno not in NO_LINKS:
                    raise
                if not _made_without_link(part, self.path):
                    return False
        _sync_folder(self.path.parent)
        return True

    def replace(self, data: bytes, *, durable: bool) -> None:
        with _part(self.path, data, durable=durable) as part:
            os.replace(part, self.path)
        if durable:
            _sync_folder(self.path.parent)

    def read(self, largest: int) -> bytes | None:
        """Handle something else in its place safely: don't follow links, don't block on FIFOs, don't read more than a
        bounded part. Without hard links, a new file may be empty for a moment."""
        for _ in range(_LOOKS):
            data, about_to_be_written = self._read(largest)
            if not about_to_be_written:
                return data
            time.sleep(_POLL_S)
        return b""

    def _read(self, largest: int) -> tuple[bytes | None, bool]:
        """Read once; return also whether it is an empty file that may still get content."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None, False
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
                raise ValueError("not a file of JSON") from error
            raise
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("not a file of JSON")
            if status.st_size > largest:
                raise ValueError(f"it has {status.st_size} bytes, more than {largest}")
            if not status.st_size and abs(time.time() - status.st_mtime) < _ABOUT_TO_S:
                return b"", True
            return file.read(status.st_size), False  # bounded, even if the file grows meanwhile

    def exists(self) -> bool:
        return self.path.exists()

    def surely_exists(self) -> bool:
        try:
            # An NFS client caches for half a minute that a name is free. Opening the folder makes it check for changes
            # and drop such entries.
            with contextlib.suppress(PermissionError):  # the folder may be searched but not listed
                os.close(os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            if error.errno != errno.ELOOP:  # a link to itself: the name is taken
                raise
        return True

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)

    def touch(self) -> None:
        os.utime(self.path)

    def touched(self) -> float | None:
        try:
            return self.path.stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None

    def clock(self) -> float:
        return clock_of(self.path.parent)

    def append(self, line: bytes) -> None:
        # A line is a single write. Don't follow a link out of the folder, or block on a FIFO.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(self.path, flags, 0o644)
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        finally:
            os.close(descriptor)


def names_on_disk(folder: Path) -> list[str]:
    """Return the names in a folder. Raises OSError."""
    return os.listdir(folder)


def clock_of(folder: Path) -> float:
    """Return the time by the clock of a folder's file system; this machine's time if nothing can be written, because
    the disk is full or the folder is read-only."""
    probe = folder / f".clock.{secrets.token_hex(8)}"
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
        return probe.stat().st_mtime
    except OSError:
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


def _made_without_link(part: Path, path: Path) -> bool:
    """Replace a hard link on file systems without them (vfat, rclone): give the part its final name unless that is
    taken. Return False if it is. Raises OSError.

    A rename without replacement is equivalent. If that is not supported either, the file is created under its final
    name and then written; a process killed in between leaves an empty file, which counts as a damaged record.
    """
    try:
        rename_to_new(part, path)
        return True
    except FileExistsError:
        return not part.exists()  # done, but the answer was lost and the request repeated
    except OSError as error:
        if error.errno not in NO_SUCH_RENAME:
            raise
    text = part.read_bytes()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        return False
    try:
        with open(descriptor, "wb", buffering=0) as file:
            if file.write(text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return True


@contextlib.contextmanager
def _part(path: Path, data: bytes, *, durable: bool) -> Iterator[Path]:
    """Create a temporary file beside `path` with the data, fsynced if `durable`; it is removed at the end of the
    block."""
    part = _named(path)
    try:
        with open(part, "xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        yield part
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except FileNotFoundError:
        return False


def _named(path: Path) -> Path:
    """Return a unique name: a leftover of a killed process may be a hard link to `path`, and writing to it would change
    `path`."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
