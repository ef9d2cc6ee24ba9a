"""Builders of small clips: a white square that moves on black, in any container and codec that PyAV can write.

The `fake` backend finds the square, so that a clip determines what the engine must find.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tests.scheduling import ordinary_priority

SIDE = 20
SAMPLE_RATE = 44_100

# Saturated colours, none bright in all three channels: the fake backend finds nothing in them.
PATCHES = ((200, 30, 30), (30, 160, 30), (30, 30, 200), (160, 160, 20), (20, 130, 130), (90, 90, 90))


@dataclass(frozen=True)
class Clip:
    """A clip that was written. `times` are the requested presentation times in seconds."""

    path: Path
    size_wh: tuple[int, int]
    frames: int
    times: tuple[Fraction, ...]


@dataclass(frozen=True)
class Shot:
    """The properties of a clip. All have defaults; a test names those that matter to it."""

    suffix: str = ".mp4"
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    size_wh: tuple[int, int] = (96, 64)
    frames: int = 16
    rate: Fraction | int = 25
    pts: Sequence[int] | None = None
    """One per frame, in ticks of `time_base`. None: regular, at `rate`."""
    time_base: Fraction | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    colour: Mapping[str, int] = field(default_factory=dict)
    """color_range, colorspace, color_primaries, color_trc."""
    matrix: tuple[int, int, int, int] | None = None
    """Display matrix a, b, c, d: the stored point (x, y) is shown at (a x + c y, b x + d y). `size_wh` is as shown."""
    aspect: Fraction | None = None
    audio: str | None = None
    audio_start_s: float = 0.0
    cover: bool = False
    second_video: bool = False
    patches: bool = False
    muxer: str | None = None
    muxer_options: Mapping[str, str] = field(default_factory=dict)


def box_of(index: int, size_wh: tuple[int, int] = (96, 64)) -> tuple[int, int, int, int]:
    """Return the position of the square in frame `index`: x1 y1 x2 y2. It moves back and forth by one or two pixels per
    frame."""
    x = 8 + _fold(2 * index, size_wh[0] - SIDE - 16)
    y = 8 + _fold(index, size_wh[1] - SIDE - 16)
    return x, y, x + SIDE, y + SIDE


def picture(index: int, size_wh: tuple[int, int], *, patches: bool = False) -> NDArray[np.uint8]:
    """Return frame `index` as (H, W, 3) uint8 RGB, as it is shown."""
    width, height = size_wh
    image = np.zeros((height, width, 3), np.uint8)
    if patches:
        for i, colour in enumerate(PATCHES):
            image[:, i * width // len(PATCHES) : (i + 1) * width // len(PATCHES)] = colour
    else:
        x1, y1, x2, y2 = box_of(index, size_wh)
        image[y1:y2, x1:x2] = 255
    return image


def stored(shown: NDArray[np.uint8], matrix: tuple[int, int, int, int] | None) -> NDArray[np.uint8]:
    """Return the image that a display matrix turns into `shown`, point by point."""
    if matrix is None:
        return shown
    a, b, c, d = matrix
    height, width = shown.shape[:2]
    rows, columns = (height, width) if a else (width, height)
    y, x = np.mgrid[:rows, :columns]
    shown_x, shown_y = a * x + c * y, b * x + d * y
    return np.ascontiguousarray(shown[shown_y - shown_y.min(), shown_x - shown_x.min()])


def make(folder: Path, shot: Shot, name: str = "clip") -> Clip:
    """Write a clip."""
    path = folder / f"{name}{shot.suffix}"
    rate = Fraction(shot.rate)
    time_base = shot.time_base or 1 / rate
    pts = list(shot.pts) if shot.pts is not None else [round(i / rate / time_base) for i in range(shot.frames)]
    with ordinary_priority(), av.open(str(path), "w", format=shot.muxer, options=dict(shot.muxer_options)) as container:
        cover = _add_cover(container) if shot.cover else None
        stream = _add_video(container, shot, rate, time_base)
        second = container.add_stream("libx264", rate=rate) if shot.second_video else None
        if second is not None:
            second.width, second.height, second.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream(shot.audio, rate=SAMPLE_RATE, layout="mono") if shot.audio else None
        if cover is not None:
            cover_frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 255, np.uint8), "rgb24")
            container.mux(cover.encode(cover_frame.reformat(format="yuvj420p")))
            container.mux(cover.encode(None))
        for index, tick in enumerate(pts):
            container.mux(stream.encode(_frame(index, shot, tick, time_base)))
            if second is not None:
                black = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24").reformat(format="yuv420p")
                black.pts, black.time_base = tick, time_base
                container.mux(second.encode(black))
        container.mux(stream.encode(None))
        if second is not None:
            container.mux(second.encode(None))
        if sound is not None:
            _write_sound(container, sound, float(len(pts) / rate), shot.audio_start_s)
    return Clip(path, shot.size_wh, len(pts), tuple(tick * time_base for tick in pts))


def joined(path: Path, *clips: Clip) -> Clip:
    """Concatenate the bytes of several clips, as `cat` does. The times of the result are not known beforehand."""
    path.write_bytes(b"".join(clip.path.read_bytes() for clip in clips))
    return Clip(path, clips[0].size_wh, sum(clip.frames for clip in clips), ())


def _add_video(container: Any, shot: Shot, rate: Fraction, time_base: Fraction) -> Any:
    stream = container.add_stream(shot.codec, rate=rate, options=dict(shot.options))
    height, width = stored(picture(0, shot.size_wh), shot.matrix).shape[:2]
    stream.width, stream.height, stream.pix_fmt = width, height, shot.pix_fmt
    stream.codec_context.time_base = time_base
    stream.codec_context.thread_count = 1
    if shot.aspect is not None:
        stream.codec_context.sample_aspect_ratio = shot.aspect
    for key, value in shot.colour.items():
        setattr(stream.codec_context, key, value)
    if shot.matrix is not None:
        a, b, c, d = (65_536 * value for value in shot.matrix)
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
    return stream


def _add_cover(container: Any) -> Any:
    cover = container.add_stream("mjpeg", rate=1)
    cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
    cover.disposition = av.stream.Disposition.attached_pic.value
    return cover


def _frame(index: int, shot: Shot, tick: int, time_base: Fraction) -> Any:
    shown = stored(picture(index, shot.size_wh, patches=shot.patches), shot.matrix)
    source = av.VideoFrame.from_ndarray(shown, "rgb24")
    full = shot.colour.get("color_range") == 2 or shot.pix_fmt.startswith("yuvj")
    frame = source.reformat(
        format=shot.pix_fmt,
        dst_colorspace=shot.colour.get("colorspace"),
        dst_color_range=2 if full else 1,
    )
    for key, value in shot.colour.items():
        setattr(frame, key, value)
    frame.pts, frame.time_base = tick, time_base
    return frame


def _write_sound(container: Any, sound: Any, seconds: float, start_s: float) -> None:
    formats = sound.codec_context.codec.audio_formats or ()
    floats = any(item.name == "fltp" for item in formats)
    size = 1152 if "mp" in sound.codec_context.codec.name else 1024
    for start in range(0, int(seconds * SAMPLE_RATE), size):
        wave = 0.3 * np.sin(2 * np.pi * 440 / SAMPLE_RATE * np.arange(start, start + size))
        samples = wave.astype(np.float32)[None] if floats else (wave * 32767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, "fltp" if floats else "s16", "mono")
        frame.sample_rate = SAMPLE_RATE
        frame.pts, frame.time_base = start + round(start_s * SAMPLE_RATE), Fraction(1, SAMPLE_RATE)
        container.mux(sound.encode(frame))
    container.mux(sound.encode(None))


def _fold(distance: int, room: int) -> int:
    """Return the position after `distance` steps between two ends, at which the direction is reversed."""
    return room - abs(distance % (2 * room) - room) if room > 0 else 0


if __name__ == "__main__":  # `python -m tests.e2e.clips FOLDER` writes one clip there
    given = Path(sys.argv[1])
    given.mkdir(parents=True, exist_ok=True)
    make(given, Shot())
