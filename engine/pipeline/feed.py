"""A stream's decoder, as what it is: something that any thread can drive, one at a time."""

from __future__ import annotations

import threading

from engine.pipeline.reader import StreamReader
from engine.pipeline.stream import StreamRun
from engine.profiling.metrics import Clock
from engine.records import Frame


class Feed:
    """The frames of a stream that are still to be decoded. Only who has the `turn` may ask for them, and sets `clock`
    to its own before. `pauses`: workers do, some at a time; else a thread of its own asks for all."""

    def __init__(self, run: StreamRun, reader: StreamReader, *, pauses: bool) -> None:
        self.run = run
        self.reader = reader
        self.turn = threading.Lock()
        self.pauses = pauses
        self.begun = run.checkpoint is not None
        self.clock: Clock
        self._returned: Frame | None = None
        self._frames = reader.frames(lambda what, frames: self.clock.lap(what, frames))

    def next(self) -> Frame | None:
        """Return the next frame, None at the end of the stream. Raises as `StreamReader.frames`."""
        frame, self._returned = self._returned, None
        return frame if frame is not None else next(self._frames, None)

    def give_back(self, frame: Frame) -> None:
        """Have a frame returned once more: there is no room for it yet."""
        self._returned = frame
