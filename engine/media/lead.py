"""Finds where to begin decoding for a position inside a video, and the number of the first decoded frame.

Frames are numbered from the beginning of the file, so every packet is read and counted, which costs a fraction of
decoding. Decoding begins at the last key frame before the position.
"""

from __future__ import annotations

from fractions import Fraction

import av

# Compressed bytes held back while waiting for the next key frame.
_MAX_HELD_BYTES = 64 << 20

# Containers with reliable key frame flags and a time in each packet.
_CONTAINERS = frozenset({"mov", "matroska", "mpegts"})

# Codecs with packets that show nothing, so that packets can't be counted as frames.
_UNCOUNTABLE = frozenset({"vp8"})


class Astray(Exception):
    """Counting packets failed: everything has to be decoded from the beginning."""


class Lead:
    """Reads the packets of a video from its beginning, and holds back the group of pictures that contains `start_s`.

    first_pts  pts of the stream's first frame, in ticks
    key_pts    pts of the key frame at which decoding begins
    index      number of that key frame in the stream
    """

    def __init__(self, start_s: float, time_base: Fraction) -> None:
        self.first_pts: int | None = None
        self.key_pts = 0
        self._ticks = float(Fraction(start_s) / time_base)
        self._before = 0  # packets before those held back
        self._held: list[av.Packet] = []
        self._bytes = 0

    @staticmethod
    def can(containers: set[str], codec: str) -> bool:
        """Return whether counting packets may work for these."""
        return not containers.isdisjoint(_CONTAINERS) and codec not in _UNCOUNTABLE

    @property
    def target_pts(self) -> float:
        """The earliest time that is output."""
        assert self.first_pts is not None
        return self.first_pts + self._ticks

    @property
    def index(self) -> int:
        """The key frame's number in presentation order: frames stored after it but shown before it count, too."""
        return self._before + sum(1 for packet in self._held if packet.pts < self.key_pts)

    def take(self, packet: av.Packet) -> list[av.Packet] | None:
        """Process the next packet. Returns None until the position is reached, then the packets to decode, the first of
        which is a key frame. Raises Astray."""
        if packet.pts is None or packet.is_discard:
            raise Astray
        if self.first_pts is None:
            if not packet.is_keyframe:
                raise Astray
            self.first_pts = self.key_pts = packet.pts
        elif packet.pts < self.first_pts:  # decoders differ in whether they show it
            raise Astray
        if packet.is_keyframe and packet.pts <= self.target_pts and self._held:
            self._before += len(self._held)
            self._held, self._bytes, self.key_pts = [], 0, packet.pts
        self._held.append(packet)
        self._bytes += packet.size
        reached = packet.dts is not None and packet.dts > self.target_pts
        return self._held if reached or self._bytes > _MAX_HELD_BYTES else None

    def rest(self) -> list[av.Packet]:
        """Return the packets held back, at the end of the stream."""
        return self._held

    def check(self, frames: int, pts: int) -> None:
        """Check that the packets from the key frame up to `pts` gave exactly `frames` frames. Raises Astray."""
        if frames != sum(self.key_pts <= packet.pts < pts for packet in self._held):
            raise Astray
