"""The frame without those who pass: the median of some frames that lie far apart."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from engine.config import EngineConfig
from engine.errors import VideoError
from engine.files.objects import open_input
from engine.media.source import Source
from engine.records import StreamInfo
from engine.stages.decode import Decoder, never_begun

_FRAMES = 15
_LONGEST_S = 20.0  # that one video may take: a still is not worth more
_PACKETS_OF_A_FRAME = 400  # from a key frame on, until the wanted one must have come
_FIRST_FRAMES = 200  # looked at if there is no way to go further on


@dataclass(frozen=True)
class Still:
    """An image as JPEG, and the size of the upright frames that it shows, which is not its own."""

    jpeg: bytes
    size_wh: tuple[int, int]


def median_still(
    videos: Sequence[Path],
    config: EngineConfig,
    *,
    roots: Sequence[Path] = (),
    max_width: int = 960,
    tick: Callable[[], None] = lambda: None,
) -> Still | None:
    """Return the median of frames of the first of `videos` that can be read; None if none can.

    Frames are taken from all over it, where it can be sought in, else from its beginning. The limits of `config` on
    images hold; with `roots`, only files below one of them are read. `tick` is called after each frame.
    """
    for path in videos:
        with contextlib.suppress(VideoError, av.error.FFmpegError, OSError, ValueError):
            frames: list[NDArray[np.uint8]] = []
            size_wh = (0, 0)
            for image in _frames(path, config, roots):
                if frames and (image.width, image.height) != size_wh:
                    continue
                size_wh = (image.width, image.height)
                frames.append(_scaled(image, max_width))
                tick()
            if frames:
                return Still(jpeg_of(np.median(np.stack(frames), axis=0).astype(np.uint8)), size_wh)
    return None


def jpeg_of(image_rgb: NDArray[np.uint8], quality: int = 4) -> bytes:
    """Return an (H, W, 3) uint8 image of even sides as JPEG. `quality` is FFmpeg's: 2 is best, 31 smallest."""
    height, width, _ = image_rgb.shape
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"qmin": str(quality), "qmax": str(quality), "huffman": "optimal"}
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_rgb), "rgb24")
    frame = frame.reformat(format="yuvj420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG)
    frame.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def _scaled(image: av.VideoFrame, max_width: int) -> NDArray[np.uint8]:
    """Return the frame as (H, W, 3) uint8, at most `max_width` wide and with even sides."""
    share = min(1.0, max_width / image.width)
    width, height = (max(2, round(side * share / 2) * 2) for side in (image.width, image.height))
    return np.asarray(image.reformat(width=width, height=height, format="rgb24").to_ndarray(), np.uint8)


def _frames(path: Path, config: EngineConfig, roots: Sequence[Path]) -> Iterator[av.VideoFrame]:
    """Give upright frames from all over a video. Raises VideoError and what FFmpeg raises."""
    until = time.monotonic() + _LONGEST_S
    with open_input(str(path), roots) as file:
        source = Source(str(path), options=never_begun(config.max_frame_bytes))
        source.file = file
        try:
            info = source.open()
            decoder = _decoder(source, info, config)
            given = 0
            if source.seekable and info.duration_s:
                seen: set[int | None] = set()
                for number in range(_FRAMES):
                    place = info.duration_s * (number + 0.5) / _FRAMES
                    image = _frame_at(source, info, decoder, place, seen, until)
                    if image is not None:
                        given += 1
                        yield image
                    if time.monotonic() > until:
                        return
            if given > 1:
                return
            info = source.open()
            decoder = _decoder(source, info, config)
            every = _FIRST_FRAMES // _FRAMES
            for number, image in enumerate(_decoded(source, decoder)):
                if number % every == 0:
                    yield image
                if number >= _FIRST_FRAMES or time.monotonic() > until:
                    return
        finally:
            source.close()


def _decoder(source: Source, info: StreamInfo, config: EngineConfig) -> Decoder:
    limits = {"max_pixels": config.max_pixels, "max_frame_bytes": config.max_frame_bytes}
    decoder = Decoder(info.time_base, info.frame_rate, **limits)
    decoder.attach(source.video)
    return decoder


def _frame_at(
    source: Source, info: StreamInfo, decoder: Decoder, seconds: float, seen: set[int | None], until: float
) -> av.VideoFrame | None:
    """Return the key frame before a moment, or where that was `seen` the frame of the moment itself; None if it
    can't be had."""
    try:
        wanted = (source.video.start_time or 0) + round(seconds / info.time_base)
        source.seek(wanted)
        source.video.codec_context.flush_buffers()
        for image in _decoded(source, decoder, _PACKETS_OF_A_FRAME):
            if image.pts not in seen and (image.key_frame or image.pts is None or image.pts >= wanted):
                seen.add(image.pts)
                return image
            if time.monotonic() > until:
                break
        return None
    except (VideoError, av.error.FFmpegError):
        return None


def _decoded(source: Source, decoder: Decoder, packets: int | None = None) -> Iterator[av.VideoFrame]:
    """Give the upright frames from where the source stands, of at most so many `packets`."""
    for number, packet in enumerate(source.packets()):
        for image, _, _ in decoder.decode(packet):
            yield image
        if packets is not None and number >= packets:
            return
    for image, _, _ in decoder.flush():
        yield image
