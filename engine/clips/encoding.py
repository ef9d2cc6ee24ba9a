"""Frame-exact parts of a video: decoded as a run decodes them, and re-encoded, with their sound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from engine.clips.plan import Part
from engine.config import EngineConfig
from engine.files.opened import OpenedFile
from engine.inference.model import available_cores
from engine.media.inputs import Video
from engine.media.source import Source
from engine.pipeline.reader import ReaderSettings, StreamReader
from engine.pipeline.stream import StreamRun
from engine.profiling.metrics import Metrics
from engine.records import EndOfStream, Frame, StreamInfo, Tracks
from engine.sinks.memory import Counters
from engine.sinks.video import AnnotatedVideo
from engine.stages.decode import never_begun

# Visually close to the source; a clip is short, so its size matters little.
_CRF, _PRESET = 18, "veryfast"
_SOUND_LAGS_S = 3.0
_SOUND_KEPT_S = 10.0
_ROUNDED_S = 1e-6
# How far before the first part reading begins, so that no frame of it is missed.
_BEFORE_S = 5.0


@dataclass(frozen=True)
class Encoded:
    """An encoded clip: its first and last frame, and their times in seconds of the container."""

    first_frame: int
    last_frame: int
    begins_s: float
    ends_s: float
    notes: tuple[str, ...]


def encode(
    file: OpenedFile,
    path: str,
    first_s: float,
    parts: Sequence[tuple[Part, Path]],
    config: EngineConfig,
    tick: Callable[[], None],
) -> dict[Path, Encoded]:
    """Write parts of a video as MP4, each to its path, in one pass, and return those that contain a frame. `first_s` is
    the container's time of the video's first frame. Raises VideoError and SinkError."""
    source = Source(path, audio=True, options=never_begun(config.max_frame_bytes))
    source.file = file
    made: dict[Path, Encoded] = {}
    with closing(source):
        run = StreamRun(0, Video(path, PurePosixPath("clip")), {}, Counters(), 8)
        ordered = sorted(parts, key=lambda each: each[0].begins_s)
        begins_s = max(0.0, ordered[0][0].begins_s - first_s - _BEFORE_S)
        reader = StreamReader(source, run, _settings(config, begins_s))
        info = reader.open()
        reader.go_to_start()
        cutters = [_Cutter(part, target, info) for part, target in ordered]
        sound: deque[Any] = deque()
        try:
            with Metrics().clock("decode") as clock:
                for frame in reader.frames(clock.lap):
                    _give(frame, cutters, sound)
                    tick()
                    if all(each.done for each in cutters):
                        break
            rest = reader.end().audio
            for each in cutters:
                if (encoded := each.finish(rest)) is not None:
                    made[each.target] = encoded
        except BaseException:
            for each in cutters:
                each.abort()
            raise
    return made


def _give(frame: Frame, cutters: Sequence[_Cutter], sound: deque[Any]) -> None:
    """Pass a frame, and the sound read before it, to the parts that it belongs to."""
    sound.extend(packet for packet in frame.audio if packet.dts is not None and packet.time_base)
    while sound and float(sound[0].dts * sound[0].time_base) < frame.time_s - _SOUND_KEPT_S:
        sound.popleft()
    for each in cutters:
        if not each.done:
            each.take(frame, sound)


class _Cutter:
    """One part that is being encoded."""

    def __init__(self, part: Part, target: Path, info: StreamInfo) -> None:
        self.target = target
        self.done = False
        self._part = part
        self._info = info
        self._sink = AnnotatedVideo(target, (), crf=_CRF, preset=_PRESET, threads=available_cores())
        self._first: Frame | None = None
        self._last: Frame | None = None
        self._sound: list[Any] = []  # after its last frame
        self._begun = False

    def take(self, frame: Frame, sound: deque[Any]) -> None:
        """Add the next frame of the video. Raises SinkError."""
        if self._is_inside(frame):
            if self._first is None:
                self._sink.open(self._info)
                self._begun, self._first = True, frame
                heard = tuple(packet for packet in sound if _due_s(packet) >= frame.time_s)
            else:
                heard = tuple(packet for packet in frame.audio if _due_s(packet) >= self._first.time_s)
            self._sink.write(_without_tracks(replace(frame, audio=heard)))
            self._last = frame
        elif self._last is not None:
            self._sound += frame.audio
            self.done = frame.time_s > _end_s(self._last) + _SOUND_LAGS_S or self._info.audio is None

    def finish(self, rest: Iterable[Any]) -> Encoded | None:
        """Complete the file. Raises SinkError."""
        if self._first is None or self._last is None:
            return None
        ends_s = _end_s(self._last)
        heard = tuple(packet for packet in (*self._sound, *rest) if _due_s(packet) < ends_s)
        made = self._sink.complete(EndOfStream(0, 1, audio=heard))
        if made != self.target:
            made.replace(self.target)
        self._sink.suspend()
        self._sink.abort()
        notes = tuple(note for note in self._sink.notes if "shifted by" not in note)
        return Encoded(self._first.index, self._last.index, self._first.time_s, ends_s, notes)

    def abort(self) -> None:
        """Remove the unfinished file."""
        if self._begun:
            self._sink.abort()

    def _is_inside(self, frame: Frame) -> bool:
        part, at_s = self._part, frame.time_s
        if part.number > 1 and at_s <= part.after_s + _ROUNDED_S:
            return False
        if part.frames is not None and part.of == 1 and part.frames[0] <= frame.index <= part.frames[1]:
            return True
        return part.begins_s - _ROUNDED_S <= at_s <= part.ends_s + _ROUNDED_S


def _due_s(packet: Any) -> float:
    due = packet.pts if packet.pts is not None else packet.dts
    return float(due * packet.time_base) if due is not None and packet.time_base else -1.0


def _end_s(frame: Frame) -> float:
    return float((frame.pts + frame.duration) * frame.time_base)


def _without_tracks(frame: Frame) -> Tracks:
    none = np.empty(0)
    boxes = np.empty((0, 4))
    return Tracks(frame, boxes, none.astype(np.int64), none.astype(np.int32), none.astype(np.float32))


def _settings(config: EngineConfig, start_s: float) -> ReaderSettings:
    return ReaderSettings(
        start_s=start_s,
        decode_threads=available_cores(),
        max_pixels=config.max_pixels,
        max_frame_bytes=config.max_frame_bytes,
        max_duration_s=config.max_duration_s,
    )
