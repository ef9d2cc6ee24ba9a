"""A log of encoded packets, in which an annotated video grows until it is complete.

An MP4 is useless before its end is written, and can't be truncated. A log can be truncated after any record, and
continued. Records follow each other without gaps:

    kind, flags, pts, dts, duration, time base (numerator, denominator), size | payload

The first record is the header: JSON, the parameters of the encoder and its extradata. Side data is in a record of
its own, in front of the packet it belongs to. A video that is drawn in pieces (engine.pipeline.drawing) has notes
instead of its packets: FRAME, what is to be drawn on a frame, and STATE, what was drawn before a piece.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import IO, NamedTuple, TypedDict, cast

import av
from av.packet import PacketSideData, packet_sidedata_type_from_literal

from engine.sinks.base import existing

_HEADER, VIDEO, AUDIO, _SIDE_DATA, FRAME, STATE = range(6)
_RECORD = struct.Struct("<BB3q2iI")
_NO_TIME = -(2**63)
_KEY_FRAME = 1


class LogHeader(TypedDict):
    """The parameters of a log's encoder and what its MP4 needs, as JSON values; fractions are pairs of numbers.

    `look` is what must stay the same from frame to frame (engine.sinks.video), `matrix` the colour matrix and whether
    its range is full, `shift` what is added to the source's times so that the video begins at 0.
    """

    rate: Sequence[int]
    time_base: Sequence[int]
    size_wh: list[int]
    format: str
    options: dict[str, str]
    gop: int
    colour: dict[str, int]
    aspect: Sequence[int]
    movie_timescale: int
    look: Sequence[int | str]
    matrix: tuple[str, bool]
    shift: int
    extradata: str


class Note(NamedTuple):
    """A FRAME or STATE record, which begins at byte `at` of its log. A FRAME has its frame's times."""

    kind: int
    pts: int
    duration: int
    time_base: Fraction
    payload: bytes
    at: int


class PacketLog:
    """Writes a log to an open, empty or cut, file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = os.fstat(file.fileno()).st_size

    def header(self, values: LogHeader) -> None:
        """Write the header. Raises OSError, as the other methods do."""
        self._record(_HEADER, 0, 0, 0, 0, Fraction(1), json.dumps(values).encode())

    def packet(self, kind: int, packet: av.Packet) -> None:
        """Add a packet, VIDEO or AUDIO. Side data is kept for sound: there it says what to skip."""
        for number, data in _side_data(packet) if kind == AUDIO else ():
            self._record(_SIDE_DATA, number, 0, 0, 0, Fraction(1), data)
        pts, dts = (_NO_TIME if value is None else value for value in (packet.pts, packet.dts))
        flags = _KEY_FRAME if packet.is_keyframe else 0
        self._record(kind, flags, pts, dts, packet.duration or 0, packet.time_base, bytes(packet))

    def frame(self, pts: int, duration: int, base: Fraction, payload: bytes) -> None:
        """Add a note in place of a frame's packet."""
        self._record(FRAME, 0, pts, pts, duration, base, payload)

    def state(self, payload: bytes) -> None:
        self._record(STATE, 0, 0, 0, 0, Fraction(1), payload)

    def flush(self) -> None:
        """Let readers see everything written so far."""
        self._file.flush()

    def sync(self) -> None:
        """Make everything written so far durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _record(self, kind: int, flags: int, pts: int, dts: int, duration: int, base: Fraction, payload: bytes) -> None:
        head = _RECORD.pack(kind, flags, pts, dts, duration, base.numerator, base.denominator, len(payload))
        self._file.write(head)
        self._file.write(payload)
        self.size += len(head) + len(payload)


def state_bytes(size: int) -> int:
    """Return how many bytes a STATE record of a payload of `size` bytes takes."""
    return _RECORD.size + size


def read_header(path: Path) -> LogHeader:
    """Return the header of a log, whose values nobody has checked: a log may be a stranger's.

    Raises OSError, ValueError if the file is no log, and CheckpointMismatch if there is no file.
    """
    with existing(path) as file:
        kind, *_, payload = next(_records(file, None), (None, b""))
    if kind != _HEADER:
        raise ValueError(f"{path.name} is not a packet log")
    values = json.loads(payload)
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} is not a packet log")
    return cast("LogHeader", values)


def read_packets(path: Path, size: int | None = None) -> Iterator[tuple[int, av.Packet, Fraction]]:
    """Yield VIDEO or AUDIO, the packet, and its time base, for every packet in the first `size` bytes; None: all of
    them. Equal time bases are the same object. For a FRAME, the packet has its times and no data.

    Raises OSError, and ValueError if the log ends within a record.
    """
    with existing(path) as file:
        yield from packets_of(file, size)


def packets_of(file: IO[bytes], size: int | None = None) -> Iterator[tuple[int, av.Packet, Fraction]]:
    """As read_packets, from an open file, which needs no header."""
    side_data = []
    for kind, flags, pts, dts, duration, base, payload in _records(file, size):
        if kind == _SIDE_DATA:
            # PyAV has no other way to make side data than by its number and size.
            side_data.append(PacketSideData(flags, len(payload)))  # type: ignore[call-arg]  # not in its stub
            side_data[-1].update(payload)
        elif kind in (VIDEO, AUDIO, FRAME):
            data_size = 0 if kind == FRAME else len(payload)
            packet = av.Packet(data_size)
            if data_size:
                packet.update(payload)
            packet.time_base = base
            packet.pts, packet.dts = (None if value == _NO_TIME else value for value in (pts, dts))
            packet.duration = duration
            packet.is_keyframe = bool(flags & _KEY_FRAME)
            for data in side_data:
                packet.set_sidedata(data)
            side_data = []
            yield kind, packet, base


def read_notes(path: Path, begin: int = 0, size: int | None = None) -> Iterator[Note]:
    """Yield the notes of a log, from the record that begins at byte `begin` up to byte `size`; None: up to its end.
    Raises as read_packets does."""
    with existing(path) as file:
        file.seek(begin)
        at = begin
        left = (os.fstat(file.fileno()).st_size if size is None else size) - begin
        for kind, _, pts, _, duration, base, payload in _records(file, left):
            if kind in (FRAME, STATE):
                yield Note(kind, pts, duration, base, payload, at)
            at += _RECORD.size + len(payload)


def _records(file: IO[bytes], size: int | None) -> Iterator[tuple[int, int, int, int, int, Fraction, bytes]]:
    left = os.fstat(file.fileno()).st_size if size is None else size
    bases: dict[tuple[int, int], Fraction] = {}
    while left:
        head = file.read(_RECORD.size)
        if len(head) < _RECORD.size:
            raise ValueError("the packet log ends within a record")
        kind, flags, pts, dts, duration, numerator, denominator, length = _RECORD.unpack(head)
        left -= _RECORD.size + length
        if numerator < 1 or denominator < 1:
            raise ValueError("the packet log is damaged")
        payload = file.read(length) if left >= 0 else b""
        if len(payload) < length:
            raise ValueError("the packet log ends within a record")
        base = bases.get((numerator, denominator))
        if base is None:
            base = bases[numerator, denominator] = Fraction(numerator, denominator)
        yield kind, flags, pts, dts, duration, base, payload


def _side_data(packet: av.Packet) -> Iterator[tuple[int, bytes]]:
    for data in packet.iter_sidedata():
        try:
            number = packet_sidedata_type_from_literal(data.data_type)
        except (IndexError, ValueError):  # a type that FFmpeg knows and PyAV does not: nothing a muxer needs
            continue
        yield number, bytes(data)
