"""The line between a worker and its engine process: one JSON object a line, over a pair of pipes.

Events go up (`next`, `done`, `progress`, `video`, `fatal`), orders come down (`video`, `kept`, `stop`). Neither side
trusts the other to live: the end of a pipe is the end of the other process.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from typing import IO, Any


class Sender:
    """Writes messages; any thread may."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._lock = threading.Lock()

    def send(self, kind: str, **facts: Any) -> None:
        """Raises OSError (BrokenPipeError) when the other side is gone."""
        line = json.dumps({"kind": kind, **facts}).encode() + b"\n"
        with self._lock:
            view = memoryview(line)
            while view:
                view = view[self._file.write(view) :]

    def close(self) -> None:
        self._file.close()


def received(file: IO[bytes]) -> Iterator[dict[str, Any]]:
    """Messages until the other side is gone; a line cut short by its death is dropped."""
    for line in file:
        if line.endswith(b"\n"):
            yield json.loads(line)
