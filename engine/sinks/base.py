"""What a sink is: something that takes the tracks of one stream, frame by frame, and keeps them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from engine.errors import OutputError, SinkError, describe_os_error
from engine.records import EndOfStream, StreamInfo, Tracks

_LOCK_NAME = ".yolo-engine.lock"


class Sink(Protocol):
    """One output of one stream. After `open`, either `commit` or `abort` is called, once."""

    kind: str

    def open(self, info: StreamInfo) -> None: ...

    def write(self, tracks: Tracks) -> None: ...

    def commit(self, end: EndOfStream, path: Path) -> None:
        """Completes the output and lets it appear as `path`, whole or not at all."""
        ...

    def abort(self) -> None:
        """Leaves nothing behind. Never raises."""
        ...


def part_path(path: Path) -> Path:
    """Where an output grows until it is complete."""
    return path.with_name(path.name + ".part")


def publish(part: Path, path: Path) -> None:
    """Makes a finished file durable and lets it appear under its final name. Raises SinkError."""
    try:
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SinkError(f"{path.name} can't be written: {describe_os_error(error)}") from error


def discard(part: Path) -> None:
    """Removes an unfinished file, if it is there and the folder still lets us."""
    with contextlib.suppress(OSError):
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Holds the output folder, so that two runs don't mix their files. Raises OutputError where another run has it.

    The lock dies with its process, so that a killed run blocks nobody. Some network file systems have no locks; there
    the folder is used without one.
    """
    path = folder / _LOCK_NAME
    descriptor = _locked(path, folder)
    try:
        yield
    finally:
        discard(path)  # while it is held: whoever opened it meanwhile finds it gone and makes a new one
        os.close(descriptor)


def _locked(path: Path, folder: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise OutputError(f"Output folder {folder} can't be written: {describe_os_error(error)}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass  # the run before removed it between our opening and our locking
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
                return descriptor
            os.close(descriptor)
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise OutputError(
                    f"Another run is writing to {folder}. Wait for its end, or choose another output folder."
                ) from error
            raise OutputError(f"Output folder {folder} can't be locked: {describe_os_error(error)}.") from error
        os.close(descriptor)
