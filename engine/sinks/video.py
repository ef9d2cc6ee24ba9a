"""`<stem>.mp4`: the source's frames with boxes, on the source's own timeline, with its audio copied.

Boxes are drawn on the planes of the decoded frame; H.264 in, H.264 out, no RGB between. Every frame keeps its pts and
duration, so that a variable frame rate stays variable.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from engine.errors import SinkError, describe_os_error
from engine.records import EndOfStream, Frame, StreamInfo, Tracks
from engine.sinks.base import discard, part_path, publish
from engine.stages.preprocess import colour_of, planes_of
from engine_ext.overlay import draw_tracks

log = logging.getLogger(__name__)

# What the MP4 muxer takes beyond doubt. Other audio is left out and named in the result.
_MP4_AUDIO = frozenset("aac mp3 ac3 eac3 alac opus flac".split())
_NEED_HEADER = frozenset("alac opus flac".split())
_LIMITED_RANGE, _FULL_RANGE = 1, 2
_SWS = {"bt601": 5, "bt709": 1, "bt2020": 9}  # swscale's own numbers, not those of the tags
_TAGS = {"bt601": 6, "bt709": 1}
_HD_ROWS = 720
_LARGEST_TIMESCALE = 2**31 - 1
_LONGEST_GAP_TICKS = 2**31 - 1
_KEPT_COLOUR = ("color_primaries", "color_trc", "colorspace", "color_range")


class AnnotatedVideo:
    """Writes one annotated video. Opened with the first frame, whose size is the video's."""

    kind = "video"

    def __init__(self, path: Path, class_names: Sequence[str], *, crf: int, preset: str, threads: int) -> None:
        self._part = part_path(path)
        self._names = class_names
        self._options = {"crf": str(crf), "preset": preset, "bf": "0"}
        self._threads = threads
        self._info: StreamInfo | None = None
        self._container: Any = None
        self._video: Any = None
        self._audio: Any = None
        self._durations: dict[int, int] = {}
        self._look: tuple[Any, ...] = ()
        self._colour = ("bt601", False)
        self._audio_dts: int | None = None
        self._video_dts: int | None = None
        self._shift = 0
        self.notes: list[str] = []

    def open(self, info: StreamInfo) -> None:
        """Opens the file. The audio's format is read from the input, which is open by now."""
        self._info = info
        try:
            options = {"movflags": "+faststart", "movie_timescale": str(_movie_timescale(info))}
            self._container = av.open(f"file:{self._part}", "w", format="mp4", options=options)
            self._video = self._container.add_stream("libx264", rate=_encoder_rate(info.frame_rate))
            if info.audio is not None:
                self._add_audio(info.audio)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._error(error) from error

    def write(self, tracks: Tracks) -> None:
        frame = tracks.frame
        try:
            image = _drawable(frame.image)
            if not self._video.codec_context.is_open:
                self._configure(image)
                self._begin(frame)
            self._draw(image, tracks)
            if _look(image) != self._look:
                image = self._fitted(image)
            image.pts, image.time_base = frame.pts + self._shift, frame.time_base
            image.pict_type = 0
            self._durations[image.pts] = frame.duration
            self._mux_audio(frame.audio)
            self._mux(self._video.encode(image))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._error(error) from error

    def commit(self, end: EndOfStream, path: Path) -> None:
        try:
            self._mux_audio(end.audio)
            if self._video.codec_context.is_open:
                self._mux(self._video.encode(None))
            self._container.close()
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise self._error(error) from error
        publish(self._part, path)

    def abort(self) -> None:
        if self._container is not None:
            with contextlib.suppress(av.error.FFmpegError, OSError, ValueError):
                self._container.close()
        discard(self._part)

    def _add_audio(self, source: Any) -> None:
        context = source.codec_context
        codec = context.codec.canonical_name if context is not None else "an unknown codec"
        if codec not in _MP4_AUDIO:
            self.notes.append(f"audio left out: MP4 does not take {codec}")
        elif not context.sample_rate or (codec in _NEED_HEADER and not context.extradata):
            self.notes.append(f"audio left out: its {codec} header is missing")
        else:
            self._audio = self._container.add_stream_from_template(source)

    def _configure(self, image: Any) -> None:
        assert self._info is not None
        context = self._video.codec_context
        context.width, context.height, context.pix_fmt = image.width, image.height, image.format.name
        context.time_base = self._info.time_base
        context.thread_count = self._threads
        context.options = self._options
        context.gop_size = max(1, round(10 * float(self._info.frame_rate)))
        for name in _KEPT_COLOUR:
            setattr(context, name, getattr(image, name))
        aspect, stored_wh = self._info.pixel_aspect, self._info.size_wh
        turned = image.width >= image.height if stored_wh[0] < stored_wh[1] else image.width < image.height
        context.sample_aspect_ratio = 1 / aspect if turned else aspect
        context.open(strict=False)
        self._container.start_encoding()
        self._look, self._colour = _look(image), colour_of(image)

    def _begin(self, frame: Frame) -> None:
        """MP4 shows nothing before 0: a video that begins earlier begins there, and its sound moves with it."""
        if frame.pts < 0:
            self._shift = -frame.pts
            self.notes.append(f"annotated video moved by {float(-frame.pts * frame.time_base):.3f} s to begin at 0")

    def _fitted(self, image: Any) -> Any:
        """A frame of another size or colour than the first, made like the first."""
        matrix, full_range = colour_of(image)
        fitted = image.reformat(
            width=self._look[0],
            height=self._look[1],
            format=self._look[2],
            src_colorspace=_SWS[matrix],
            src_color_range=_FULL_RANGE if full_range else _LIMITED_RANGE,
            dst_colorspace=_SWS[self._colour[0]],
            dst_color_range=_FULL_RANGE if self._colour[1] else _LIMITED_RANGE,
        )
        return _even(fitted)

    def _draw(self, image: Any, tracks: Tracks) -> None:
        if not len(tracks):
            return
        matrix, full_range = colour_of(image)
        labels = [
            f"{self._names[class_id]} {track_id}"
            for class_id, track_id in zip(tracks.class_ids.tolist(), tracks.track_ids.tolist(), strict=True)
        ]
        draw_tracks(
            planes_of(image),
            (image.width, image.height),
            tracks.boxes_xyxy,
            tracks.track_ids,
            labels,
            matrix=matrix,
            full_range=full_range,
        )

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            # The encoder knows a frame's start only; the source's duration matters most for the last one.
            packet.duration = self._durations.pop(packet.pts, packet.duration)
            self._note_long_gap(packet)
            self._container.mux(packet)

    def _note_long_gap(self, packet: Any) -> None:
        """MP4 counts the ticks between two frames in 31 bits; FFmpeg moves what follows a longer gap up to it."""
        gap_s = float((packet.dts - self._video_dts) * packet.time_base) if self._video_dts is not None else 0.0
        if gap_s > _LONGEST_GAP_TICKS * self._video.time_base:
            self.notes.append(
                f"annotated video: the gap of {gap_s:.0f} s is longer than MP4 can hold, times after it are off"
            )
        self._video_dts = packet.dts

    def _mux_audio(self, packets: Sequence[Any]) -> None:
        for packet in packets:
            if self._audio is None:
                return
            if packet.dts is None:
                continue
            if self._shift:
                assert self._info is not None
                late = round(self._shift * self._info.time_base / packet.time_base)
                packet.dts += late
                packet.pts = None if packet.pts is None else packet.pts + late
            # MP4 refuses times that don't grow by at least a tick of its own.
            earliest = packet.dts if self._audio_dts is None else self._audio_dts + self._audio_step(packet)
            if packet.dts < earliest:
                packet.pts = earliest if packet.pts is None else packet.pts + earliest - packet.dts
                packet.dts = earliest
            self._audio_dts = packet.dts
            packet.stream = self._audio
            try:
                self._container.mux(packet)
            except (av.error.InvalidDataError, av.error.ArgumentError) as error:  # a video is worth more than its sound
                self.notes.append(f"audio left out from {float(packet.dts * packet.time_base):.3f} s on: {error}")
                self._audio = None

    def _audio_step(self, packet: Any) -> int:
        """A tick of the output's audio, in whole ticks of the packet's."""
        return math.ceil((self._audio.time_base or 0) / packet.time_base) or 1

    def _error(self, error: BaseException) -> SinkError:
        reason = describe_os_error(error) if isinstance(error, OSError) else str(error)
        return SinkError(f"{self._part.name} can't be written: {reason}")


def _encoder_rate(rate: Fraction) -> Fraction:
    """A rate that H.264 can carry. It only steers the encoder; times come from the frames."""
    return rate if Fraction(1, 10) <= rate <= 1000 else Fraction(25)


def _movie_timescale(info: StreamInfo) -> int:
    """Ticks a second in which MP4 notes when a track begins. Its usual 1000 would shift the whole video by up to half
    a millisecond, and sound against picture."""
    rate = info.audio.codec_context.sample_rate if info.audio is not None and info.audio.codec_context else 0
    ticks = info.time_base.denominator
    for finer in (math.lcm(ticks, rate or 1), ticks):
        if finer <= _LARGEST_TIMESCALE:
            return finer * math.ceil(1000 / finer)
    return 1000


def _look(image: Any) -> tuple[Any, ...]:
    """What must stay the same from frame to frame."""
    return image.width, image.height, image.format.name, int(image.colorspace), int(image.color_range)


def _drawable(image: Any) -> Any:
    """A 4:2:0 frame of even size that nobody else reads: the decoder may still need its own copy."""
    if image.format.name in ("rgb24", "bgr24", "gray"):
        # Players read the matrix from the tag, and guess by the size where there is none. RGB's own tag (0) is no
        # matrix for YUV.
        matrix = "bt709" if image.height >= _HD_ROWS else "bt601"
        image = image.reformat(format="yuv420p", dst_colorspace=_SWS[matrix], dst_color_range=_LIMITED_RANGE)
        image.colorspace, image.color_range = _TAGS[matrix], _LIMITED_RANGE
    elif image.format.name not in ("yuv420p", "yuvj420p"):
        image = image.reformat(format="yuv420p")
    elif image.width % 2 == 0 and image.height % 2 == 0:
        image.make_writable()
    return _even(image)


def _even(image: Any) -> Any:
    """The frame with its last row and column repeated where their number is odd: 4:2:0 H.264 has whole blocks only.
    The chroma planes are the same; they cover the added row and column already."""
    if image.width % 2 == 0 and image.height % 2 == 0:
        return image
    width, height = 2 * math.ceil(image.width / 2), 2 * math.ceil(image.height / 2)
    even = av.VideoFrame(width, height, image.format.name)
    for target, source, rows, columns in zip(
        planes_of(even),
        planes_of(image),
        (image.height, height // 2, height // 2),
        (image.width, width // 2, width // 2),
        strict=True,
    ):
        target[:rows, :columns] = source[:rows, :columns]
    luma = planes_of(even)[0]
    luma[:, width - 1] = luma[:, image.width - 1]
    luma[height - 1, :] = luma[image.height - 1, :]
    for name in _KEPT_COLOUR:
        setattr(even, name, getattr(image, name))
    return even
