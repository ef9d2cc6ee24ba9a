"""The contents of a video: its times, its sound and its images."""

from pathlib import Path

import av
import numpy as np


def times_in(path: Path) -> list[int]:
    """Return the times of a video's frames."""
    with av.open(str(path)) as container:
        return [frame.pts for frame in container.decode(video=0)]


def packets_in(path: Path, kind: str) -> list[tuple]:
    """Return the times of a stream's packets, and their bytes if it is sound."""
    with av.open(str(path)) as container:
        found = [packet for packet in container.demux(**{kind: 0}) if packet.size]
        return [(each.pts, each.duration, bytes(each) if kind == "audio" else b"") for each in found]


def images_in(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


def same_video(one: Path, other: Path) -> None:
    """Check that times, sound and, byte for byte, images of two videos are equal."""
    assert times_in(one) == times_in(other)
    assert packets_in(one, "video") == packets_in(other, "video")
    with av.open(str(one)) as container:
        sounds = bool(container.streams.audio)
    if sounds:
        assert packets_in(one, "audio") == packets_in(other, "audio")
    for number, (here, there) in enumerate(zip(images_in(one), images_in(other), strict=True)):
        assert np.array_equal(here, there), number
