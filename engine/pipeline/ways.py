"""The ways from packets to frames: all are decoded but groups that are known, or only what a scan takes.

A way is given the packets of a stream's video in order (`take`), and then asked for the `rest`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import av

from engine.errors import DecodeError
from engine.pipeline.groups import Boundaries, Packets, Seen
from engine.pipeline.pieces import FoundPiece, KnownFrame, KnownGroup, key_of
from engine.pipeline.stream import StreamRun
from engine.stages.decode import Decoder
from engine.stages.scan import Scan

Image = tuple[av.VideoFrame, int, int]
"""A frame's image, its pts and its duration."""

Item = tuple[av.VideoFrame | KnownFrame, int, int]
"""A frame's image, or what others know of it, its pts and its duration."""

# Packets of a group are read ahead, up to so many.
_MAX_HELD_PACKETS, _MAX_HELD_BYTES = 4096, 1 << 26


class Way(Protocol):
    """How frames come of packets. Both methods raise DecodeError."""

    @property
    def take(self) -> Callable[[av.Packet], Iterable[Item]]:
        """Give the frames that a packet completes, to be used before the next packet is given."""

    def rest(self) -> Iterator[Item]:
        """Yield the frames at the end of what was read."""


class _Held:
    """The packets of a group that may be known, while it is not certain. `begin` is what its first packet is."""

    def __init__(self, piece: FoundPiece, group: KnownGroup, begin: Seen) -> None:
        self.piece, self.group, self.begin = piece, group, begin
        self.packets: list[av.Packet] = []
        self._read = Packets()
        self._bytes = 0

    def add(self, packet: av.Packet, seen: Seen) -> None:
        self.packets.append(packet)
        self._read.add(packet, seen)
        self._bytes += packet.size

    @property
    def fits(self) -> bool:
        """Whether it may become the group that is known."""
        return self._read.plain and len(self.packets) <= len(self.group.frames) and self._bytes <= _MAX_HELD_BYTES

    @property
    def is_it(self) -> bool:
        return self.fits and len(self.packets) == len(self.group.frames) and self._read.digest() == self.group.digest


class AllFrames:
    """All frames are decoded, but those of groups of pictures that others have decoded, where `boundaries` tell groups
    and nothing depends on the images. What is decoded is noted for the run's recorder.

    may_recall  asked when a group begins: whether its images are of no use to the reader
    seconds     from the stream's first frame to a pts
    """

    def __init__(
        self,
        run: StreamRun,
        decoder: Decoder,
        boundaries: Boundaries | None,
        may_recall: Callable[[], bool],
        seconds: Callable[[int], float],
    ) -> None:
        self.last_image: av.VideoFrame | None = None  # without boundaries it is not kept
        self._run, self._decoder, self._boundaries = run, decoder, boundaries
        self._may_recall, self._seconds = may_recall, seconds
        self._held: _Held | None = None
        self._sets: bytes | None = None  # those of the last group that was decoded
        self._is_drained = False  # nothing was decoded since
        self._trusted: FoundPiece | None = None  # the piece whose maker decodes the same images

    @property
    def take(self) -> Callable[[av.Packet], Iterator[Item]]:
        return self._decode if self._boundaries is None else self._decode_or_hold

    def rest(self) -> Iterator[Item]:
        if self._held is not None:
            yield from self._settle_held()
        if not self._is_drained:
            yield from self._seen(self._decoder.flush())
        if self._run.recorder is not None:
            self._run.recorder.end()

    def _decode_or_hold(self, packet: av.Packet) -> Iterator[Item]:
        """Yield the frames that a packet completes; none yet where its group may be known as a whole."""
        assert self._boundaries is not None
        seen = self._boundaries.look(packet)
        if self._held is not None:
            if not seen.begins:
                self._held.add(packet, seen)
                if not self._held.fits:
                    yield from self._settle_held()
                return
            yield from self._settle_held()
        if seen.begins and (held := self._known_group(packet, seen)) is not None:
            self._held = held
            held.add(packet, seen)
            return
        if seen.begins:
            self._sets = seen.sets
        yield from self._decode(packet)

    def _known_group(self, packet: av.Packet, seen: Seen) -> _Held | None:
        """Return a group that others have decoded, to which this first packet may belong; None if there is none, or
        something still depends on the images. See engine.pipeline.groups."""
        ahead, pts = self._run.ahead, packet.pts
        if ahead is None or pts is None or self._run.stop.is_set() or not self._run.judged:
            return None
        if self.last_image is None or seen.sets != self._sets or not self._may_recall():
            return None
        piece = ahead.at(self._seconds(pts))
        group = piece.groups.get(pts) if piece is not None else None
        if piece is None or group is None or len(group.frames) > _MAX_HELD_PACKETS:
            return None
        return _Held(piece, group, seen)

    def _settle_held(self) -> Iterator[Item]:
        """Yield the frames of the packets that are held: as they are known, or decoded."""
        held, self._held = self._held, None
        assert held is not None
        if held.is_it:
            if not self._is_drained:
                yield from self._seen(self._decoder.drain())
                self._is_drained = True
                assert self.last_image is not None
                self._trusted = held.piece if key_of(self.last_image) in held.piece.images else None
            if held.piece is self._trusted:
                for frame in held.group.frames:
                    self._decoder.pass_over(frame.pts, at_key_frame=frame.pts == held.packets[0].pts)
                    yield frame, frame.pts, frame.duration
                return
        self._sets = held.begin.sets
        for packet in held.packets:
            yield from self._decode(packet)

    def _decode(self, packet: av.Packet) -> Iterator[Item]:
        if self._run.recorder is not None:
            self._run.recorder.packet(packet)
        self._is_drained = False
        return self._seen(self._decoder.decode(packet))

    def _seen(self, images: Iterator[Image]) -> Iterator[Item]:
        return images if self._run.recorder is None and self._boundaries is None else self._noted(images)

    def _noted(self, images: Iterator[Image]) -> Iterator[Item]:
        for image, pts, duration in images:
            if self._run.recorder is not None:
                self._run.recorder.frame(pts)
            if self._boundaries is not None:
                self.last_image, self._trusted = image, None
            yield image, pts, duration


class ScannedFrames:
    """Only the groups that a scan takes are decoded. Reading may begin at any key frame. `number` is told the number of
    the next frame where some were left out before it."""

    def __init__(self, scan: Scan, decoder: Decoder, number: Callable[[int], None]) -> None:
        self._scan, self._decoder, self._number = scan, decoder, number
        self._key_pts = 0
        self._fed = False  # the decoder has packets of a run of groups whose frames have this span
        self._span = 0, 0
        self._begins = False  # at this group
        self._is_beginning = False  # none of its frames has come

    def take(self, packet: av.Packet) -> Iterable[Image]:
        if packet.is_keyframe:
            return self._take_key_frame(packet)
        if self._begins and packet.pts < self._key_pts:  # refers to what was left out
            return ()
        if self._fed and packet.pts >= self._span[1]:
            return self._ended()
        return self._within(self._decoder.decode(packet)) if self._fed else ()

    def rest(self) -> Iterator[Image]:
        if self._fed:
            yield from self._within(self._decoder.flush())

    def _take_key_frame(self, packet: av.Packet) -> Iterator[Image]:
        scan, at = self._scan, packet.pts
        if (group := scan.group(at)) is None:
            raise DecodeError("is not what it was when it was surveyed")
        self._key_pts, self._begins, taken = at, False, scan.takes(group)
        # The next key frame is decoded too if frames refer to it that are shown before it.
        if self._fed and not taken and not (scan.takes(group - 1) and scan.leads[group]):
            yield from self._ended()
        if taken and not (self._fed and at < self._span[1]):
            if self._fed:
                yield from self._ended()
            self._is_beginning = self._fed = self._begins = True
            self._span = at, scan.end_of_run(group)
        if self._fed:
            yield from self._within(self._decoder.decode(packet))

    def _ended(self) -> Iterator[Image]:
        """Yield what the decoder still holds of a run of groups."""
        self._fed = False
        return self._within(self._decoder.drain())

    def _within(self, images: Iterator[Image]) -> Iterator[Image]:
        begins, ends = self._span
        for item in images:
            if begins <= item[1] < ends:
                if self._is_beginning:
                    self._number(self._scan.index(item[1]))
                    self._is_beginning = False
                yield item
