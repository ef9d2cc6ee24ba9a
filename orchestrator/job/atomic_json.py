"""JSON files that are whole or not there: the job's durable truth is made of them."""

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
"""Bytes of a record: a lease, a result, a cancellation."""

MAX_LIST_BYTES = 256 << 20
"""Bytes of a record with a list of a job's videos: four times what one of 100,000 takes."""

# An empty file of so few seconds is looked at again: its writer, without hard links, has just made it.
_ABOUT_TO_S, _LOOKS, _POLL_S = 2.0, 10, 0.02
_EMPTY = object()


def write_json(path: Path, value: object) -> None:
    """Write or replace a file; after a crash it holds the old or the new value. Raises OSError."""
    _replace(path, json.dumps(value, indent=1) + "\n", durable=True)
    _sync_folder(path.parent)


def write_quick(path: Path, value: object) -> None:
    """Replace a file that may be lost in a crash of the machine (progress). Raises OSError."""
    _replace(path, json.dumps(value), durable=False)


def write_once(path: Path, value: object) -> bool:
    """Write a file that nobody has written before. Return False if somebody has; of two who try, one wins."""
    with _part(path, json.dumps(value, indent=1) + "\n", durable=True) as part:
        try:
            os.link(part, path)
        except FileExistsError:
            if not _same(part, path):
                return False  # else a server did it, its answer was lost, and it was asked again
        except OSError as error:
            # sshfs says EPERM as well where the name is taken; what follows finds that.
            if error.errno not in NO_LINKS:
                raise
            if not _made_without_link(part, path):
                return False
    _sync_folder(path.parent)
    return True


def _made_without_link(part: Path, path: Path) -> bool:
    """Do what a hard link does where the file system has none (vfat, rclone): give the part its name unless that is
    taken. Return False if it is. Raises OSError.

    A rename that replaces nothing is as good; where that is unknown too, the file is created under its name and then
    written: a process killed between the two leaves an empty one, which counts as a damaged record.
    """
    try:
        rename_to_new(part, path)
        return True
    except FileExistsError:
        return not part.exists()  # it was done, the answer was lost, and it was asked again
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
    """Return the value of a file, None if there is no such file. Raises OSError for one that can't be read,
    ValueError for one that holds something else or more than `largest` bytes, and for what is not a file.

    What others put in its place is not followed where it is a link, not waited for, and not read without end. Where
    there are no hard links, one that was made just now may be empty for a moment.
    """
    for _ in range(_LOOKS):
        value = _read(path, largest)
        if value is not _EMPTY:
            return value
        time.sleep(_POLL_S)
    return parse_json(b"")


def _read(path: Path, largest: int) -> object:
    """Do one look; return `_EMPTY` for a file without content that may get some."""
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
        return parse_json(file.read(status.st_size))  # no more, should somebody make it grow meanwhile


def parse_json(data: bytes | str) -> object:
    """Return the value of a JSON text. Raises ValueError, also where it is nested too deeply, and for what only Python
    takes for JSON: another encoding than UTF-8, NaN, Infinity."""
    try:
        value: object = json.loads(data if isinstance(data, str) else data.decode(), parse_constant=_no_number)
        return value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def object_in(path: Path, largest: int = MAX_BYTES) -> Mapping[str, object] | None:
    """Return the object that a file holds; None if there is none, it can't be read, or it holds something else."""
    try:
        value = read_json(path, largest)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def there(path: Path) -> bool:
    """Return whether there is such a file. Raises OSError if that can't be known.

    An NFS client remembers for half a minute that a name is free. Opening the folder makes it check for changes, and
    forget such names if there are any.
    """
    try:
        with contextlib.suppress(PermissionError):  # of a folder that may be searched and not listed
            os.close(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        if error.errno != errno.ELOOP:  # a link to itself, which somebody put there: the name is taken
            raise
    return True


def clock_of(folder: Path) -> float:
    """Return the time by the clock of a folder's file system; this machine's where nothing can be written: the disk is
    full, or somebody may only look."""
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
    """Add one line of JSON. Lines of several processes don't mix: each is one write. Raises OSError."""
    line = json.dumps(value, ensure_ascii=True).encode() + b"\n"
    # Neither a link out of the folder nor a FIFO that nobody reads is followed.
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
    """Make a file beside `path` that holds the text, on the disk where it must be durable; it is gone at the end of the
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
    """Return a name that nobody else ever uses: one that a killed process left may be a second name of `path`, and
    writing to it would change what `path` holds."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
