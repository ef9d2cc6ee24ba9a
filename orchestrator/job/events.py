"""A job's own log, `events.jsonl`, read as it grows."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.job.files import AnyPath
from orchestrator.job.stored_file import StoredFile
from orchestrator.job.stored_path import StoredPath

_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Event:
    """A line of the log. `number` counts lines from 1; `facts` is its content, including "at" and "event"."""

    number: int
    facts: dict[str, object]


class Events:
    """Reads the lines added since the last call."""

    def __init__(self, folder: AnyPath) -> None:
        self._path = folder / "events.jsonl"
        self._place = 0
        self._number = 0

    def new(self) -> Iterator[Event]:
        """Yield new complete lines. A line that is not JSON is counted but left out.

        Raises OSError if the file can't be read, or is shorter than before; the next call continues where this one
        ended. Links are not followed, and FIFOs don't block.
        """
        path = self._path
        for line in StoredFile(path).lines(self._number) if isinstance(path, StoredPath) else self._lines(path):
            self._number += 1
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(value, dict):
                yield Event(self._number, value)

    def _lines(self, path: Path) -> Iterator[bytes]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(path, flags), "rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode) or facts.st_size < self._place:
                raise OSError(f"{path} was truncated or replaced")
            file.seek(self._place)
            while line := file.readline(_AT_ONCE):
                if not line.endswith(b"\n") and len(line) < _AT_ONCE:
                    return  # it is being written
                self._place += len(line)
                yield line
