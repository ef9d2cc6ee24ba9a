"""Damaged copies of good videos, reproducible by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import av

Damage = Callable[[bytes, random.Random], bytes]


def cut(source: Path, target: Path, frames: int) -> Path:
    """Copy the first packets of a video into a small file with its header first."""
    with av.open(str(source)) as given, av.open(str(target), "w", options={"movflags": "+faststart"}) as made:
        video = given.streams.video[0]
        stream = made.add_stream_from_template(video)
        for count, packet in enumerate(given.demux(video)):
            if count >= frames or packet.dts is None:
                break
            packet.stream = stream
            made.mux(packet)
    return target


def encoded(source: Path, target: Path, frames: int) -> Path:
    """Re-encode the first frames of a video, for a container that can't hold a copy of them."""
    with av.open(str(source)) as given, av.open(str(target), "w") as made:
        video = given.streams.video[0]
        stream = made.add_stream("libx264", rate=video.average_rate)
        stream.width, stream.height, stream.pix_fmt = video.width, video.height, "yuv420p"
        for _, frame in zip(range(frames), given.decode(video), strict=False):
            frame.pict_type = av.video.frame.PictureType.NONE  # not the type of the source frame
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    return target


def truncated(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(1, len(data))]


def flipped(share: float) -> Damage:
    def damage(data: bytes, chance: random.Random) -> bytes:
        broken = bytearray(data)
        for _ in range(max(1, int(share * len(data)))):
            broken[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return bytes(broken)

    return damage


def body_flipped(data: bytes, chance: random.Random) -> bytes:
    """Leave the header intact, so that decoding begins."""
    head = len(data) // 4
    return data[:head] + flipped(0.002)(data[head:], chance)


def header_flipped(data: bytes, chance: random.Random) -> bytes:
    return flipped(0.01)(data[:2000], chance) + data[2000:]


def header_zeroed(data: bytes, chance: random.Random) -> bytes:
    count = chance.choice((8, 64, 1024, 8192))
    return bytes(count) + data[count:]


def tail_zeroed(data: bytes, chance: random.Random) -> bytes:
    kept = chance.randrange(len(data) // 4, len(data))
    return data[:kept] + bytes(len(data) - kept)


def middle_removed(data: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(1, len(data) // 2)
    return data[:start] + data[start + chance.randrange(1, len(data) // 3) :]


def noise(data: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(1, 50_000))


def text(data: bytes, chance: random.Random) -> bytes:
    return b"this is not a video\n" * chance.randrange(1, 500)


def empty(data: bytes, chance: random.Random) -> bytes:
    return b""


KINDS: dict[str, tuple[Damage, int]] = {
    "truncated": (truncated, 40),
    "one-bit": (flipped(0.0), 20),
    "few-bits": (flipped(0.0005), 30),
    "many-bits": (flipped(0.02), 15),
    "body-bits": (body_flipped, 25),
    "header-bits": (header_flipped, 15),
    "header-zeroed": (header_zeroed, 12),
    "tail-zeroed": (tail_zeroed, 15),
    "middle-removed": (middle_removed, 15),
    "noise": (noise, 6),
    "text": (text, 4),
    "empty": (empty, 2),
}


def damaged(sources: list[Path], folder: Path, seed: int) -> list[Path]:
    """Make 200 files: 199 damaged copies of `sources` in turn, and a folder with the name of a video."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    for kind, (damage, count) in KINDS.items():
        for number in range(count):
            source = sources[(number + len(made)) % len(sources)]
            path = folder / f"{kind}-{number}{source.suffix}"
            path.write_bytes(damage(source.read_bytes(), chance))
            made.append(path)
    a_folder = folder / "folder.mp4"
    a_folder.mkdir()
    return [*made, a_folder]
