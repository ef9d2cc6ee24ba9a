"""Rows of text, one per detection or track: held in memory up to a limit, and on disk beyond it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Self

from engine.errors import SinkError, describe_os_error
from engine.records import EndOfStream, StreamInfo, Tracks
from engine.sinks.base import FileSink, OutputState, State, discard, fresh, part_path, publish, reopened

_LONGEST_IN_MEMORY_S = 5.0


class RowFile:
    """A text file of rows.

    At most `limit` rows wait in memory. With `intermediate`, further rows, and those older than a few seconds, are in
    `<path>.part` and survive a killed process; without it, they are in an unnamed temporary file beside it, and a
    killed process leaves nothing.
    """

    def __init__(self, path: Path, *, limit: int, intermediate: bool) -> None:
        self._part = part_path(path)
        self._limit = limit
        self._intermediate = intermediate
        self._rows: list[bytes] = []
        self._waiting = 0
        self._file: IO[bytes] | None = None
        self._size = 0
        self._spilled_at = time.monotonic()

    @property
    def path(self) -> Path:
        """The path of the part."""
        return self._part

    def grow_in(self, folder: Path) -> None:
        self._part = folder / self._part.name

    def begin(self) -> None:
        """Start a new file, without the remains of an earlier run. Raises SinkError."""
        self._file, self._size = None, 0
        try:
            self._part.unlink(missing_ok=True)
        except OSError as error:
            raise self._error(error) from error

    def resume(self, size: int, part: Path) -> None:
        """Continue after the first `size` bytes of another part. Raises CheckpointMismatch and SinkError."""
        try:
            self._file, self._size = reopened(self._part, size, part), size
        except OSError as error:
            raise self._error(error) from error

    def mark(self) -> int:
        """Write all rows so far to the file, and return its size. Raises SinkError."""
        self._spill()
        return self._size

    def sync(self) -> None:
        """Make the rows written so far durable. Raises SinkError."""
        try:
            if self._file is not None:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise self._error(error) from error

    def suspend(self) -> None:
        """Close the part and keep it."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def add(self, rows: bytes, count: int) -> None:
        """Add `count` rows, each with its line end. Raises SinkError."""
        if count:
            self._rows.append(rows)
        self._waiting += count
        due = self._intermediate and time.monotonic() - self._spilled_at > _LONGEST_IN_MEMORY_S
        if due or self._waiting > self._limit:
            self._spill()

    def complete(self) -> None:
        """Complete the part and make it durable. Raises SinkError."""
        try:
            self._spill()
            assert self._file is not None
            self._file.flush()
            if not self._intermediate:
                self._file.seek(0)
                with fresh(self._part) as copy:
                    shutil.copyfileobj(self._file, copy)
                    copy.flush()
                    os.fsync(copy.fileno())
            else:
                os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise self._error(error) from error

    def abort(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk: what could not be written is discarded anyway
                self._file.close()
        discard(self._part)

    def _spill(self) -> None:
        try:
            if self._file is None:
                self._file = self._opened()  # closed by commit or abort
            self._size += self._file.write(b"".join(self._rows))
            if self._intermediate:
                self._file.flush()
        except OSError as error:
            raise self._error(error) from error
        self._rows.clear()
        self._waiting = 0
        self._spilled_at = time.monotonic()

    def _opened(self) -> IO[bytes]:
        return fresh(self._part) if self._intermediate else tempfile.TemporaryFile(dir=self._part.parent)

    def _error(self, error: OSError) -> SinkError:
        return SinkError(f"{self._part.name} can't be written: {describe_os_error(error)}")


class RowSink(FileSink):
    """Base of the sinks that write rows: each only converts a frame's tracks to rows."""

    def __init__(self, rows: RowFile) -> None:
        self._rows = rows

    @classmethod
    def for_video(cls, rows: RowFile, class_names: Sequence[str], conf: float) -> Self:
        """Make the sink of one video, whose rows may name the model's classes."""
        return cls(rows)

    def open(self, info: StreamInfo) -> None:
        self._rows.begin()

    def grow_in(self, folder: Path) -> None:
        self._rows.grow_in(folder)

    def resume(self, info: StreamInfo, state: OutputState, part: Path) -> None:
        self._rows.resume(state["offset"], part)

    def write(self, tracks: Tracks) -> None:
        self._rows.add(*self.rows(tracks))

    def mark(self) -> State:
        offset = self._rows.mark()

        def state() -> OutputState:
            self._rows.sync()
            return {"offset": offset}

        return state

    def rows(self, tracks: Tracks) -> tuple[bytes, int]:
        """Return the rows of one frame, each with its line end, and their number."""
        raise NotImplementedError

    def complete(self, end: EndOfStream) -> Path:
        self._rows.complete()
        return self._rows.path

    def commit(self, end: EndOfStream, path: Path) -> None:
        publish(self.complete(end), path)

    def suspend(self) -> None:
        self._rows.suspend()

    def abort(self) -> None:
        self._rows.abort()
