"""Extracts frames of a video as JPEG files, numbered like its rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av

from engine.config import EngineConfig
from engine.files.opened import OpenedFile
from engine.inference.model import available_cores
from engine.pipeline.again import frames_again
from engine.pipeline.reader import ReaderSettings

# FFmpeg's scale from 1 (best) to 31; at 2 a detector sees the same.
_QUALITY = 2


def cut_images(
    file: OpenedFile,
    config: EngineConfig,
    name_of: Callable[[int], Path | None],
    tick: Callable[[], None] = lambda: None,
) -> int:
    """Write the frames for which `name_of`, given the number in the rows, returns a path, and return how many; frames
    outside the part that `config` examined are left out. Raises VideoError and OSError."""
    settings = ReaderSettings(
        decode_threads=available_cores(),
        start_s=config.start_s,
        end_s=config.part_ends_s,
        max_pixels=config.max_pixels,
        max_frame_bytes=config.max_frame_bytes,
    )
    count = 0
    for frame in frames_again(file, settings):
        target = name_of(frame.index)
        if target is not None and frame.image is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(jpeg(frame.image))
            count += 1
        tick()
    return count


def jpeg(image: av.VideoFrame) -> bytes:
    """Encode a frame as JPEG."""
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height = image.width, image.height
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = image.time_base or 1
    encoder.options = {"qmin": str(_QUALITY), "qmax": str(_QUALITY)}
    full = image.reformat(format="yuvj420p", dst_color_range=2)
    full.pts, full.pict_type = 0, 0
    return b"".join(bytes(packet) for packet in (*encoder.encode(full), *encoder.encode(None)))
