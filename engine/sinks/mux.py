"""From a packet log to the final MP4: the stream's parameters, the times, the sound."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.container import OutputContainer
from av.video.stream import VideoStream

from engine.errors import SinkError, Unencodable, describe_os_error
from engine.media.annotated import NOTE
from engine.records import StreamInfo
from engine.sinks.base import fresh
from engine.sinks.packet_log import FRAME, VIDEO, LogHeader, read_header, read_packets

# What the MP4 muxer takes beyond doubt. Other audio is left out and named in the result.
_MP4_AUDIO = frozenset("aac mp2 mp3 ac3 eac3 dts alac opus flac".split())
_NEED_HEADER = frozenset("alac opus flac".split())
_OPTIONS = {"crf", "preset", "bf"}
# Pictures of more pixels than 4K has are encoded with as few of them held as can be: x264 takes up to 90 MB for one of
# 8K, and has one in hand for each that it looks ahead, and one more to learn how long an image lasts.
_MANY_PIXELS = 4096 * 2304
_FRUGAL = "force-cfr=1:rc-lookahead=0:sync-lookahead=0:ref=1"
_LARGEST_TIMESCALE = 2**31 - 1
_LONGEST_GAP_TICKS = 2**31 - 1

MUX_ERRORS = (av.error.FFmpegError, OSError, ValueError, OverflowError)

# What encoder and muxer say of frames and times that they can't take: none of it is the disk's fault.
_OF_THE_MEDIA = (av.error.ArgumentError, av.error.InvalidDataError, av.error.ExternalError, ValueError, OverflowError)


def sink_error(name: str, error: BaseException) -> SinkError:
    """Return what an error of encoder, muxer or disk means for the annotated video `name`."""
    if isinstance(error, _OF_THE_MEDIA):
        reason = getattr(error, "strerror", None) or str(error)
        return Unencodable(f"annotated video left out: {reason.lower()} (frames or times that MP4 can't hold)")
    reason = describe_os_error(error) if isinstance(error, OSError) else str(error)
    return SinkError(f"{name} can't be written: {reason}")


def audio_problem(source: av.AudioStream) -> str | None:
    """Return why an input's audio stream can't be copied into MP4; None if it can."""
    context = source.codec_context
    codec = context.codec.canonical_name if context is not None else "an unknown codec"
    if codec not in _MP4_AUDIO:
        return f"audio left out: MP4 does not take {codec}"
    if not context.sample_rate or (codec in _NEED_HEADER and not context.extradata):
        return f"audio left out: its {codec} header is missing"
    return None


def new_encoder(header: LogHeader, threads: int) -> tuple[OutputContainer, VideoStream]:
    """Return an open encoder for an MP4 with the parameters of `header`: a container that is never written, and its
    stream.

    Raises ValueError for a header that is none of ours.
    """
    container = av.open(io.BytesIO(), "w", format="mp4")
    stream = _add_video(container, header, threads)
    return container, stream


def _add_video(container: OutputContainer, header: LogHeader, threads: int) -> VideoStream:
    # A log may be a stranger's, and x264 has options that name files.
    options = header.get("options")
    if not isinstance(options, dict) or not options.keys() <= _OPTIONS:
        raise ValueError("the packet log's header names other options")
    try:
        return _video_of(container, header, threads)
    except (KeyError, TypeError, AttributeError, IndexError, ZeroDivisionError, OverflowError) as error:
        raise ValueError("the packet log's header is damaged") from error


def _video_of(container: OutputContainer, header: LogHeader, threads: int) -> VideoStream:
    stream = container.add_stream("libx264", rate=Fraction(*header["rate"]))
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = header["size_wh"][0], header["size_wh"][1], header["format"]
    context.time_base = Fraction(*header["time_base"])
    context.thread_count = threads
    context.options = dict(header["options"])
    if context.width * context.height > _MANY_PIXELS:
        context.options = {**context.options, "x264-params": _FRUGAL}
    context.gop_size = header["gop"]
    for name, value in header["colour"].items():
        setattr(context, name, value)
    context.sample_aspect_ratio = Fraction(*header["aspect"])
    context.open(strict=False)
    return stream


def mux(
    log: Path,
    target: Path,
    audio: av.AudioStream | None,
    size: int | None = None,
    drawn: Iterator[av.Packet] | None = None,
) -> list[str]:
    """Write the packets in the first `size` bytes of a log (None: all) as an MP4, and return what is to be noted.

    `audio` is the input's audio stream, as long as its container is open, or None. `drawn` gives the packets of a video
    that was drawn in pieces, in the order of its frames. Raises one of MUX_ERRORS.
    """
    header = read_header(log)
    options = {"movflags": "+faststart", "movie_timescale": str(header["movie_timescale"])}
    with av.open(f"file:{target}", "w", format="mp4", options=options) as container:
        container.metadata["comment"] = NOTE  # by which a later run knows that it is no source
        muxer = _Muxer(container, header, audio)
        for kind, packet, base in read_packets(log, size):
            if kind == FRAME:
                muxer.video(_drawn(drawn, packet), base)
            elif kind == VIDEO:
                muxer.video(packet, base)
            else:
                muxer.audio(packet, base)
    return muxer.notes


def _drawn(packets: Iterator[av.Packet] | None, note: av.Packet) -> av.Packet:
    """Return the next packet, which must be that of the noted frame. Raises ValueError."""
    packet = None if packets is None else next(packets, None)
    if packet is None or (packet.pts, packet.duration) != (note.pts, note.duration):
        raise ValueError("a frame is missing in a piece of the video")
    return packet


def mux_into(
    target: Path,
    log: Path,
    audio: av.AudioStream | None,
    size: int | None = None,
    drawn: Iterator[av.Packet] | None = None,
) -> list[str]:
    """As `mux`, into a new file at `target`, made durable. FFmpeg would write to whatever it finds at a path: it is
    given the open file."""
    with fresh(target) as file:
        notes = mux(log, Path(f"/proc/self/fd/{file.fileno()}"), audio, size, drawn)
        os.fsync(file.fileno())
    return notes


class _Muxer:
    """One MP4 that is being written."""

    def __init__(self, container: OutputContainer, header: LogHeader, audio: av.AudioStream | None) -> None:
        self._container = container
        self._time_base = Fraction(*header["time_base"])
        self._shift = header["shift"]
        # The parameters the file's head needs are those of an open encoder; it is given nothing to encode.
        self._video = _add_video(container, header, 1)
        self._audio = container.add_stream_from_template(audio) if audio is not None else None
        container.start_encoding()
        # Computed anew only when the packets' time base is another object.
        self._audio_base: Fraction | None = None
        self._audio_late = 0  # what is added to a packet's times, in its ticks
        self._audio_tick = 1  # of the output, in whole ticks of a packet
        self._audio_dts: int | None = None
        self._video_base: Fraction | None = None
        self._video_gap = 0  # the longest that MP4 can hold, in whole ticks of a packet
        self._video_dts: int | None = None
        moved_s = float(self._shift * self._time_base)
        self.notes = [f"annotated video shifted by {moved_s:.3f} s to start at 0"] if self._shift else []

    def video(self, packet: av.Packet, base: Fraction) -> None:
        self._note_long_gap(packet.dts, base)
        packet.stream = self._video
        self._container.mux(packet)

    def audio(self, packet: av.Packet, base: Fraction) -> None:
        if self._audio is None:
            return
        if base is not self._audio_base:
            self._audio_base, self._audio_late = base, round(self._shift * self._time_base / base)
            self._audio_tick = math.ceil((self._audio.time_base or 0) / base) or 1
        pts, dts = packet.pts, packet.dts
        if self._audio_late:
            dts += self._audio_late
            pts = None if pts is None else pts + self._audio_late
        # MP4 refuses times that don't grow by at least a tick of its own.
        earliest = dts if self._audio_dts is None else self._audio_dts + self._audio_tick
        if dts < earliest:
            pts = earliest if pts is None else pts + earliest - dts
            dts = earliest
        self._audio_dts = dts
        packet.pts, packet.dts, packet.stream = pts, dts, self._audio
        try:
            self._container.mux(packet)
        except (av.error.InvalidDataError, av.error.ArgumentError) as error:  # a video is worth more than its sound
            self.notes.append(f"audio left out from {float(dts * base):.3f} s on: {error}")
            self._audio = None

    def _note_long_gap(self, dts: int, base: Fraction) -> None:
        """Note a gap that MP4 can't hold: it counts the ticks between two frames in 31 bits, and FFmpeg moves what
        follows a longer gap up to it."""
        if base is not self._video_base:
            assert self._video.time_base is not None
            self._video_base, self._video_gap = base, math.floor(_LONGEST_GAP_TICKS * self._video.time_base / base)
        if self._video_dts is not None and (gap := dts - self._video_dts) > self._video_gap:
            self.notes.append(
                f"annotated video: the gap of {float(gap * base):.0f} s is longer than MP4 can hold, and times "
                "after it are wrong"
            )
        self._video_dts = dts


def ratio(value: Fraction) -> Sequence[int]:
    """Return a fraction as JSON values."""
    return [value.numerator, value.denominator]


def encoder_rate(rate: Fraction) -> Fraction:
    """Return a rate that H.264 can carry. It only steers the encoder; times come from the frames."""
    return rate if Fraction(1, 10) <= rate <= 1000 else Fraction(25)


def movie_timescale(info: StreamInfo) -> int:
    """Return ticks a second in which MP4 notes when a track begins. Its usual 1000 would shift the whole video by up to
    half a millisecond, and the sound against the video."""
    rate = info.audio.codec_context.sample_rate if info.audio is not None and info.audio.codec_context else 0
    ticks = info.time_base.denominator
    for finer in (math.lcm(ticks, rate or 1), ticks):
        if finer <= _LARGEST_TIMESCALE:
            return finer * math.ceil(1000 / finer)
    return 1000
