"""Source and decode of one stream, on one thread: gives its frames in order, then its end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from engine.errors import DecodeError, SourceError
from engine.metrics import Metrics
from engine.records import EndOfStream, Frame
from engine.stages.decode import Decoder
from engine.stages.source import Source
from engine.stream import StreamRun


class StreamReader:
    """Source and decode of one stream: gives its frames in order, then its end."""

    def __init__(self, source: Source, decoder: Decoder, run: StreamRun, between: int) -> None:
        self._source = source
        self._decoder = decoder
        self._run = run
        self._every = between + 1
        self._index = 0
        self._audio: list[Any] = []
        self._problem: str | None = None
        self._complete = False

    def frames(self, metrics: Metrics) -> Iterator[Frame]:
        """Every frame of the stream. A source that can't be read further ends it with a problem, not an error."""
        stop = self._run.stop
        while True:
            self._problem = None
            decoded = self._decoded()
            try:
                while True:
                    with metrics.busy("decode", 0):
                        item = next(decoded, None)
                    if item is None:
                        break
                    metrics.add("decode", 0.0, 1)
                    yield self._frame(*item)
                    if stop.is_set():
                        return
            except (SourceError, DecodeError) as error:
                # FFmpeg takes the end of an http answer without a length for an error. A video with all its
                # frames is whole.
                if not self._has_all():
                    self._problem = f"{error} after {self._index} frames"
            if not self._source.live or stop.is_set():
                return
            lost_at = time.monotonic()
            if not self._source.reconnect(stop):
                if self._problem is None and self._source.reconnects_asked and not stop.is_set():
                    self._problem = f"the stream ended after {self._index} frames and could not be opened again"
                return
            self._decoder.attach(self._source.video)
            self._decoder.resume_after(time.monotonic() - lost_at)

    def end(self) -> EndOfStream:
        problems = [*([self._problem] if self._problem else []), *self._decoder.problems()]
        return EndOfStream(
            self._run.key,
            self._index,
            problems=tuple(problems),
            interrupted=self._run.stop.is_set() and not self._complete and not self._run.failed,
            dropped=self._run.dropped,
            discarded=self._decoder.discarded,
            audio=tuple(self._audio),
        )

    def _has_all(self) -> bool:
        claimed = self._run.info.frames if self._run.info is not None else None
        return claimed is not None and self._index >= claimed

    def _decoded(self) -> Iterator[tuple[Any, int, int]]:
        video = self._source.video.index
        try:
            for packet in self._source.packets():
                if self._run.stop.is_set():
                    return
                if packet.stream_index == video:
                    yield from self._decoder.decode(packet)
                else:
                    self._audio.append(packet)
        except SourceError:
            yield from self._decoder.flush()  # what was read before is decoded, and counts
            raise
        yield from self._decoder.flush()
        self._complete = not self._source.live

    def _frame(self, image: Any, pts: int, duration: int) -> Frame:
        index, self._index = self._index, self._index + 1
        audio, self._audio = tuple(self._audio), []
        infer = index % self._every == 0
        return Frame(self._run.key, index, pts, duration, self._decoder.time_base, image, infer, audio)
