"""The transport between a worker and its engine process: one JSON object per line, over a pair of pipes.

Either process may die at any time; the end of a pipe means that the other one has ended.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from typing import IO, TypeVar

from orchestrator.engine_process.messages import Message

M = TypeVar("M")


class Sender:
    """Sends messages; thread-safe."""

    def __init__(self, descriptor: int) -> None:
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._lock = threading.Lock()

    def send(self, message: Message) -> None:
        """Send a message. Raises OSError (BrokenPipeError) if the other side is gone."""
        line = json.dumps(message.to_json()).encode() + b"\n"
        with self._lock:
            view = memoryview(line)
            while view:
                view = view[self._file.write(view) :]

    def close(self) -> None:
        self._file.close()


def received(file: IO[bytes], parse: Callable[[object], M]) -> Iterator[M]:
    """Yield messages until the other side is gone; a line truncated by its death is dropped. Raises ValueError for
    anything that is not a message."""
    for line in file:
        if line.endswith(b"\n"):
            yield parse(json.loads(line))
