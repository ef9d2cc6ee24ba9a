"""Writes one clip from packets, and verifies it by decoding the finished file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from engine.clips.packets import Cut, Joint
from engine.errors import OutputError, describe_os_error
from engine.media.source import Source
from engine.sinks.base import fresh
from engine.sinks.mux import MUX_ERRORS

_SOUND_LAGS_S = 3
# Half a tick of the coarsest clock of a clip's container, Matroska's.
_SAME_S = Fraction(1, 1000)


@dataclass(frozen=True)
class Copy:
    """A clip to be made from packets at `path`; `folder` is the folder's name for messages, `suffix` that of the
    container. `joint` says which parts are re-encoded; None: it is copied as a whole."""

    cut: Cut
    path: Path
    folder: Path
    suffix: str
    joint: Joint | None = None


class Writer:
    """One clip that is being written."""

    def __init__(self, source: Source, audio: Any, copy: Copy) -> None:
        self.path = copy.path
        self._folder = copy.folder
        self._cut = copy.cut
        self.time_base = source.video.time_base
        self.ends_pts = copy.cut.ends_pts
        self._exactly = copy.joint is not None
        self._begins_s = copy.cut.begins_pts * self.time_base
        self._ends_s = copy.cut.ends_pts * self.time_base
        self._problem: str | None = None
        self._in_mp4 = copy.suffix != ".mkv"
        options = {} if not self._in_mp4 else {"movflags": "+faststart"}
        try:
            self._file = fresh(copy.path)
            # FFmpeg would write to whatever it finds at a path: it is given the open file.
            self._container = av.open(
                f"file:/proc/self/fd/{self._file.fileno()}",
                "w",
                format="mp4" if self._in_mp4 else "matroska",
                options=options,
            )
        except OSError as error:
            raise OutputError(f"{copy.folder} can't be written: {describe_os_error(error)}.") from error
        self._video = self._container.add_stream_from_template(source.video, opaque=True)
        self._video.time_base = self.time_base
        self._audio = self._container.add_stream_from_template(audio, opaque=True) if audio is not None else None
        self._heard: int | None = None

    def see(self, packet: Any, number: int) -> None:
        """Write a video packet if it belongs to the clip."""
        if self._cut.first <= number < self._cut.stop and packet.pts >= self._cut.begins_pts:
            self.put_video(packet)

    def put_video(self, packet: Any) -> None:
        """Write a video packet with the source's times."""
        self._put(packet, self._video)

    def set_head(self, head: bytes, tag: str | None = None) -> None:
        """Set other parameter sets than the source's, before the first packet. These and all packets are Annex B then;
        `tag` is the container's codec tag."""
        self._video.codec_context.extradata = head
        if tag is not None and self._in_mp4:
            self._video.codec_context.codec_tag = tag

    @property
    def refused(self) -> bool:
        """Whether the clip has been given up."""
        return self._problem is not None

    def refuse(self, why: str) -> None:
        """Give the clip up, for a reason that is reported."""
        self._problem = self._problem or why

    def hear(self, packet: Any) -> None:
        """Write a packet of sound if it belongs to the clip."""
        if self._audio is None or packet.dts is None or not packet.time_base:
            return
        due_s = (packet.pts if packet.pts is not None else packet.dts) * packet.time_base
        if self._begins_s <= due_s < self._ends_s and (self._heard is None or packet.dts > self._heard):
            self._heard = packet.dts
            self._put(packet, self._audio)

    def over(self, number: int, at_s: Fraction) -> bool:
        """Return whether no packet of the clip can follow the video packet of this number and time."""
        if self._problem is not None:
            return True
        done = number + 1 >= self._cut.stop
        return done and (self._audio is None or at_s > self._ends_s + _SOUND_LAGS_S)

    def finish(self) -> str | None:
        """Complete the file, decode it, and return what is wrong with it, such as a missing frame; None if nothing."""
        try:
            self._container.close()
            os.fsync(self._file.fileno())
        except MUX_ERRORS as error:
            self._fail(error)
        finally:
            self._file.close()
        return self._problem or self._check()

    def close(self) -> None:
        """Give the clip up if it is not finished."""
        try:
            self._container.close()
        except MUX_ERRORS:
            self._problem = self._problem or "it was given up"
        self._file.close()

    def _put(self, packet: Any, stream: Any) -> None:
        """Write a packet with times of the clip's clock; the packet itself is restored, as other clips may need it."""
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
            raise OutputError(f"{self._folder} can't be written: {describe_os_error(error)}.") from error
        if isinstance(error, av.error.FFmpegError) and error.errno in (5, 28, 122):  # EIO, ENOSPC, EDQUOT
            raise OutputError(f"{self._folder} can't be written: {describe_os_error(error)}.") from error
        self._problem = self._problem or f"the container does not take it ({type(error).__name__})"

    def _check(self) -> str | None:
        """Decode the clip: some streams can't really be decoded from their key frames."""
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
        if self._exactly and len(times) != len(self._cut.wanted_pts):
            return "its parts, joined, do not show each frame once"
        return None if self._has_all(times) else "the copy does not show every frame"

    def _has_all(self, shown: list[Fraction]) -> bool:
        wanted = [(pts - self._cut.begins_pts) * self.time_base for pts in self._cut.wanted_pts]
        place = 0
        for due in wanted:
            while place < len(shown) and shown[place] < due - _SAME_S:
                place += 1
            if place >= len(shown) or shown[place] > due + _SAME_S:
                return False
        return True
