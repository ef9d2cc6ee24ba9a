"""Source and decode of one stream, on one thread: gives its frames in order, then its end."""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from engine.errors import DecodeError, OverLimit, SourceError
from engine.metrics import ROOM, Clock
from engine.records import EndOfStream, Frame, Mark, StreamInfo
from engine.sound import SoundGate
from engine.stages.decode import Decoder, check_frame_bytes, check_pixels, frame_bytes
from engine.stages.preprocess import planes_of
from engine.stages.source import Source
from engine.stream import StreamRun

_ANCHORS = 8
_BETWEEN_ANCHORS_S = 1.0

# Once the stream is to stop, so many packets may still be read to find the frame that bears the last mark.
_LAST_PACKETS = 64


@dataclass(frozen=True)
class ReaderSettings:
    """between         frames between two inferences
    decode_threads  of a large video
    checkpoint_s    seconds between two marks
    max_pixels, max_frame_bytes, max_duration_s, max_decode_s  limits; see EngineConfig
    """

    between: int = 0
    decode_threads: int = 1
    checkpoint_s: float = 5.0
    max_pixels: int | None = None
    max_frame_bytes: int | None = None
    max_duration_s: float | None = None
    max_decode_s: float | None = None


class StreamReader:
    """Source and decode of one stream. `open`, perhaps `go_to` a mark, then iterate `frames`, then take the `end`."""

    def __init__(self, source: Source, run: StreamRun, settings: ReaderSettings) -> None:
        self._source = source
        self._run = run
        self._settings = settings
        self._every = settings.between + 1
        self._asked_at = 0.0
        self._passing = False
        self._problem: str | None = None
        self._complete = False

    def open(self) -> StreamInfo:
        """Opens the source, or opens it again, at its beginning. Raises SourceError and DecodeError."""
        settings = self._settings
        self.info = self._source.open(self._run.key)
        check_pixels(*self.info.size_wh, settings.max_pixels)
        pixel_format = self._source.video.codec_context.pix_fmt
        check_frame_bytes(pixel_format, *self.info.size_wh, settings.max_frame_bytes)
        if settings.max_duration_s is not None and (self.info.duration_s or 0) > settings.max_duration_s:
            raise OverLimit(
                f"is {self.info.duration_s:.1f} seconds long, longer than max_duration_s = {settings.max_duration_s:g}"
            )
        self._decoder = Decoder(
            self.info.time_base,
            self.info.frame_rate,
            threads=settings.decode_threads,
            max_pixels=settings.max_pixels,
            max_frame_bytes=settings.max_frame_bytes,
        )
        self._decoder.attach(self._source.video)
        self._decoded = self._decode()
        self._index = 0
        self._first_pts: int | None = None
        self._decode_s = 0.0
        self._audio: list[Any] = []
        self._gate = SoundGate()
        self._anchors: deque[tuple[int, int]] = deque(maxlen=_ANCHORS)
        self._given = 0  # frames since the last mark
        self._marked_at = time.monotonic()
        return self.info

    @property
    def picture_bytes(self) -> int:
        """Of a picture as the stream's head has it."""
        return frame_bytes(self._source.video.codec_context.pix_fmt, *self.info.size_wh)

    def go_to(self, mark: Mark) -> bool:
        """Passes over the frames up to `mark`, so that `frames` gives those behind it. Call it after `open`.

        The short way leads over a key frame before the mark, the long one over all frames; what is met at the mark must
        be what was seen there before. False when it is not: the reader stands at the beginning then.
        """
        if (anchor := _anchor(mark, self.info)) is not None:
            if self._passes(mark, anchor):
                return True
            self.open()
        if self._passes(mark, None):
            return True
        self.open()
        return False

    def frames(self, clock: Clock) -> Iterator[Frame]:
        """Every frame of the stream. A source that can't be read further ends it with a problem, not an error."""
        stop = self._run.stop
        stage = "source" if self.info.live else "decode"  # of a live one, most is waiting for its next frame
        self._marked_at = time.monotonic()
        while not (stop.is_set() and not self._given):
            self._problem = None
            try:
                while True:
                    item = self._next()
                    if item is None:
                        clock.lap(stage)
                        break
                    frame = self._frame(*item, last=stop.is_set())
                    clock.lap(stage, 1)
                    yield frame
                    clock.lap(ROOM)
                    # A stream with checkpoints gives one more frame, which bears the last mark.
                    if stop.is_set() and (self._run.failed or not self._marks or not self._given):
                        return
            except OverLimit as error:
                self._problem = f"{error} after {self._index} frames"
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
            self._decoded = self._decode()

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

    @property
    def _marks(self) -> bool:
        return self._run.checkpoints is not None

    def _has_all(self) -> bool:
        claimed = self.info.frames
        return claimed is not None and self._index >= claimed

    def _next(self) -> tuple[Any, int, int] | None:
        """The next decoded frame; None at the end. Counts the time it takes."""
        self._asked_at = time.perf_counter()
        try:
            return next(self._decoded, None)
        finally:
            self._decode_s += time.perf_counter() - self._asked_at

    def _decode(self) -> Iterator[tuple[Any, int, int]]:
        video, stop, left = self._source.video.index, self._run.stop, _LAST_PACKETS
        try:
            for packet in self._source.packets():
                if stop.is_set():
                    # The frame given last is on its way without a mark; the next one brings it.
                    left = left - 1 if self._given and self._marks and not self._run.failed else -1
                    if left < 0:
                        return
                self._check_time()
                if packet.stream_index == video:
                    yield from self._decoder.decode(packet)
                elif self._gate.passes(packet):
                    self._audio.append(packet)
        except SourceError:
            yield from self._decoder.flush()  # what was read before is decoded, and counts
            raise
        yield from self._decoder.flush()
        self._complete = not self._source.live

    def _check_time(self) -> None:
        limit_s, spent_s = self._settings.max_decode_s, self._decode_s + time.perf_counter() - self._asked_at
        if self._passing or self._source.live:  # frames that were counted before; time spent waiting
            return
        if limit_s is not None and spent_s > limit_s:
            raise OverLimit(f"took {spent_s:.1f} seconds to decode, more than max_decode_s = {limit_s:g},")

    def _frame(self, image: Any, pts: int, duration: int, *, last: bool = False) -> Frame:
        """Wraps a decoded frame. `last`: it is the last one before a stop."""
        self._check_length(pts)
        index = self._index
        self._pass(pts)
        audio, self._audio = tuple(self._audio), []
        self._given += 1
        due = last or time.monotonic() - self._marked_at >= self._settings.checkpoint_s
        mark = self._mark(image, pts, duration) if due and self._marks else None
        infer = index % self._every == 0
        return Frame(self._run.key, index, pts, duration, self._decoder.time_base, image, infer, audio, mark)

    def _check_length(self, pts: int) -> None:
        if self._first_pts is None:
            self._first_pts = pts
        if self._source.live:
            return
        limit_s, length_s = self._settings.max_duration_s, float((pts - self._first_pts) * self._decoder.time_base)
        if limit_s is not None and length_s > limit_s:
            raise OverLimit(f"goes on for more than max_duration_s = {limit_s:g} seconds,")

    def _pass(self, pts: int) -> None:
        """One more frame: counts it, and remembers it where it is a place to seek to."""
        if self._decoder.at_key_frame:
            since = pts - self._anchors[-1][1] if self._anchors else None
            if since is None or since * self._decoder.time_base >= _BETWEEN_ANCHORS_S:
                self._anchors.append((self._index, pts))
        self._index += 1

    def _mark(self, image: Any, pts: int, duration: int) -> Mark:
        self._given, self._marked_at = 0, time.monotonic()
        seekable = self._source.seekable and self._decoder.clean and self._gate.regular
        anchors = tuple(self._anchors) if seekable else ()
        first_pts = self._first_pts or 0
        return Mark(
            self._index,
            pts,
            duration,
            _crc(image),
            first_pts,
            self._decode_s,
            anchors,
            seekable,
            **self._gate.state(),
        )

    def _passes(self, mark: Mark, anchor: tuple[int, int] | None) -> bool:
        """Decodes up to the mark, from the key frame `anchor` or from the beginning. Whether the mark was met; also
        true when the stream was stopped meanwhile."""
        self._passing = True
        try:
            if anchor is not None:
                self._source.seek(anchor[1])
            self._gate.skip_to(mark, sought=anchor is not None)
            while self._index < mark.frames:
                item = self._next()
                if self._run.stop.is_set():
                    self._index = mark.frames
                    return True
                if item is None:
                    return False
                image, pts, duration = item
                if anchor is not None and not self._index:
                    if pts < anchor[1]:
                        continue
                    if pts > anchor[1]:
                        return False
                    self._index = anchor[0]
                    self._decoder.forgive()
                self._pass(pts)
        except (SourceError, DecodeError):
            return False
        finally:
            self._passing = False
        if anchor is not None and not (self._decoder.clean and self._gate.fits):
            return False
        self._anchors = deque(mark.anchors, _ANCHORS)
        self._first_pts, self._decode_s = mark.first_pts, mark.decode_s
        return (pts, duration, _crc(image)) == (mark.pts, mark.duration, mark.crc)


def _anchor(mark: Mark, info: StreamInfo) -> tuple[int, int] | None:
    """The last key frame from which all the sound behind the mark is read too; None: there is no such one."""
    if not mark.seekable:
        return None
    latest = mark.pts * info.time_base
    if info.audio is not None:
        if not mark.audio:
            return None
        latest = min(latest, mark.audio_dts * Fraction(*mark.audio_time_base))
    near = [anchor for anchor in mark.anchors if anchor[0] and anchor[1] * info.time_base <= latest]
    return near[-1] if near else None


def _crc(image: Any) -> int:
    """CRC-32 of a picture's luma, or of its RGB, without what pads the rows."""
    width = image.width * (3 if image.format.name in ("rgb24", "bgr24") else 1)
    return zlib.crc32(np.ascontiguousarray(planes_of(image)[0][: image.height, :width]).data)
