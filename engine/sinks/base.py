"""What a sink is: something that takes the tracks of one stream, frame by frame, and keeps them."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Protocol

from engine.errors import SinkError, describe_os_error
from engine.records import EndOfStream, StreamInfo, Tracks


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
