"""Decode: packets become frames that are upright, in a pixel format the kernels read, with strictly growing pts."""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import av.error

from engine.errors import DecodeError, OverLimit
from engine.media.references import has_parameter_sets, kept_by_head, kept_by_packet
from engine.media.side_data import display_matrix
from engine.text.counted import counted
from engine_ext.letterbox import PLANES

# Pixel formats that the letterbox kernel reads as they are; everything else is converted.
PIXEL_FORMATS = frozenset(PLANES)

# More pixels than this and one thread can't decode in time for the inference of a GPU, or of a small model.
_THREADED_PIXELS = 1920 * 1088

# Packets in decoding order that a frame may still wait for; more are the remains of frames that were never decoded.
_DEEPEST_REORDERING = 32

# Packets remembered until the first frame comes.
_MAX_WAITING = 100_000
# Images as large as is allowed that a decoder may keep for reference: what H.265 allows at 8K. No codec keeps more
# than 16.
_LARGEST_KEPT, _MAX_KEPT_ANYWHERE = 6, 16

_MARGIN_PIXELS = 1 << 16

_SLACK = 0.0175

# Signs of a display matrix's a, b, c, d (the stored point (x, y) is shown at (a x + c y, b x + d y)) -> the filters
# that do it. The eight ways an image can lie; any other angle is left as stored.
# (vflip only turns the order of the rows in memory; the kernels read downwards.)
_COPY: tuple[str, str | None] = ("copy", None)
_UPRIGHT: dict[tuple[int, ...], list[tuple[str, str | None]]] = {
    (0, -1, 1, 0): [("transpose", "cclock")],
    (0, 1, -1, 0): [("transpose", "clock")],
    (0, 1, 1, 0): [("transpose", "cclock_flip")],
    (0, -1, -1, 0): [("transpose", "clock_flip")],
    (-1, 0, 0, -1): [("hflip", None), ("vflip", None)],
    (-1, 0, 0, 1): [("hflip", None)],
    (1, 0, 0, -1): [("vflip", None), _COPY],
}


class Decoder:
    """Decodes one stream. Its state ends with it.

    `problems` collects the faults, one phrase per kind, for the result's status. `lost_at_start` counts frames before
    the first returned one, if a recording begins in the middle of a group of pictures; `leading` counts those before
    the key frame at the start of the file, which refer to earlier frames and are not meant to be shown. `at_key_frame`
    is about the last returned frame. `repaired` says that a time was made up, so that not every pts is the container's.
    """

    def __init__(
        self,
        time_base: Fraction,
        frame_rate: Fraction,
        *,
        threads: int = 1,
        max_pixels: int | None = None,
        max_frame_bytes: int | None = None,
    ) -> None:
        """`decode` and `flush` raise OverLimit for an image of more than `max_pixels` or `max_frame_bytes`."""
        self.time_base = time_base
        self.packets = 0
        self.at_key_frame = False
        self.repaired = False
        self._max_pixels = max_pixels
        self._max_frame_bytes = max_frame_bytes
        self.discarded = 0
        self.lost_at_start = self.leading = 0
        self._first_packet_pts: int | None = None
        self._waiting: list[int | None] | None = []  # pts of packets read before the first frame came
        self._hidden = 0  # of them, not to be shown
        self._key_read = self.began_at_key = False
        self.errors = 0
        self.corrupt = 0
        self.holes = 0  # packets that the demuxer marked: what belongs to them, or came just behind, is missing
        self._tick = max(1, round(1 / frame_rate / time_base)) if frame_rate > 0 else 1
        self._threads = threads
        self._context: Any = None
        self._last_pts: int | None = None
        # AVI stores no presentation times: FFmpeg makes them up in decoding order, so that with B-frames a frame comes
        # out with another's. The set of them is right; the smallest one outstanding belongs to the next frame shown.
        self._pts_of_packets: list[int] | None = None
        # Without B-frames the place in the file is the time. FFmpeg allows H.264 a frame of delay all the same.
        self._pts_is_dts = False
        self._may_grow = False  # whether packets may bring parameter sets, which say how many images are to be kept
        self._kept: int | None = None  # the most images that a parameter set so far asks to be kept
        self._checked: tuple[str, int, int] | None = None  # format and size of the previous image
        self._decoded_as: tuple[str | None, int, int] | None = None
        self._offset = 0
        self._restart = False
        self._graph: tuple[tuple[Any, ...], Any] | None = None

    def attach(self, stream: av.VideoStream) -> None:
        """Decode from `stream` from now on: at the start, and after a live source was reconnected."""
        self._context = stream.codec_context
        if self._context is None:
            raise DecodeError("has a codec that this build of FFmpeg can't decode")
        if "avi" in stream.container.format.name.split(","):
            self._pts_of_packets = []
            self._pts_is_dts = not self._context.has_b_frames
        pixels = self._context.width * self._context.height
        self._kept = kept_by_head(self._context.name, self._context.extradata)
        self._may_grow = self._max_frame_bytes is not None and has_parameter_sets(self._context.name)
        self._check_kept()
        self._context.thread_count = self._threads if pixels > _THREADED_PIXELS else 1
        if self._max_frame_bytes is not None:
            one_by_one = {"max_frame_delay": "1"} if self._large and self._context.name == "libdav1d" else {}
            self._context.options = {**self._context.options, **never_begun(self._max_frame_bytes), **one_by_one}

    def resume_after(self, gap_s: float) -> None:
        """Continue after a break: the next frame follows the last after `gap_s` seconds, whatever its own clock
        says."""
        gap = max(self._tick, int(gap_s / self.time_base))
        self._offset = 0 if self._last_pts is None else self._last_pts + gap
        self._restart = self._last_pts is not None

    def decode(self, packet: av.Packet) -> Iterator[tuple[av.VideoFrame, int, int]]:
        """Yield (image, pts, duration) of each frame that the packet completes. Damage is counted, not raised."""
        self.packets += 1
        self.discarded += bool(packet.is_discard)
        self.holes += bool(packet.is_corrupt)
        pending = self._pts_of_packets
        made_up = packet.dts if self._pts_is_dts else packet.pts
        self._note_start(packet, made_up)
        if pending is not None and made_up is not None and (self._key_read or self._waiting is None):
            heapq.heappush(pending, made_up)
            if len(pending) > _DEEPEST_REORDERING:
                heapq.heappop(pending)
        if self._may_grow:
            self._note_kept(packet)
        try:
            images = self._context.decode(packet)
        except av.error.FFmpegError:
            self.errors += 1
            try:  # perhaps FFmpeg refused to begin the image, for its size
                check_frame_bytes(
                    self._context.pix_fmt, self._context.width, self._context.height, self._max_frame_bytes
                )
            except OverLimit:
                yield from self.flush()  # what came before it
                raise
            return
        yield from self._finish(images)
        try:
            self._check_what_is_decoded()
        except OverLimit:
            yield from self.flush()  # what came before it
            raise

    def flush(self) -> Iterator[tuple[av.VideoFrame, int, int]]:
        """Yield the frames that the decoder still holds at the end of the stream."""
        try:
            images = self._context.decode(None)
        except av.error.EOFError:
            return
        except av.error.FFmpegError:
            self.errors += 1
            return
        yield from self._finish(images)

    def drain(self) -> Iterator[tuple[av.VideoFrame, int, int]]:
        """Yield the frames that the decoder still holds, and be ready to begin at an IDR picture."""
        yield from self.flush()
        self._context.flush_buffers()

    def pass_over(self, pts: int, *, at_key_frame: bool) -> None:
        """Take note of a frame that need not be decoded."""
        self.packets += 1
        self._last_pts, self.at_key_frame = pts, at_key_frame

    def forgive(self) -> None:
        """Forget the faults so far: after a seek, frames whose references were not decoded don't count."""
        self.errors = self.corrupt = self.holes = self.discarded = self.lost_at_start = self.leading = 0
        self.repaired = False

    @property
    def clean(self) -> bool:
        """Whether all frames so far are undamaged and at the container's times."""
        lost = self.lost_at_start or self.leading
        return not (self.errors or self.corrupt or self.discarded or self.repaired or lost)

    @property
    def whole(self) -> bool:
        """Whether all packets so far were decoded without a fault, and none is missing."""
        return self.clean and not self.holes

    def problems(self) -> list[str]:
        """Return what was damaged, in words."""
        found = []
        if self.errors and self._max_frame_bytes is not None and self._context is not None and not self._context.width:
            found.append(f"images with no size, or with more than max_frame_bytes = {self._max_frame_bytes:,}")
        if self.errors:
            found.append(counted(self.errors, "damaged packet"))
        if self.corrupt:
            found.append(counted(self.corrupt, "damaged frame"))
        return found

    def _finish(self, images: list[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, int, int]]:
        while images:
            image = images.pop(0)  # at the end there are several; none is held longer than whoever takes it holds it
            kind = image.format.name, image.width, image.height
            if kind != self._checked:
                check_pixels(*kind[1:], self._max_pixels)
                check_frame_bytes(*kind, self._max_frame_bytes)
                self._checked = kind
            self.corrupt += bool(image.is_corrupt)
            self.at_key_frame = bool(image.key_frame)
            pts, duration = self._timestamp(image)
            if self._waiting is not None:
                self._tell_start(pts)
            yield readable(self._upright(image)), pts, duration

    def _note_start(self, packet: av.Packet, pts: int | None) -> None:
        """Remember the packets before the first frame: frames that should have been shown before it are lost."""
        if self._waiting is None:
            return
        if self.packets == 1:
            self.began_at_key, self._first_packet_pts = bool(packet.is_keyframe), pts
        self._key_read |= bool(packet.is_keyframe)
        if packet.is_discard:
            self._hidden += not self.began_at_key
        elif pts is not None or not self._key_read:
            self._waiting.append(pts)
        del self._waiting[:-_MAX_WAITING]

    def _tell_start(self, pts: int) -> None:
        """Count the frames lost before the first one. Without times, those are the ones before the first key frame."""
        assert self._waiting is not None
        timed = [waiting for waiting in self._waiting if waiting is not None]
        untimed = len(self._waiting) - len(timed) if self._key_read else 0
        early = [waiting for waiting in timed if waiting < pts]
        if self.began_at_key and self._first_packet_pts is not None:
            self.leading = sum(waiting < self._first_packet_pts for waiting in early)
        lost = len(early) - self.leading + untimed
        self.lost_at_start = lost + self._hidden if lost else 0
        self._waiting = None

    @property
    def _picture_bytes(self) -> int:
        context = self._context
        return frame_bytes(context.pix_fmt, context.width, context.height)

    @property
    def _large(self) -> bool:
        limit = self._max_frame_bytes
        return limit is not None and self._picture_bytes * _MAX_KEPT_ANYWHERE > limit * _LARGEST_KEPT

    def _note_kept(self, packet: av.Packet) -> None:
        """Read how many images must be kept for reference, even while they are small, because the parameter set of
        larger ones comes first. Raises OverLimit as `_check_kept` does."""
        name, head = self._context.name, self._context.extradata
        found = [kept_by_packet(name, head, packet)]
        has_any = next(packet.iter_sidedata(), None) is not None  # to ask for one kind takes ten times as long
        if has_any and packet.has_sidedata("new_extradata"):
            found.append(kept_by_head(name, bytes(packet.get_sidedata("new_extradata"))))
        for kept in found:
            if kept is not None:
                self._kept = max(kept, self._kept or 0)
                self._check_kept()

    def _check_what_is_decoded(self) -> None:
        """Raise OverLimit if the last packet made the images too large. The decoder returns them only once it has as
        many as it may reorder."""
        now = self._context.pix_fmt, self._context.width, self._context.height
        if now != self._decoded_as:
            self._decoded_as = now
            check_frame_bytes(*now, self._max_frame_bytes)
            self._check_kept()

    def _check_kept(self) -> None:
        """Raise OverLimit if the decoder would keep too many large images: a few bytes of input could take a
        gigabyte."""
        kept = self._kept
        if not self._large or kept is None or self._max_frame_bytes is None:
            return
        if (total := kept * self._picture_bytes) > _LARGEST_KEPT * self._max_frame_bytes:
            size = f"{self._context.width}x{self._context.height}"
            raise OverLimit(
                f"keeps {kept} pictures of {size} for reference, {total:,} bytes, "
                f"more than {_LARGEST_KEPT} times max_frame_bytes = {self._max_frame_bytes:,}"
            )

    def _timestamp(self, image: av.VideoFrame) -> tuple[int, int]:
        """Return the container's own pts; if it is missing or does not increase, the smallest repair."""
        duration = image.duration or self._tick
        pts = heapq.heappop(self._pts_of_packets) if self._pts_of_packets else image.pts
        time_base = image.time_base
        if pts is not None and time_base is not None and time_base != self.time_base:
            pts, self.repaired = round(pts * time_base / self.time_base), True
        if self._restart and pts is not None:
            self._offset, self._restart = self._offset - pts, False
        self.repaired |= pts is None or self._pts_of_packets is not None
        if pts is None:
            pts = 0 if self._last_pts is None else self._last_pts + self._tick
            if self._restart:  # over RTSP the first frame often has none; the next one follows it, not the gap
                pts, self._offset = self._offset, self._offset + self._tick
        else:
            pts += self._offset
        if self._last_pts is not None and pts <= self._last_pts:
            pts, self.repaired = self._last_pts + 1, True
        self._last_pts = pts
        return pts, duration

    def _upright(self, image: av.VideoFrame) -> av.VideoFrame:
        """Rotate and mirror a frame by its display matrix, as a player does, with its first row first."""
        matrix = display_matrix(image)
        filters = [] if matrix is None else _UPRIGHT.get(_signs(matrix), [])
        if not filters and image.planes[0].line_size < 0:  # stored from the last row up; the kernels read downwards
            filters = [_COPY]
        if not filters:
            return image
        key = (image.width, image.height, image.format.name, *filters)
        if self._graph is None or self._graph[0] != key:
            graph = av.filter.Graph()
            source = graph.add_buffer(
                width=image.width, height=image.height, format=image.format, time_base=self.time_base
            )
            graph.link_nodes(source, *(graph.add(*call) for call in filters), graph.add("buffersink")).configure()
            self._graph = (key, graph)
        graph = self._graph[1]
        image.time_base = self.time_base
        graph.push(image)
        turned = graph.pull()
        turned.colorspace, turned.color_range = image.colorspace, image.color_range
        return turned


def check_pixels(width: int, height: int, max_pixels: int | None) -> None:
    """Raise OverLimit for an image of more than `max_pixels`."""
    if max_pixels is not None and width * height > max_pixels:
        raise OverLimit(
            f"has an image of {width}x{height} = {width * height:,} pixels, more than max_pixels = {max_pixels:,}"
        )


def never_begun(max_frame_bytes: int) -> dict[str, str]:
    """Return FFmpeg's option that refuses images before they are allocated. A pixel takes at least a byte; decoders
    also count their margins."""
    return {"max_pixels": str(max_frame_bytes + max_frame_bytes // 16 + _MARGIN_PIXELS)}


@lru_cache
def frame_bytes(pixel_format: str | None, width: int, height: int) -> int:
    """Return the bytes of a decoded image without row padding. For an unknown format: one per pixel, the minimum."""
    if pixel_format is None:
        return width * height
    parts = av.VideoFormat(pixel_format, width, height).components
    return sum(part.width * part.height * ((part.bits + 7) // 8) for part in parts)


def check_frame_bytes(pixel_format: str | None, width: int, height: int, max_frame_bytes: int | None) -> None:
    """Raise OverLimit for an image of more than `max_frame_bytes`."""
    if max_frame_bytes is not None and (size := frame_bytes(pixel_format, width, height)) > max_frame_bytes:
        raise OverLimit(
            f"has an image of {width}x{height} in {size:,} bytes, more than max_frame_bytes = {max_frame_bytes:,}"
        )


def _signs(matrix: bytes) -> tuple[int, ...]:
    """Return a, b, c, d of a display matrix (nine int32, 16.16 fixed point) as -1, 0 or 1; () if it is not a quarter
    turn. One degree of tolerance, as in FFmpeg's own program."""
    a, b, _, c, d = struct.unpack_from("=5i", matrix)
    largest = max(abs(a), abs(b), abs(c), abs(d))
    values = [value / largest if largest else 0.0 for value in (a, b, c, d)]
    signs = tuple(round(value) for value in values)
    return signs if all(abs(value - sign) < _SLACK for value, sign in zip(values, signs, strict=True)) else ()


def readable(image: av.VideoFrame) -> av.VideoFrame:
    """Return the frame in one of PIXEL_FORMATS: itself, or converted (10 bits, 4:2:2, 4:4:4, RGBA and the like)."""
    pixel_format = image.format
    if pixel_format.name in PIXEL_FORMATS:
        return image
    if pixel_format.is_rgb or pixel_format.has_palette:
        return image.reformat(format="rgb24")
    if len(pixel_format.components) <= 2:
        return image.reformat(format="gray")
    full = image.color_range == 2 or pixel_format.name.startswith("yuvj")
    return image.reformat(format="yuvj420p" if full else "yuv420p")
