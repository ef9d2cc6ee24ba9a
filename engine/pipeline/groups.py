"""Closed groups of pictures (GOPs), whose images depend on their own packets alone.

Who makes a piece notes of each such group a hash of its packets and which frames came of it. Who tracks the video and
meets the same packets takes the detections, and has no need of the images: it decodes nothing. That the packets give
the same images there rests on four things, each of which is checked, and where one fails the group is decoded:

* A group begins with an IDR picture (H.264, H.265), behind which nothing refers to what was before it. A group that
  changes the parameter sets is decoded, so that the decoder knows them all.
* Whoever made the piece decoded it and the group before it in one go, without an error, and got one frame of each
  packet at the packet's own time: FFmpeg lost nothing at the seam.
* All of the group's packets are the same, with their times: SHA-256.
* The last image decoded here is one of the piece, to the byte: both decoders come to the same.
"""

from __future__ import annotations

import hashlib
import struct
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import av

from engine.media.units import kind_of, views_of_packet

_TIMES = struct.Struct("<qqqI")
_NO_TIME = -1 << 63

# Types of NAL units: pictures at which a decoder may begin, and parameter sets.
_IDR = {"h264": frozenset({5}), "hevc": frozenset({19, 20})}
_SETS = {"h264": frozenset({7, 8, 13, 15}), "hevc": frozenset({32, 33, 34})}


class Seen(NamedTuple):
    """What a packet is: `begins` a closed group, has these parameter `sets`; `plain`: its times are there, it is to be
    shown, and nothing is wrong with it."""

    begins: bool
    plain: bool
    sets: bytes


class Boundaries:
    """Tells the packets of one stream apart. `usable`: groups of this stream can be told at all."""

    def __init__(self, codec: str, head: bytes | None) -> None:
        self.usable = codec in _IDR and head is not None and len(head) > 22 and head[0] == 1
        self._codec, self._head = codec, head

    def look(self, packet: av.Packet) -> Seen:
        idr, sets = _IDR[self._codec], _SETS[self._codec]
        begins, found = False, []
        for unit in views_of_packet(self._codec, self._head, packet):
            kind = kind_of(self._codec, bytes(unit[:1]))
            if kind in idr:
                begins = True
            elif kind in sets:
                found.append(bytes(unit))
        begins &= packet.is_keyframe
        plain = (
            packet.pts is not None
            and not (packet.is_discard or packet.is_corrupt or packet.has_sidedata("new_extradata"))
            and (begins or not found)
        )
        return Seen(begins, plain, b"\0".join(found))


class Packets:
    """The packets of a group so far: their times, and a hash of them."""

    def __init__(self) -> None:
        self.pts: list[int] = []
        self.plain = True
        self._hash = hashlib.sha256()

    def add(self, packet: av.Packet, seen: Seen) -> None:
        self.plain &= seen.plain
        if not self.plain:
            return
        assert packet.pts is not None
        self.pts.append(packet.pts)
        dts = _NO_TIME if packet.dts is None else packet.dts
        self._hash.update(_TIMES.pack(packet.pts, dts, packet.duration or 0, packet.size))
        self._hash.update(packet)

    def digest(self) -> bytes:
        """Return 32 bytes."""
        return self._hash.digest()


@dataclass(frozen=True)
class Group:
    """A group that was decoded whole: the pts of its first packet, those of its frames in order, and the hash of its
    packets."""

    first_pts: int
    pts: Sequence[int]
    digest: bytes


class GroupRecorder:
    """Notes the groups of a piece, on the thread that decodes it; `groups` are those that can be relied on, so far."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self._boundaries: Boundaries | None = None

    def begin(self, codec: str, head: bytes | None) -> None:
        """Begin, or begin anew, with the next packet."""
        self.groups.clear()
        boundaries = Boundaries(codec, head)
        self._boundaries = boundaries if boundaries.usable else None
        self._open: Packets | None = None
        self._closed: deque[Packets] = deque()
        self._frames: list[int] = []
        self._is_behind_another = False  # the group that comes next follows one that was decoded whole

    def packet(self, packet: av.Packet) -> None:
        """Take the next packet, before it is decoded."""
        if self._boundaries is None:
            return
        seen = self._boundaries.look(packet)
        if seen.begins:
            self._close()
            self._open = Packets()
        if self._open is None:  # it does not begin with a group
            self._boundaries = None
            return
        self._open.add(packet, seen)

    def frame(self, pts: int) -> None:
        """Take the time of the next frame."""
        if self._boundaries is not None:
            self._frames.append(pts)
            self._settle()

    def end(self) -> None:
        """Take the end of the file, behind its last frame."""
        if self._boundaries is not None:
            self._close()

    def give_up(self) -> None:
        """Rely on nothing: something was damaged, or has other times than the file's."""
        self.groups.clear()
        self._boundaries = None

    def _close(self) -> None:
        if self._open is not None:
            self._closed.append(self._open)
            self._open = None
            self._settle()

    def _settle(self) -> None:
        while self._closed and len(self._frames) >= len(self._closed[0].pts):
            group = self._closed.popleft()
            pts = sorted(group.pts)
            count = len(pts)
            whole = group.plain and count > 0 and self._frames[:count] == pts
            if not whole:
                self._boundaries = None  # which frames belong to which packets is not known any more
                self._closed.clear()
                return
            del self._frames[:count]
            if self._is_behind_another:
                self.groups.append(Group(group.pts[0], pts, group.digest()))
            self._is_behind_another = True
