"""The way to a place inside a video: which packets need not be decoded, and which frame comes first behind them.

A frame has its number from the beginning of the file, so every packet is read and counted, which costs a small part of
decoding it. What is decoded begins at the last key frame before the place.
"""

from __future__ import annotations

from fractions import Fraction

import av

# Compressed bytes held back while the next key frame is waited for.
_MAX_HELD_BYTES = 64 << 20

# Containers whose key frames can be relied on, and which have a time in each packet.
_CONTAINERS = frozenset({"mov", "matroska", "mpegts"})

# Codecs with packets that show nothing: a count of packets is none of frames.
_UNCOUNTABLE = frozenset({"vp8"})


class Astray(Exception):
    """Counting packets does not lead there: everything has to be decoded from the beginning."""


class Lead:
    """Takes the packets of a video from its beginning, and holds back the group of pictures in which `start_s` lies.

    first_pts  of the stream's first frame, in ticks
    key_pts    of the key frame at which decoding begins
    index      of that frame in the stream
    """

    def __init__(self, start_s: float, time_base: Fraction) -> None:
        self.first_pts: int | None = None
        self.key_pts = 0
        self._ticks = float(Fraction(start_s) / time_base)
        self._before = 0  # packets in front of the held ones
        self._held: list[av.Packet] = []
        self._bytes = 0

    @staticmethod
    def can(containers: set[str], codec: str) -> bool:
        """Return whether it may be tried."""
        return not containers.isdisjoint(_CONTAINERS) and codec not in _UNCOUNTABLE

    @property
    def target_pts(self) -> float:
        """The first time that is given out."""
        assert self.first_pts is not None
        return self.first_pts + self._ticks

    @property
    def index(self) -> int:
        """Pictures that come behind the key frame in the file, and before it on the screen, count too."""
        return self._before + sum(1 for packet in self._held if packet.pts < self.key_pts)

    def take(self, packet: av.Packet) -> list[av.Packet] | None:
        """Take the next packet. Gives those to decode, the first one a key frame, once the place is reached; None
        before. Raises Astray."""
        if packet.pts is None or packet.is_discard:
            raise Astray
        if self.first_pts is None:
            if not packet.is_keyframe:
                raise Astray
            self.first_pts = self.key_pts = packet.pts
        elif packet.pts < self.first_pts:  # whether a decoder shows it is up to the decoder
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
        """Check that each packet from the key frame up to `pts` has given one of `frames` frames. Raises Astray."""
        if frames != sum(self.key_pts <= packet.pts < pts for packet in self._held):
            raise Astray
