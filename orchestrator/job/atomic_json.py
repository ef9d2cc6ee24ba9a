"""Atomic JSON files, of which a job's durable state consists."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.files.folders import NO_LINKS, NO_SUCH_RENAME, rename_to_new

MAX_BYTES = 1 << 20
"""Maximum bytes of a record: a lease, a result, a cancellation."""

MAX_LIST_BYTES = 256 << 20
"""Maximum bytes of a record with a job's list of videos: four times that of 100,000 videos."""

# An empty file younger than this, in seconds, is read again: without hard links, it has just been created.
_ABOUT_TO_S, _LOOKS, _POLL_S = 2.0, 10, 0.02
_EMPTY = object()


def write_json(path: Path, value: object) -> None:
    """Write or replace a file; after a crash it contains the old or the new value. Raises OSError."""
    _replace(path, json.dumps(value, indent=1) + "\n", durable=True)
    _sync_folder(path.parent)


def write_quick(path: Path, value: object) -> None:
    """Replace a file that may be lost in a crash of the machine (progress). Raises OSError."""
    _replace(path, json.dumps(value), durable=False)


def write_once(path: Path, value: object) -> bool:
    """Create a file. Return False if it exists already; of two concurrent writers, one wins."""
    with _part(path, json.dumps(value, indent=1) + "\n", durable=True) as part:
        try:
            os.link(part, path)
        except FileExistsError:
            if not _same(part, path):
                return False  # otherwise a server's answer was lost and the request repeated
        except OSError as error:
            # sshfs also reports EPERM if the name is taken, which is detected below.
            if error.errno not in NO_LINKS:
                raise
            if not _made_without_link(part, path):
                return False
    _sync_folder(path.parent)
    return True


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


def read_json(path: Path, largest: int = MAX_BYTES) -> object:
    """Return the value of a file; None if it does not exist. Raises OSError if it can't be read, ValueError if it is
    not a regular file, not JSON, or larger than `largest` bytes.

    Something else in its place is handled safely: links are not followed, FIFOs don't block, and reading is bounded.
    Without hard links, a new file may be empty for a moment.
    """
    for _ in range(_LOOKS):
        value = _read(path, largest)
        if value is not _EMPTY:
            return value
        time.sleep(_POLL_S)
    return parse_json(b"")


def _read(path: Path, largest: int) -> object:
    """Read once; return `_EMPTY` for an empty file that may still get content."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
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
            return _EMPTY
        return parse_json(file.read(status.st_size))  # bounded, even if the file grows meanwhile


def parse_json(data: bytes | str) -> object:
    """Parse JSON strictly. Raises ValueError, also for deep nesting and for Python's extensions: encodings other than
    UTF-8, NaN, Infinity."""
    try:
        value: object = json.loads(data if isinstance(data, str) else data.decode(), parse_constant=_no_number)
        return value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def object_in(path: Path, largest: int = MAX_BYTES) -> Mapping[str, object] | None:
    """Return the JSON object in a file; None if it does not exist, can't be read, or contains something else."""
    try:
        value = read_json(path, largest)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def there(path: Path) -> bool:
    """Return whether a file exists. Raises OSError if that can't be determined.

    An NFS client caches for half a minute that a name is free. Opening the folder makes it check for changes and drop
    such entries.
    """
    try:
        with contextlib.suppress(PermissionError):  # the folder may be searched but not listed
            os.close(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno != errno.ELOOP:  # a link to itself: the name is taken
            raise
    return True


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


def append_line(path: Path, value: object) -> None:
    """Append one line of JSON. Lines of several processes don't mix, because each is a single write. Raises OSError."""
    line = json.dumps(value, ensure_ascii=True).encode() + b"\n"
    # Don't follow a link out of the folder, or block on a FIFO.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    descriptor = os.open(path, flags, 0o644)
    try:
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str, *, durable: bool) -> None:
    with _part(path, text, durable=durable) as part:
        os.replace(part, path)


@contextlib.contextmanager
def _part(path: Path, text: str, *, durable: bool) -> Iterator[Path]:
    """Create a temporary file beside `path` with the text, fsynced if `durable`; it is removed at the end of the
    block."""
    part = _named(path)
    try:
        with open(part, "x", encoding="utf-8") as file:
            file.write(text)
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
