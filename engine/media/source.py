"""Source: opens a file or URL with PyAV and gives its packets. A live source that breaks off is opened again."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import threading
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import av.error

from engine.errors import SourceError, describe_os_error
from engine.files.objects import open_input
from engine.files.opened import OpenedFile
from engine.media.extent import appended_at, missing_bytes
from engine.records import StreamInfo
from engine.text.counted import counted
from engine.text.masks import without_password
from engine.trackers.steps import nominal_step_s

log = logging.getLogger(__name__)

LIVE_SCHEMES = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "rtp"})
URL_SCHEMES = LIVE_SCHEMES | {"http", "https"}

# What the demuxer of a file may open besides: nothing, by no protocol, whatever the file refers to.
_NOTHING_ELSE = "none"
_BUFFER_BYTES = 256 * 1024

# FFmpeg opens these as "video" too. One of many images would be a sequence of its neighbours.
_PICTURES = frozenset("image2 image2pipe alias_pix brender_pix ico".split())
_TEXTS = frozenset("tty bin xbin adf idf ffmetadata".split())
_REFERRING = frozenset("hls dash concat sdp imf webm_dash_manifest vobsub rtsp rtp sap lavfi".split())

_INDEXED = frozenset({"mov", "matroska"})
_RTSP_OPTIONS = {"rtsp_transport": "tcp"}
_LONGEST_PAUSE_S = 10.0

# Containers whose index lists every packet, so that one which was not reached is known to be missing.
_FULLY_INDEXED = frozenset({"mov", "avi"})

# Decoding times that fall back by more than this belong to another timeline; FFmpeg's own program draws the line here.
_SEAM_S = Fraction(1, 10)
_LEAP_S = Fraction(1)
_AHEAD_S = Fraction(20)
_PACKETS_TO_LEARN = 4
_SHIFTS_KEPT = 8
_STEPS_TOLD = 3

# MPEG transport and program streams count 90,000 ticks a second in 33 bits.
_MPEG_TICKS = 2**33

# Files that only point to others. FFmpeg would wait for a playlist to grow, without end, and for a camera to call.
POINTERS = frozenset(".m3u .m3u8 .mpd .sdp .ffconcat .pls .cue .xspf".split())
_POINTING = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:#EXTM3U|ffconcat\s|v=0\r?\n|\[playlist\]|<\?xml[^>]*>\s*<(?:MPD|playlist)\b)"
)
_LOOKED_AT_BYTES = 1024

_DURATION_TAG = re.compile(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def scheme(path: str) -> str | None:
    """Return the URL scheme of an input, None for a path on disk."""
    head, found, _ = path.partition("://")
    return head.lower() if found and head.lower() in URL_SCHEMES else None


class Source:
    """One video input. `open`, then iterate `packets`, then `close`."""

    name = "source"

    def __init__(
        self,
        path: str,
        *,
        open_timeout_s: float = 15.0,
        read_timeout_s: float = 15.0,
        reconnect_attempts: int = 5,
        audio: bool = False,
        options: dict[str, str] | None = None,
    ) -> None:
        """`options` are FFmpeg's, for the decoder that looks what the input holds."""
        self.path = path
        self.file: OpenedFile | None = None  # the input, where the caller has opened it: nothing else is read
        self._own_file: OpenedFile | None = None
        self.scheme = scheme(path)
        self.video: Any = None
        self.live = self.scheme in LIVE_SCHEMES
        self._timeouts_s = (open_timeout_s, read_timeout_s)
        self._attempts_left = self._attempts = reconnect_attempts
        self._want_audio = audio
        self._options = dict(options or {})
        self._audio: Any = None
        self._container: Any = None
        self._clocks = Clocks()
        self._indexed = 0
        self._last_dts: int | None = None

    def open(self, key: int = 0) -> StreamInfo:
        """Open the input, or open it again, and find its best video stream. Raises SourceError."""
        self._disconnect()
        file = self._input() if self.scheme is None else None
        try:
            self._container = self._connect()
        except SourceError:
            raise
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if file is not None and file.problem is not None:
                raise file.problem from error
            if file is not None and isinstance(error, av.error.ArgumentError) and (what := _what_else(file)):
                raise SourceError(f"is {what}, not a video") from error
            raise SourceError(f"can't be opened: {_reason(error)}") from error
        self.video = best_video(self._container)
        if self.video is None:
            raise SourceError("has no video stream")
        # A file behind http has a size and so a duration; what has none is still being made.
        self.live = self.live or (self.scheme is not None and self._container.duration is None)
        if self._want_audio:
            self._audio = next(iter(self._container.streams.audio), None)
        self._clocks = self._new_clocks()
        self._last_dts = None
        self._indexed = len(self.video.index_entries) if self.containers & _FULLY_INDEXED else 0
        context = self.video.codec_context
        if context is None:
            raise SourceError("has a codec that this build of FFmpeg can't decode")
        return StreamInfo(
            key=key,
            path=self.path,
            size_wh=(context.width, context.height),
            time_base=self.video.time_base or Fraction(1, 90_000),
            frame_rate=self.video.average_rate or self.video.guessed_rate or Fraction(25),
            frames=self.video.frames or None,
            duration_s=_duration_s(self.video),
            live=self.live,
            audio=self._audio,
            pixel_aspect=self.video.sample_aspect_ratio or Fraction(1),
            creation_time=self._container.metadata.get("creation_time") or self.video.metadata.get("creation_time"),
            step_s=nominal_step_s(self.video.average_rate, self.video.guessed_rate),
        )

    def packets(self) -> Iterator[av.Packet]:
        """Yield packets of the video stream, and of the audio stream when it is wanted. Raises SourceError."""
        streams = [stream for stream in (self.video, self._audio) if stream is not None]
        try:
            for packet in self._container.demux(streams):
                if packet.dts is not None and packet.stream_index == self.video.index:
                    self._last_dts = packet.dts
                if packet.size:
                    self._attempts_left = self._attempts
                    self._clocks.join(packet)
                    yield packet
        except SourceError as error:
            raise SourceError(f"reading stopped: {error}") from error
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"reading stopped: {_reason(error)}") from error
        if self._opened is not None and self._opened.problem is not None:  # FFmpeg took it for the end
            raise SourceError(f"reading stopped: {self._opened.problem}")

    @property
    def seekable(self) -> bool:
        """Whether the container has an index whose key frames can be relied on, and one timeline so far."""
        return self.scheme is None and not self.containers.isdisjoint(_INDEXED) and not self._clocks.moved

    @property
    def retimed(self) -> bool:
        """Whether the times given out are not the container's own, and its duration not theirs."""
        return self._clocks.moved

    @property
    def notes(self) -> list[str]:
        """What is to be said of the times that were given out."""
        return self._clocks.notes

    @property
    def clock_steps(self) -> int:
        """How often the file's clock has stepped so far."""
        return self._clocks.count

    @property
    def counted(self) -> bool:
        """Whether the container's header has a count of its frames, by whoever wrote them."""
        return not self.containers.isdisjoint(_FULLY_INDEXED)

    @property
    def shown(self) -> int | None:
        """How many frames the index lists to be shown, where it lists every packet."""
        if not self._indexed or "avi" in self.containers:
            return None
        return sum(bool(entry.size) and not entry.is_discard for entry in self.video.index_entries)

    @property
    def reached_end_of_index(self) -> bool | None:
        """Whether the last packet that the index lists was read; None if it does not list every packet."""
        if not self._indexed or self._last_dts is None:
            return None
        entries = self.video.index_entries
        for number in range(len(entries) - 1, -1, -1):
            if entries[number].size:  # an empty one stands for a frame that was dropped
                return bool(self._last_dts >= entries[number].timestamp)
        return True

    def missing_bytes(self) -> int | None:
        """Return what the file lacks at its end by its own account; None if there is none. See
        engine/media/extent.py."""
        if self._opened is None:
            return None
        try:
            return missing_bytes(io.BufferedReader(self._opened.reader()))
        except (OSError, ValueError):  # ValueError: a size in a damaged file leads beyond any place in one
            return None

    def appended_at(self) -> int | None:
        """Return the byte at which a second video begins that was appended to this one; None if there is none."""
        if self._opened is None:
            return None
        try:
            return appended_at(io.BufferedReader(self._opened.reader()))
        except (OSError, ValueError):
            return None

    def changed(self) -> str | None:
        """Return how the file that was opened has changed since, in words; None if it has not."""
        if self._opened is None:
            return None
        return self._opened.changed()

    def seek(self, pts: int) -> None:
        """Go to a key frame at or before `pts` of the video stream. Raises SourceError."""
        try:
            self._container.seek(pts, stream=self.video)
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"does not allow seeking: {_reason(error)}") from error

    def reconnect(self, stop: threading.Event) -> bool:
        """Open a live source again, waiting longer each time. False when stopped or out of attempts."""
        pause_s = 0.25
        while self._attempts_left > 0 and not stop.is_set():
            self._attempts_left -= 1
            self._disconnect()
            if stop.wait(pause_s):
                return False
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            try:
                self._container = self._connect()
            except (av.error.FFmpegError, OSError, ValueError) as error:
                log.warning("%s: can't reconnect: %s", without_password(self.path), _reason(error))
                continue
            self.video = best_video(self._container)
            if self.video is not None:
                self._clocks = self._new_clocks()
                self._audio = None  # a new connection's audio has another clock than the copy begun
                log.info("%s: reconnected", without_password(self.path))
                return True
        return False

    @property
    def reconnects_asked(self) -> bool:
        """Whether a live source that ends is to be opened again."""
        return self._attempts > 0

    def close(self) -> None:
        self._disconnect()
        if self._own_file is not None:
            self._own_file.close()
            self._own_file = None

    def _disconnect(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None

    @property
    def containers(self) -> set[str]:
        """The names of the open container's format."""
        return set(self._container.format.name.split(","))

    def _new_clocks(self) -> Clocks:
        discontinuous = bool(self._container.format.flags & av.format.Flags.ts_discont.value)
        return Clocks(video=self.video.index, discontinuous=discontinuous)

    @property
    def _opened(self) -> OpenedFile | None:
        return self.file or self._own_file

    def _input(self) -> OpenedFile:
        """Return the file on disk, opened but once. Raises SourceError if it can't be a video."""
        if self._opened is None:
            self._own_file = open_input(self.path)
        file = self._opened
        assert file is not None
        if file.size_bytes == 0:
            raise SourceError("is empty (zero bytes)")
        if points_elsewhere(file):
            raise SourceError("is a playlist, not a video")
        return file

    def _connect(self) -> Any:
        file = self._opened
        if self.scheme is None and file is not None:
            return open_container(file, self._options)
        options = self._options | (_RTSP_OPTIONS if self.scheme in ("rtsp", "rtsps") else {})
        return av.open(self.path, options=options, timeout=self._timeouts_s, metadata_errors="replace")


def open_container(file: OpenedFile, options: dict[str, str] | None = None, timeout: Any = None) -> Any:
    """Return the container of a file on disk. What refers to other files, images and texts are refused (EINVAL), and
    nothing but the file itself is opened. Raises av.error.FFmpegError and ValueError."""
    return _opened(file, _video_formats(), options or {}, timeout)


def _opened(file: OpenedFile, formats: str, options: dict[str, str], timeout: Any = None) -> Any:
    allowed = {"protocol_whitelist": _NOTHING_ELSE, "format_whitelist": formats}
    return av.open(
        file.reader(),
        options=options | allowed,
        timeout=timeout,
        metadata_errors="replace",
        buffer_size=_BUFFER_BYTES,
    )


@cache
def _video_formats() -> str:
    refused = _PICTURES | _TEXTS | _REFERRING
    return ",".join(sorted(name for name in av.formats_available if name not in refused and not name.endswith("_pipe")))


def _what_else(file: OpenedFile) -> str | None:
    """Return what a file is that was refused; None if it was not for its kind."""
    pictures = ",".join(sorted(_PICTURES | {name for name in av.formats_available if name.endswith("_pipe")}))
    for formats, what in ((pictures, "a still image"), (",".join(sorted(_TEXTS)), "a text")):
        with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
            _opened(file, formats, {"max_pixels": "1"}).close()  # its kind is all that is wanted
            return what
    return None


def points_elsewhere(file: OpenedFile) -> bool:
    """Return whether a file only points to others: a playlist, the description of a stream."""
    return Path(file.path).suffix.lower() in POINTERS or bool(_POINTING.match(file.reader().read(_LOOKED_AT_BYTES)))


class _Clock:
    """One stream's time in ticks: the last dts given out, where its packet ends, and the shift of the file's own."""

    def __init__(self, time_base: Fraction) -> None:
        self.time_base = time_base
        self.shift = 0
        self.last: int | None = None
        self.end = 0
        self.packets = 0
        self.step = 0  # between the last two packets, as the file has it
        self.back = max(1, int(_SEAM_S / time_base))
        self.leap = max(1, int(_LEAP_S / time_base))
        self.ahead = max(1, int(_AHEAD_S / time_base))


class Clocks:
    """Joins the timelines of a file that was put together from several, as `cat` does with MPEG-TS.

    Where decoding times fall back, the packets behind the seam are moved to follow the last one before it. Video and
    audio meet the same seam at different packets; what one was moved by is tried first for the other, so that they
    stay together. A jump ahead is a gap and stays, unless it only undoes a step back, or the format is one whose clock
    may step (`discontinuous`: MPEG-TS and its like) and it is of more than twenty seconds: FFmpeg unwraps the 33 bits
    of such a clock, and so a step back by more than a minute looks like a jump of a day ahead.

    The steps of stream `video` are told in `notes`.
    """

    def __init__(self, *, video: int = 0, discontinuous: bool = False) -> None:
        self._of: dict[int, _Clock] = {}
        self._shifts_s: list[Fraction] = [Fraction(0)]
        self._video = video
        self._discontinuous = discontinuous
        self._steps: list[tuple[Fraction, Fraction]] = []  # where in the times given out, by how much, in seconds

    @property
    def moved(self) -> bool:
        """Whether any packet was."""
        return any(clock.shift for clock in self._of.values()) or len(self._shifts_s) > 1

    @property
    def count(self) -> int:
        return len(self._steps)

    @property
    def notes(self) -> list[str]:
        """The steps, in words."""
        if not self._steps:
            return []
        told = [
            f"{'back' if by_s < 0 else 'ahead'} by {abs(float(by_s)):,.3f} s at {float(at_s):.3f} s"
            for at_s, by_s in self._steps[:_STEPS_TOLD]
        ]
        more = len(self._steps) - len(told)
        also = f" and {counted(more, 'more time')}" if more else ""
        return [f"the file's clock jumps {', '.join(told)}{also}: timestamps continue without the jump"]

    def join(self, packet: av.Packet) -> None:
        """Move the times of a packet, in place."""
        dts, clock = packet.dts, self._of.get(packet.stream_index)
        if dts is None:
            if clock is not None and packet.pts is not None:
                packet.pts += clock.shift
            return
        if clock is None:
            if not packet.time_base:
                return
            clock = self._of[packet.stream_index] = _Clock(packet.time_base)
        if clock.last is not None:
            step = dts + clock.shift - clock.last
            if step < -clock.back or step > clock.leap:
                before, clock.shift = clock.shift, self._choose(clock, packet, step)
                if clock.shift != before and packet.stream_index == self._video:
                    self._note(clock, packet, step - (packet.duration or 0))
            clock.step = step
            clock.packets += 1
        if clock.shift:
            if packet.pts is not None:
                packet.pts += clock.shift
            packet.dts += clock.shift
        clock.last = packet.dts
        clock.end = packet.dts + (packet.duration or 1)

    def _choose(self, clock: _Clock, packet: av.Packet, step: int) -> int:
        assert clock.last is not None
        dts = packet.dts
        known = [round(shift_s / clock.time_base) for shift_s in self._shifts_s]
        near = [shift for shift in known if -clock.back <= dts + shift - clock.last <= clock.leap]
        if near:
            return min(near, key=lambda shift: abs(dts + shift - clock.end))
        steady = clock.packets > _PACKETS_TO_LEARN and step > max(clock.ahead, 3 * clock.step)  # not a frame a minute
        if step > 0 and not (self._discontinuous and steady):
            return clock.shift
        shift: int = clock.end - dts
        self._shifts_s.append(shift * clock.time_base)
        del self._shifts_s[1:-_SHIFTS_KEPT]
        return shift

    def _note(self, clock: _Clock, packet: av.Packet, by: int) -> None:
        if self._discontinuous and clock.time_base == Fraction(1, 90_000):
            by = (by + _MPEG_TICKS // 2) % _MPEG_TICKS - _MPEG_TICKS // 2
        self._steps.append((clock.end * clock.time_base, by * clock.time_base))


def best_video(container: Any) -> Any:
    """Return the video stream a player would choose; cover art does not count. None when there is none."""
    pictures = av.stream.Disposition.attached_pic
    moving = [stream for stream in container.streams.video if not stream.disposition & pictures]
    best = container.streams.best("video")
    return best if best in moving else next(iter(moving), None)


def _duration_s(stream: Any) -> float | None:
    """Return the video's own duration. A container's is that of its longest stream, often the sound; Matroska notes
    each stream's in a tag."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = _DURATION_TAG.fullmatch(stream.metadata.get("DURATION", ""))
    return sum(float(part) * unit for part, unit in zip(tag.groups(), (3600, 60, 1), strict=True)) if tag else None


def _reason(error: BaseException) -> str:
    """Return a short sentence for a PyAV error."""
    if isinstance(error, av.error.ExitError | av.error.TimeoutError) or "Immediate exit" in str(error):
        return "no data within the timeout"
    if isinstance(error, av.error.InvalidDataError):
        return "not a video, or its header is damaged or missing"
    if isinstance(error, SourceError):
        return str(error)
    if isinstance(error, OSError | av.error.FFmpegError):  # its full text repeats the URL, with the password
        return describe_os_error(error)
    return getattr(error, "strerror", None) or type(error).__name__  # its full text repeats the URL, password and all
