"""Reads media and results without the engine, to compare with its output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av


@dataclass(frozen=True)
class Media:
    """A file as read by PyAV alone. `pts` are sorted; `times` are exact seconds."""

    time_base: Fraction
    pts: list[int]
    last_duration_s: Fraction | None
    frames: list[Any]
    rotation: int
    aspect: Fraction
    audio: list[tuple[Fraction, bytes]]
    audio_time_base: Fraction | None

    @property
    def times(self) -> list[Fraction]:
        return [pts * self.time_base for pts in self.pts]


def read(path: str | Path, *, video: int = 0, keep: int = 1) -> Media:
    """Decodes the whole file. `video` counts moving video streams; `keep` is how many images are kept."""
    cover = av.stream.Disposition.attached_pic
    pts, images, sound = [], [], []
    rotation, last_duration = 0, None
    with av.open(str(path)) as container:
        stream = [item for item in container.streams.video if not item.disposition & cover][video]
        stream.codec_context.thread_count = 1
        audio = next(iter(container.streams.audio), None)
        for packet in container.demux([item for item in (stream, audio) if item is not None]):
            if audio is not None and packet.stream_index == audio.index:
                if packet.size:
                    sound.append((packet.pts * packet.time_base, bytes(packet)))
                continue
            for frame in packet.decode():
                rotation = frame.rotation
                last_duration = frame.duration * stream.time_base if frame.duration else None
                if frame.pts is not None:
                    pts.append(frame.pts)
                if len(images) < keep:
                    images.append(frame)
        return Media(
            stream.time_base,
            sorted(pts),
            last_duration,
            images,
            rotation,
            stream.sample_aspect_ratio or Fraction(1),
            sound,
            audio.time_base if audio is not None else None,
        )


def rows(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of a JSONL file."""
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
