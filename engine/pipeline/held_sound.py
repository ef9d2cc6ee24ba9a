"""Sound that was read and belongs to frames that are still to come: in memory, and in a file once there is much of it.

Usually it is less than a second. With `scan`, hours may pass before the next frame.
"""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import av

from engine.errors import SinkError, describe_os_error
from engine.sinks.packet_log import AUDIO, PacketLog, packets_of

_MAX_BYTES = 1 << 23
_PACKET_BYTES = 512  # approximate size of a packet besides its data


class HeldSound:
    """Packets of sound in file order. `folder` returns the place of a file that needs no name; None: among the system's
    temporary files. At most `max_bytes` are kept in memory."""

    def __init__(self, folder: Callable[[], Path | None] = lambda: None, max_bytes: int = _MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._packets: list[av.Packet] = []
        self._bytes = 0
        self._spilled: _Spilled | None = None

    def __len__(self) -> int:
        return len(self._packets) + (self._spilled.count if self._spilled is not None else 0)

    def add(self, packet: av.Packet) -> None:
        """Add the next packet. Raises SinkError."""
        self._packets.append(packet)
        self._bytes += packet.size + _PACKET_BYTES
        if self._bytes <= self._max_bytes:
            return
        try:
            if self._spilled is None:
                self._spilled = _Spilled(self._folder())
            self._spilled.write(self._packets)
        except OSError as error:
            raise SinkError(f"sound can't be written: {describe_os_error(error)}") from error
        self._packets, self._bytes = [], 0

    def drop_before(self, begins_s: float) -> None:
        """Drop the packets that end by then."""
        if self._spilled is not None:
            self._spilled.begins_s = max(self._spilled.begins_s, begins_s)
        self._packets = [packet for packet in self._packets if _end_of(packet) > begins_s]
        self._bytes = sum(packet.size + _PACKET_BYTES for packet in self._packets)

    def take(self, ends_s: float = math.inf) -> Iterable[av.Packet]:
        """Return the packets that begin before `ends_s`, and forget all. They can be iterated repeatedly, on any
        thread."""
        packets = tuple(self._packets if ends_s == math.inf else (p for p in self._packets if begin_of(p) < ends_s))
        spilled = self._spilled
        self._packets, self._bytes, self._spilled = [], 0, None
        if spilled is None:
            return packets
        spilled.ends_s, spilled.rest = ends_s, packets
        return spilled


class _Spilled:
    """Packets in a file, which is closed with this object, followed by the `rest`. Those that end by `begins_s` or
    begin at `ends_s` or later are left out."""

    def __init__(self, folder: Path | None) -> None:
        self.count = 0
        self.begins_s, self.ends_s = -math.inf, math.inf
        self.rest: Sequence[av.Packet] = ()
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with this object
        weakref.finalize(self, self._file.close)
        self._log = PacketLog(self._file)

    def write(self, packets: Sequence[av.Packet]) -> None:
        """Append packets. Raises OSError."""
        for packet in packets:
            if packet.time_base:
                self._log.packet(AUDIO, packet)
        self._log.flush()
        self.count += len(packets)

    def __iter__(self) -> Iterator[av.Packet]:
        self._file.seek(0)
        for _, packet, _ in packets_of(self._file):
            if _end_of(packet) > self.begins_s and begin_of(packet) < self.ends_s:
                yield packet
        yield from self.rest


def begin_of(packet: av.Packet) -> float:
    """Return when a packet begins on the stream's clock. Packets without a time belong to their neighbours."""
    return _at_s(packet, 0, -math.inf)


def _end_of(packet: av.Packet) -> float:
    return _at_s(packet, packet.duration or 0, math.inf)


def _at_s(packet: av.Packet, behind: int, unknown: float) -> float:
    at = packet.pts if packet.pts is not None else packet.dts
    return unknown if at is None or not packet.time_base else float((at + behind) * packet.time_base)
