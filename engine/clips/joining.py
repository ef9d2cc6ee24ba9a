"""Frame-exact clips that are re-encoded only where necessary: before the first key frame, and after the last packet up
to which nothing is missing. The packets between are copied bit for bit.

A decoder sees up to three consecutive streams. With H.264, the encoder's parameter sets have ids of their own and are
stored beside the source's in the file's header. H.265 does not allow that, so each stream begins with its own sets,
after an end-of-sequence unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import av
import av.error
from av.codec.context import Flags
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from engine.clips.packets import Piece
from engine.clips.writing import Copy, Writer
from engine.inference.model import available_cores
from engine.media.source import Source
from engine.media.units import Bits, annex_b, kind_of, units_of_head, units_of_packet

_ENCODERS = {"h264": "libx264", "hevc": "libx265"}
_FORMATS = frozenset("yuv420p yuvj420p yuv422p yuv444p yuv420p10le yuv422p10le".split())
# As for clips that are encoded as a whole.
_CRF, _PRESET = 18, "veryfast"
_PROFILES = {
    "h264": {66: "baseline", 77: "main", 100: "high", 110: "high10", 122: "high422", 244: "high444"},
    "hevc": {1: "main", 2: "main10"},
}
_END_OF_SEQUENCE = b"\x48\x01"  # of H.265
# H.264 allows 32 sequence parameter sets.
_NUMBERS = range(1, 32)


class CantJoin(Exception):
    """The pieces can't be joined into a stream that every player shows; says why."""


class Joiner(Writer):
    """One clip, joined from a re-encoded head, copied packets and a re-encoded tail."""

    def __init__(self, source: Source, audio: Any, copy: Copy) -> None:
        assert copy.joint is not None
        super().__init__(source, audio, copy)
        self._joint = copy.joint
        self._codec = source.video.codec_context.codec.canonical_name
        self._source_head = source.video.codec_context.extradata
        self._key_pts = 0
        self._delay = 0
        self._last_dts: int | None = None
        self._held: list[tuple[bytes, int, int, bool, int]] = []
        self._head: _Encoding | None = None
        self._tail: _Encoding | None = None
        self._sets: list[bytes] = []
        try:
            self._prepare(source)
        except CantJoin as error:
            self.refuse(str(error))
        except (av.error.FFmpegError, ValueError, IndexError) as error:
            self.refuse(f"its parts can't be joined ({type(error).__name__})")

    def see(self, packet: Any, number: int) -> None:
        """Process a video packet: copy it, or decode it for re-encoding."""
        if self.refused:
            return
        try:
            self._see(packet, number)
        except CantJoin as error:
            self.refuse(str(error))
        except (av.error.FFmpegError, ValueError, IndexError) as error:
            self.refuse(f"its parts can't be joined ({type(error).__name__})")

    def _see(self, packet: Any, number: int) -> None:
        joint = self._joint
        if number == joint.key:
            self._key_pts, self._delay = packet.pts, packet.pts - packet.dts
        if self._head is not None and self._head.take(packet, number):
            self._put_head(self._head)
            self._head = None
        if joint.key <= number < joint.stop and packet.pts >= self._key_pts:
            self._held.append((self._copied(packet), packet.pts, packet.dts, packet.is_keyframe, packet.duration or 0))
        if self._head is None:
            for data, pts, dts, key, duration in self._held:
                self._write(data, pts, dts, key, duration)
            self._held.clear()
        if self._tail is not None and self._tail.take(packet, number):
            for data, pts, key, duration in self._tail.packets(self.ends_pts):
                due = pts - self._delay if self._last_dts is None else max(self._last_dts + 1, pts - self._delay)
                self._write(data, pts, due, key, duration)
            self._tail = None

    def _prepare(self, source: Source) -> None:
        """Set up the encoders and the file's header. Raises CantJoin."""
        joint = self._joint
        own = list(units_of_head(self._codec, self._source_head))
        if not own:
            raise CantJoin("its header has no parameter sets")
        setting = _Setting.of(source, self._codec, own)
        encoded = setting.sets()
        ahead = encoded if self._codec == "hevc" else []
        self._head = _Encoding(setting, ahead, joint.head) if joint.head is not None else None
        self._tail = _Encoding(setting, ahead, joint.tail) if joint.tail is not None else None
        if self._codec == "h264":
            self.set_head(annex_b([*own, *encoded]))
        else:
            self.set_head(annex_b(own if self._head is None else encoded), tag="hev1")
            self._sets = own

    def _put_head(self, head: _Encoding) -> None:
        packets = head.packets(self._key_pts)
        # Decoding times ascend, up to that of the first copied packet.
        early = max(0, packets[-1][1] - (self._key_pts - self._delay) + 1)
        for number, (data, pts, key, duration) in enumerate(packets):
            last = number + 1 == len(packets)
            self._write(data + self._end() if last else data, pts, pts - early, key, duration)

    def _end(self) -> bytes:
        return annex_b([_END_OF_SEQUENCE]) if self._codec == "hevc" else b""

    def _copied(self, packet: Any) -> bytes:
        units = list(units_of_packet(self._codec, self._source_head, bytes(packet)))
        if self._sets and packet.is_keyframe:
            first = 1 if units and kind_of(self._codec, units[0]) == 35 else 0  # an access unit delimiter stays first
            units[first:first] = self._sets
        return annex_b(units)

    def _write(self, data: bytes, pts: int, dts: int, key: bool, duration: int) -> None:
        packet = av.Packet(data)
        packet.pts, packet.dts, packet.time_base = pts, dts, self.time_base
        packet.is_keyframe, packet.duration = key, duration
        self._last_dts = dts
        self.put_video(packet)


class _Setting:
    """Encoder settings that match a source, so that encoded and copied pieces can be joined."""

    def __init__(
        self, codec: str, values: Mapping[str, object], options: dict[str, str], head: bytes, level: tuple[int, int]
    ) -> None:
        self._codec, self._values, self._options, self._head, self._level = codec, values, options, head, level

    @classmethod
    def of(cls, source: Source, codec: str, own: Sequence[bytes]) -> _Setting:
        """Derive from a stream's own description; `own` are its parameter sets. Raises CantJoin."""
        context = source.video.codec_context
        if codec not in _ENCODERS or context.pix_fmt not in _FORMATS:
            raise CantJoin(f"{context.pix_fmt} of {codec} is not encoded in the same way")
        profile, level = _level_of(codec, own)
        name = _PROFILES[codec].get(profile)
        if name is None or not level:
            raise CantJoin(f"its profile of {codec} ({profile}) is not encoded in the same way")
        options = {"crf": str(_CRF), "preset": _PRESET, "profile": name}
        if codec == "h264":
            number = _free_number(own)
            options["x264-params"] = f"sps-id={number}:bframes=0:keyint=infinite:scenecut=0:level={level / 10:g}"
        else:
            options["x265-params"] = (
                f"bframes=0:keyint=-1:scenecut=0:level-idc={level / 30:g}:high-tier=0:repeat-headers=0:log-level=error"
                f":pools={available_cores()}"
            )
        values = {
            key: getattr(context, key)
            for key in ("width", "height", "pix_fmt", "color_range", "colorspace", "color_primaries", "color_trc")
        }
        values |= {"sample_aspect_ratio": context.sample_aspect_ratio, "framerate": source.video.average_rate}
        values["time_base"] = source.video.time_base
        given = {key: value for key, value in values.items() if value is not None}
        return cls(codec, given, options, context.extradata, (profile, level))

    def sets(self) -> list[bytes]:
        """Return the encoder's parameter sets. Raises CantJoin if they differ in profile or level from the source's."""
        kinds = (7, 8) if self._codec == "h264" else (32, 33, 34)
        head = self.encoder().extradata
        sets = [unit for unit in units_of_head(self._codec, head) if kind_of(self._codec, unit) in kinds]
        (profile, level), (own_profile, own_level) = _level_of(self._codec, sets), self._level
        if profile != own_profile or level > own_level:
            raise CantJoin(f"the encoder gives profile {profile}, level {level}, not {own_profile} and {own_level}")
        return sets

    def encoder(self) -> Any:
        """Open an encoder; all encoders produce the same parameter sets."""
        encoder = VideoCodecContext.create(_ENCODERS[self._codec], "w")
        for key, value in self._values.items():
            setattr(encoder, key, value)
        encoder.options = dict(self._options)
        encoder.thread_count = available_cores()
        encoder.flags |= Flags.global_header
        encoder.open()
        return encoder

    def decoder(self) -> Any:
        """Create a decoder for the source's packets."""
        decoder = VideoCodecContext.create(self._codec, "r")
        decoder.extradata = self._head
        return decoder


class _Encoding:
    """A piece that is decoded from incoming packets and encoded. Codecs are open only between its first and last
    packet, because many clips may be in progress."""

    def __init__(self, setting: _Setting, ahead: Sequence[bytes], piece: Piece) -> None:
        """`ahead` are units to write before the first frame."""
        self._setting, self._ahead, self._piece = setting, ahead, piece
        self._decoder: Any = None
        self._encoder: Any = None
        self._wanted = frozenset(piece.wanted_pts)
        self._made: list[Any] = []

    def take(self, packet: Any, number: int) -> bool:
        """Process a packet if it belongs to the piece, and return whether it was the last. Raises CantJoin."""
        if not self._piece.first <= number < self._piece.stop:
            return False
        if self._decoder is None:
            self._decoder, self._encoder = self._setting.decoder(), self._setting.encoder()
        for frame in self._decoder.decode(packet):
            self._encode(frame)
        if number + 1 < self._piece.stop:
            return False
        for frame in self._decoder.decode(None):
            self._encode(frame)
        self._made += self._encoder.encode(None)
        self._decoder = self._encoder = None
        if tuple(packet.pts for packet in self._made) != self._piece.wanted_pts:
            raise CantJoin("frames to be re-encoded are missing")
        return True

    def packets(self, until_pts: int) -> list[tuple[bytes, int, bool, int]]:
        """Return the encoded packets in order: data as Annex B, pts, whether it is a key frame, and duration; the last
        one lasts until `until_pts`."""
        ends = (*self._piece.wanted_pts[1:], until_pts)
        found = []
        for number, (packet, end) in enumerate(zip(self._made, ends, strict=True)):
            data = bytes(packet) if number else annex_b(self._ahead) + bytes(packet)
            found.append((data, packet.pts, packet.is_keyframe, end - packet.pts))
        return found

    def _encode(self, frame: Any) -> None:
        if frame.pts not in self._wanted:
            return
        if frame.interlaced_frame:
            raise CantJoin("it is interlaced")
        frame.pict_type = PictureType.NONE
        frame.time_base = self._encoder.time_base
        self._made += self._encoder.encode(frame)


def _level_of(codec: str, sets: Sequence[bytes]) -> tuple[int, int]:
    """Return the standard's numbers for profile and level of the first sequence parameter set; (0, 0) if there is
    none."""
    kind = 7 if codec == "h264" else 33
    first = next((unit for unit in sets if kind_of(codec, unit) == kind), None)
    if first is None:
        return 0, 0
    bits = Bits(first)
    if codec == "h264":
        bits.take(8)
        profile = bits.take(8)
        bits.take(8)
        return profile, bits.take(8)
    bits.take(16 + 4 + 3 + 1 + 3)
    profile = bits.take(5)
    bits.take(32 + 48)
    return profile, bits.take(8)


def _free_number(sets: Sequence[bytes]) -> int:
    """Return an unused parameter set id of an H.264 stream. Raises CantJoin if there is none."""
    taken = set()
    for unit in sets:
        bits = Bits(unit)
        bits.take(8 if kind_of("h264", unit) == 8 else 32)
        taken.add(bits.number())
    free = next((number for number in _NUMBERS if number not in taken), None)
    if free is None:
        raise CantJoin("all parameter set ids are in use")
    return free
