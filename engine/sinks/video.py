"""`<stem>.mp4`: the source's frames with boxes, on the source's own timeline, with its audio copied.

Boxes are drawn on the planes of the decoded frame, without a detour through RGB. Every frame keeps its pts and
duration, so a variable frame rate stays variable.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

import av
import av.error
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from engine.errors import CheckpointMismatch, SinkError
from engine.media.planes import colour_of, planes_of
from engine.records import Detections, EndOfStream, Frame, StreamInfo, Tracks
from engine.sinks.base import (
    DrawnState,
    FileSink,
    OutputState,
    State,
    discard,
    fresh,
    part_path,
    publish,
    reopened,
    spare_path,
)
from engine.sinks.blur import BlurSettings, BlurWindow, hide
from engine.sinks.mux import (
    MUX_ERRORS,
    audio_problem,
    encoder_rate,
    movie_timescale,
    mux_into,
    new_encoder,
    ratio,
    sink_error,
)
from engine.sinks.overlay import Overlay, OverlayStyle
from engine.sinks.packet_log import AUDIO, VIDEO, LogHeader, PacketLog, read_header

if TYPE_CHECKING:
    from engine.config import EngineConfig
    from engine.sinks.scene_overlay import SceneOverlay

_LIMITED_RANGE, _FULL_RANGE = 1, 2
_SWS = {"bt601": 5, "bt709": 1, "bt2020": 9}  # swscale's own numbers, not those of the tags
_TAGS = {"bt601": 6, "bt709": 1}
_HD_ROWS = 720
_KEPT_COLOUR = ("color_primaries", "color_trc", "colorspace", "color_range")


class AnnotatedVideo(FileSink):
    """Writes one annotated video. Its size is that of the first frame.

    Encoded packets go to a log, `<path>.part`, from which `complete` makes the MP4. The sound read before a frame
    precedes the frame's packet, so the log up to that packet is the video up to that frame.
    """

    kind = "video"

    def __init__(
        self,
        path: Path,
        class_names: Sequence[str],
        *,
        crf: int,
        preset: str,
        threads: int,
        style: OverlayStyle | None = None,
        blur: BlurSettings | None = None,
        scene: SceneOverlay | None = None,
    ) -> None:
        """With `blur`, frames are held for a while before they are encoded (engine/sinks/blur.py)."""
        self._part = part_path(path)
        self._muxed = spare_path(path)
        self._names = class_names
        self._overlay = Overlay(style or OverlayStyle(), class_names, scene)
        self._drawn: dict[int, DrawnState] = {}  # of marked frames: what was drawn up to there
        self._options = {"crf": str(crf), "preset": preset, "bf": "0"}
        self._threads = threads
        self._info: StreamInfo | None = None
        self._audio: av.AudioStream | None = None
        self._log: PacketLog | None = None
        self._header: LogHeader | None = None
        self._encoder: tuple[OutputContainer, VideoStream] | None = None
        self._encoding: deque[tuple[int, Iterable[av.Packet]]] = deque()  # duration and sound of frames in the encoder
        self._taken = self._given = self._logged = 0  # frames, from the tracker, into the encoder and out of it
        self._blur = blur
        self._window: BlurWindow[tuple[av.VideoFrame, Tracks]] | None = BlurWindow(blur.hold_s) if blur else None
        self._ends: dict[int, int | None] = {}  # marked frame -> size of the log behind its packet, once it is there
        self.notes: list[str] = []

    @classmethod
    def of(
        cls,
        config: EngineConfig,
        path: Path,
        class_names: Sequence[str],
        *,
        threads: int,
        scene: SceneOverlay | None,
        **more: Any,
    ) -> Self:
        """Return the sink for a video as the configuration asks for it. `more` are arguments of a subclass."""
        return cls(
            path,
            class_names,
            crf=config.video_crf,
            preset=config.video_preset,
            threads=threads,
            style=OverlayStyle.of(config),
            blur=BlurSettings.of(config),
            scene=scene,
            **more,
        )

    @property
    def scene(self) -> SceneOverlay | None:
        """What draws the video's scene; None if none is drawn."""
        return self._overlay.scene

    def grow_in(self, folder: Path) -> None:
        self._part, self._muxed = folder / self._part.name, folder / self._muxed.name

    def open(self, info: StreamInfo) -> None:
        """Open the log. The audio format is read from the input, which is already open."""
        self._begin(info)
        self._header = None
        self._overlay.restore({})
        try:
            self._log = PacketLog(fresh(self._part))
        except OSError as error:
            raise self._error(error) from error

    def resume(self, info: StreamInfo, state: OutputState, part: Path) -> None:
        if "apart" in state:
            raise CheckpointMismatch("the annotated video was drawn in pieces before")
        self._begin(info)
        try:
            self._log = PacketLog(reopened(self._part, state["offset"], part))
            self._header = read_header(self._part)
        except ValueError as error:
            raise CheckpointMismatch(f"{self._part.name} is damaged: {error}") from error
        except OSError as error:
            raise self._error(error) from error
        try:
            self._encoder = new_encoder(self._header, self._threads)
        except (av.error.FFmpegError, ValueError) as error:
            raise CheckpointMismatch(f"{self._part.name} is damaged: {error}") from error
        # One head describes all packets of an MP4, those of the encoder before and those of this one.
        if self.extradata() != self._header["extradata"]:
            raise CheckpointMismatch("the encoder of the annotated video has changed since the checkpoint")
        try:
            self._overlay.restore(state)
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            raise CheckpointMismatch("what was drawn on the annotated video is damaged") from error
        if self._window is not None:
            try:
                self._window.restore(state.get("blur", ()))
            except (KeyError, TypeError, ValueError) as error:
                raise CheckpointMismatch(f"what was blurred before the checkpoint is not known: {error}") from error

    def write(self, tracks: Tracks) -> None:
        try:
            image = drawable(tracks.frame.image)
            if self._encoder is None:
                self._configure(image, tracks.frame)
            self._taken += 1
            if self._window is None:
                self._encode(image, tracks)
            else:
                size = sum(plane.buffer_size for plane in image.planes)
                hidden = self._hidden(tracks)
                for (held, its_tracks), boxes in self._window.push(
                    (image, replace(tracks, detections=None)), tracks.frame.time_s, size, *hidden
                ):
                    self._encode_hidden(held, its_tracks, boxes)
        except MUX_ERRORS as error:
            raise self._error(error) from error

    def _encode(self, image: av.VideoFrame, tracks: Tracks) -> None:
        frame = tracks.frame
        assert self._encoder is not None
        assert self._header is not None
        if self._blur is None or self._blur.boxes:
            self._overlay.draw(image, tracks)
        if _look(image) != tuple(self._header["look"]):
            image = self._fitted(image)
        image.pts, image.time_base = frame.pts + self._header["shift"], frame.time_base
        image.pict_type = 0
        self._encoding.append((frame.duration, frame.audio))
        self._given += 1
        if self._given in self._ends:  # marked while it was held
            self._drawn[self._given] = self._overlay.state()
        self._keep(self._encoder[1].encode(image))

    def _encode_hidden(self, image: av.VideoFrame, tracks: Tracks, boxes: NDArray[np.float64]) -> None:
        assert self._blur is not None
        hide(image, boxes, self._blur)
        self._encode(image, tracks)

    def _hidden(
        self, tracks: Tracks
    ) -> tuple[list[tuple[int, NDArray[np.float64]]], NDArray[np.float64], NDArray[np.float64]]:
        """Return what must be hidden in a frame, for the configured classes: tracks, all detections, and those of them
        to follow."""
        assert self._blur is not None
        classes, conf = self._blur.classes, self._blur.conf
        rows = zip(tracks.track_ids.tolist(), tracks.class_ids.tolist(), tracks.boxes_xyxy, strict=True)
        seen = [(track_id, box) for track_id, class_id, box in rows if self._names[class_id] in classes]
        found = tracks.detections.above(conf) if tracks.detections is not None else Detections()
        kept = np.array([self._names[class_id] in classes for class_id in found.class_ids.tolist()], np.bool_)
        boxes = found.boxes_xyxy.astype(np.float64).reshape(-1, 4)
        return seen, boxes[kept], boxes[kept & (found.scores >= self._blur.followed_conf)]

    @property
    def offset_s(self) -> float | None:
        """The source's time at which the video begins; None before its first frame."""
        if self._header is None:
            return None
        return float(-self._header["shift"] * Fraction(*self._header["time_base"]))

    def mark(self) -> State:
        number = self._taken
        # The mark before still waits in the encoder: slow frames, or a slow preset.
        if any(size is None and marked <= self._given for marked, size in self._ends.items()):
            self.drain()
            assert self._header is not None
            try:
                self._encoder = new_encoder(self._header, self._threads)
            except MUX_ERRORS as error:
                raise self._error(error) from error
        self._ends[number] = self._log.size if self._logged == number and self._log is not None else None
        blurred = None if self._window is None else self._window.state()
        if self._given == number:
            self._drawn[number] = self._overlay.state()

        def state() -> OutputState | None:
            if (size := self._ends[number]) is None or self._log is None:
                return None
            try:
                self._log.sync()
            except OSError as error:
                raise self._error(error) from error
            del self._ends[number]
            made: OutputState = {"offset": size}
            made.update(cast("OutputState", self._drawn.pop(number, {})))
            if blurred is not None:
                made["blur"] = blurred
            return made

        return state

    def drain(self) -> None:
        """Flush the encoder to the log. Frames for which it is not yet known what to hide are left out. Raises
        SinkError."""
        try:
            if self._encoder is not None:
                self._keep(self._encoder[1].encode(None))
                self._close_encoder()
        except MUX_ERRORS as error:
            raise self._error(error) from error

    def complete(self, end: EndOfStream) -> Path:
        """Make the MP4, still under another name. Raises SinkError."""
        try:
            for (image, tracks), boxes in self._window.flush() if self._window is not None else ():
                if self._encoder is None and self._header is not None:
                    self._encoder = new_encoder(self._header, self._threads)
                self._encode_hidden(image, tracks, boxes)
        except MUX_ERRORS as error:
            raise self._error(error) from error
        self.drain()
        try:
            assert self._log is not None
            self._keep_audio(end.audio)
            self._log.close()
            self.notes += mux_into(self._muxed, self._part, self._audio)
        except MUX_ERRORS as error:
            raise self._error(error) from error
        return self._muxed

    def commit(self, end: EndOfStream, path: Path) -> None:
        publish(self.complete(end), path)
        discard(self._part)

    def suspend(self) -> None:
        self._close_encoder()
        if self._log is not None:
            with contextlib.suppress(OSError):
                self._log.close()
        discard(self._muxed)

    def abort(self) -> None:
        self.suspend()
        discard(self._part)

    def _begin(self, info: StreamInfo) -> None:
        self._info = info
        problem = audio_problem(info.audio) if info.audio is not None else None
        self.notes = [problem] if problem else []
        self._audio = None if problem else info.audio

    def _configure(self, image: av.VideoFrame, frame: Frame) -> None:
        """Open the encoder and write the log's header, with everything needed to resume or to mux."""
        assert self._info is not None
        assert self._log is not None
        aspect, stored_wh = self._info.pixel_aspect, self._info.size_wh
        turned = image.width >= image.height if stored_wh[0] < stored_wh[1] else image.width < image.height
        header: LogHeader = {
            "rate": ratio(encoder_rate(self._info.frame_rate)),
            "time_base": ratio(self._info.time_base),
            "size_wh": [image.width, image.height],
            "format": image.format.name,
            "options": self._options,
            "gop": max(1, round(10 * float(self._info.frame_rate))),
            "colour": {name: int(getattr(image, name)) for name in _KEPT_COLOUR},
            "aspect": ratio(Fraction(1 / aspect if turned else aspect)),
            "movie_timescale": movie_timescale(self._info),
            "look": _look(image),
            "matrix": colour_of(image),
            # The video begins at 0, whatever the clock of its source says, and its sound moves with it.
            "shift": -frame.pts,
            "extradata": "",  # known once the encoder is open
        }
        self._header = header
        self._encoder = new_encoder(header, self._threads)
        header["extradata"] = self.extradata()
        self._log.header(header)

    def extradata(self) -> str:
        """Return the encoder's header as hexadecimal digits: it changes with the encoder's version and options."""
        assert self._encoder is not None
        return bytes(self._encoder[1].codec_context.extradata or b"").hex()

    def _close_encoder(self) -> None:
        if self._encoder is not None:
            with contextlib.suppress(*MUX_ERRORS):
                self._encoder[0].close()
            self._encoder = None

    def _fitted(self, image: av.VideoFrame) -> av.VideoFrame:
        """Convert a frame of another size or colour than the first to match the first."""
        assert self._header is not None
        width, height, pixel_format, *_ = self._header["look"]
        matrix, full_range = colour_of(image)
        to_matrix, to_full_range = self._header["matrix"]
        fitted = image.reformat(
            width=width,
            height=height,
            format=pixel_format,
            src_colorspace=_SWS[matrix],
            src_color_range=_FULL_RANGE if full_range else _LIMITED_RANGE,
            dst_colorspace=_SWS[to_matrix],
            dst_color_range=_FULL_RANGE if to_full_range else _LIMITED_RANGE,
        )
        return _even(fitted)

    def _keep(self, packets: list[av.Packet]) -> None:
        """Log the encoder's output: one packet per frame, in frame order, because there are no B-frames."""
        assert self._log is not None
        for packet in packets:
            # The encoder knows a frame's start only; the source's duration matters most for the last one.
            packet.duration, audio = self._encoding.popleft()
            self._keep_audio(audio)
            self._log.packet(VIDEO, packet)
            self._logged += 1
            if self._logged in self._ends:
                self._ends[self._logged] = self._log.size

    def _keep_audio(self, packets: Iterable[av.Packet]) -> None:
        assert self._log is not None
        for packet in packets:
            if self._audio is not None and packet.dts is not None:
                self._log.packet(AUDIO, packet)

    def _error(self, error: BaseException) -> SinkError:
        return sink_error(self._part.name, error)


def _look(image: av.VideoFrame) -> tuple[int, int, str, int, int]:
    """Return the properties that must stay the same from frame to frame."""
    return image.width, image.height, image.format.name, int(image.colorspace), int(image.color_range)


def drawable(image: av.VideoFrame) -> av.VideoFrame:
    """Return a private 4:2:0 copy of even size, because the decoder may still need the original."""
    if image.format.name in ("rgb24", "bgr24", "gray"):
        # Players read the matrix from the tag, and guess by the size if there is none. RGB's own tag (0) is no
        # matrix for YUV.
        matrix = "bt709" if image.height >= _HD_ROWS else "bt601"
        image = image.reformat(format="yuv420p", dst_colorspace=_SWS[matrix], dst_color_range=_LIMITED_RANGE)
        image.colorspace, image.color_range = _TAGS[matrix], _LIMITED_RANGE
    elif image.format.name not in ("yuv420p", "yuvj420p"):
        image = image.reformat(format="yuv420p")
    elif image.width % 2 == 0 and image.height % 2 == 0:
        image.make_writable()
    return _even(image)


def _even(image: av.VideoFrame) -> av.VideoFrame:
    """Repeat the last row or column of a frame if its number is odd, because 4:2:0 H.264 needs whole blocks. The chroma
    planes already cover the added row and column."""
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
