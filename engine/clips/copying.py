"""Parts of a video as they are: packets copied from a key frame on, with the sound beside them, nothing lost.

All parts of a file are copied in one reading. Sound stands in a file up to some seconds before or behind the picture it
belongs to: what was read last is kept, and a clip takes sound for a while behind its last picture.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from engine.clips.packets import Cut, PacketIndex
from engine.errors import OutputError, describe_os_error
from engine.media.source import Source
from engine.sinks.base import fresh
from engine.sinks.mux import MUX_ERRORS, audio_problem

_SOUND_LAGS_S = 3
_SOUND_KEPT_S = 10
# Half a tick of the coarsest clock that a clip can have, Matroska's.
_SAME_S = Fraction(1, 1000)


@dataclass(frozen=True)
class Copy:
    """One clip to be made of packets, in `path`; `suffix` is that of its container."""

    cut: Cut
    path: Path
    suffix: str


def copy_suffix(audio: Any) -> str:
    """Return the suffix of a copy's container: MP4, or Matroska where the sound does not go into an MP4."""
    return ".mp4" if audio is None or audio_problem(audio) is None else ".mkv"


def copy(
    source: Source, audio: Any, index: PacketIndex, copies: Sequence[Copy], tick: Callable[[], None]
) -> dict[Path, str]:
    """Write clips from a source that was just opened, in one reading, and return why those failed that did, by their
    paths. `index` is of the same file. Raises SourceError and OutputError."""
    waiting = deque(sorted(copies, key=lambda each: each.cut.first))
    open_now: list[_Writer] = []
    failed: dict[Path, str] = {}
    sound: deque[Any] = deque()
    number, at_s = 0, Fraction(0)
    try:
        for packet in source.packets():
            if packet.stream_index != source.video.index:
                _keep_sound(sound, packet, at_s)
                for writer in open_now:
                    writer.hear(packet)
                continue
            if number >= len(index.pts):
                break  # it has grown since
            packet.pts, packet.dts = int(index.pts[number]), int(index.dts[number])
            at_s = packet.dts * index.time_base
            while waiting and waiting[0].cut.first == number:
                open_now.append(_Writer(source, audio, waiting.popleft(), list(sound)))
            for writer in open_now:
                writer.see(packet, number)
            for writer in [each for each in open_now if each.over(number, at_s)]:
                open_now.remove(writer)
                _end(writer, failed)
            number += 1
            tick()
            if not waiting and not open_now:
                break
        while open_now:
            _end(open_now.pop(), failed)
        failed |= {each.path: "the file ended before it" for each in waiting}
    finally:
        for writer in open_now:
            writer.close()
    return failed


def _end(writer: _Writer, failed: dict[Path, str]) -> None:
    if (problem := writer.finish()) is not None:
        failed[writer.path] = problem


def _keep_sound(sound: deque[Any], packet: Any, at_s: Fraction) -> None:
    if packet.dts is None or not packet.time_base:
        return
    sound.append(packet)
    while sound and sound[0].dts * sound[0].time_base < at_s - _SOUND_KEPT_S:
        sound.popleft()


class _Writer:
    """One clip that is being written."""

    def __init__(self, source: Source, audio: Any, copy: Copy, sound: list[Any]) -> None:
        self.path = copy.path
        self._cut = copy.cut
        self._base = source.video.time_base
        self._begins_s = copy.cut.begins_pts * self._base
        self._ends_s = copy.cut.ends_pts * self._base
        self._problem: str | None = None
        matroska = copy.suffix == ".mkv"
        options = {} if matroska else {"movflags": "+faststart"}
        try:
            self._file = fresh(copy.path)
            # FFmpeg would write to whatever it finds at a path: it is given the open file.
            self._container = av.open(
                f"file:/proc/self/fd/{self._file.fileno()}",
                "w",
                format="matroska" if matroska else "mp4",
                options=options,
            )
        except OSError as error:
            raise OutputError(f"{copy.path} can't be written: {describe_os_error(error)}.") from error
        self._video = self._container.add_stream_from_template(source.video, opaque=True)
        self._video.time_base = self._base
        self._audio = self._container.add_stream_from_template(audio, opaque=True) if audio is not None else None
        self._heard: int | None = None
        for packet in sound:
            self.hear(packet)

    def see(self, packet: Any, number: int) -> None:
        """Take a video packet, if it is one of the clip's."""
        if self._cut.first <= number < self._cut.stop and packet.pts >= self._cut.begins_pts:
            self._put(packet, self._video)

    def hear(self, packet: Any) -> None:
        """Take a packet of sound, if it belongs to the clip."""
        if self._audio is None or packet.dts is None or not packet.time_base:
            return
        due_s = (packet.pts if packet.pts is not None else packet.dts) * packet.time_base
        if self._begins_s <= due_s < self._ends_s and (self._heard is None or packet.dts > self._heard):
            self._heard = packet.dts
            self._put(packet, self._audio)

    def over(self, number: int, at_s: Fraction) -> bool:
        """Say whether nothing of the clip can come any more, behind the video packet of this number and time."""
        if self._problem is not None:
            return True
        done = number + 1 >= self._cut.stop
        return done and (self._audio is None or at_s > self._ends_s + _SOUND_LAGS_S)

    def finish(self) -> str | None:
        """Complete the file and return what is wrong with it: every frame that is wanted is decoded once."""
        try:
            self._container.close()
            os.fsync(self._file.fileno())
        except MUX_ERRORS as error:
            self._fail(error)
        finally:
            self._file.close()
        return self._problem or self._check()

    def close(self) -> None:
        """Give it up."""
        try:
            self._container.close()
        except MUX_ERRORS:
            self._problem = self._problem or "it was given up"
        self._file.close()

    def _put(self, packet: Any, stream: Any) -> None:
        """Write a packet on the clip's clock; others may need it as it was."""
        if self._problem is not None:
            return
        before = packet.pts, packet.dts, packet.duration, packet.time_base
        try:
            by = round(self._begins_s / packet.time_base)
            packet.dts -= by
            packet.pts = None if packet.pts is None else packet.pts - by
            packet.stream = stream
            self._container.mux(packet)
        except MUX_ERRORS as error:
            self._fail(error)
        finally:
            packet.time_base = before[3]
            packet.pts, packet.dts, packet.duration = before[:3]

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError):
            raise OutputError(f"{self.path} can't be written: {describe_os_error(error)}.") from error
        if isinstance(error, av.error.FFmpegError) and error.errno in (5, 28, 122):  # EIO, ENOSPC, EDQUOT
            raise OutputError(f"{self.path} can't be written: {describe_os_error(error)}.") from error
        self._problem = self._problem or f"the container does not take it ({type(error).__name__})"

    def _check(self) -> str | None:
        """Decode the clip: streams promise more at their key frames than some keep."""
        times: list[Fraction] = []
        try:
            with av.open(f"file:{self.path}", options={"protocol_whitelist": "file"}) as container:
                for frame in container.decode(video=0):
                    if frame.pts is not None and not frame.is_corrupt:
                        times.append(frame.pts * frame.time_base)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            return f"the copy can't be decoded ({type(error).__name__})"
        if times != sorted(set(times)):
            return "the file has no times for pictures that are shown out of order"
        return None if self._has_all(times) else "the copy does not show every frame"

    def _has_all(self, shown: list[Fraction]) -> bool:
        wanted = [(pts - self._cut.begins_pts) * self._base for pts in self._cut.wanted_pts]
        place = 0
        for due in wanted:
            while place < len(shown) and shown[place] < due - _SAME_S:
                place += 1
            if place >= len(shown) or shown[place] > due + _SAME_S:
                return False
        return True
