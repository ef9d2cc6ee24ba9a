"""NAL units of H.264 and H.265: extracted from extradata and packets, and written as Annex B.

`head` is a stream's extradata: avcC, hvcC (ISO/IEC 14496-15) or Annex B. Packets have the same form as their head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_START = re.compile(rb"\x00\x00\x01")


def units_of_head(codec: str, head: bytes | None) -> Iterator[bytes]:
    """Yield the parameter sets in a stream's extradata."""
    if not head:
        return
    if head[0] != 1:
        yield from _between_start_codes(head)
        return
    if codec == "h264":
        sets, place = _counted(head, 6, head[5] & 31 if len(head) > 5 else 0)
        yield from sets
        yield from _counted(head, place + 1, head[place] if len(head) > place else 0)[0]
        return
    place = 23
    for _ in range(head[22] if len(head) > 22 else 0):
        sets, place = _counted(head, place + 3, int.from_bytes(head[place + 1 : place + 3], "big"))
        yield from sets


def units_of_packet(codec: str, head: bytes | None, packet: Buffer) -> Iterator[bytes]:
    """Yield the units of a packet."""
    return map(bytes, views_of_packet(codec, head, packet))


def has_sizes(head: bytes | None) -> bool:
    """Return whether the units of a packet are preceded by their sizes, not by start codes."""
    return head is not None and len(head) > 22 and head[0] == 1


def views_of_packet(codec: str, head: bytes | None, packet: Buffer) -> Iterator[memoryview]:
    """Yield the units of a packet, without a copy if they are preceded by their sizes."""
    if head and has_sizes(head):
        return _with_sizes(memoryview(packet), (head[4 if codec == "h264" else 21] & 3) + 1)
    return map(memoryview, _between_start_codes(bytes(packet)))


def annex_b(units: Iterable[bytes]) -> bytes:
    """Return units as Annex B."""
    return b"".join(b"\0\0\0\1" + unit for unit in units)


def kind_of(codec: str, unit: bytes) -> int:
    """Return a unit's type."""
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def _between_start_codes(data: bytes) -> Iterator[bytes]:
    for unit in _START.split(data)[1:]:
        if unit := unit.rstrip(b"\0"):  # zeros before the next start code do not belong to it
            yield unit


def _with_sizes(data: memoryview, size_bytes: int) -> Iterator[memoryview]:
    place = size_bytes
    while unit := data[place : place + int.from_bytes(data[place - size_bytes : place], "big")]:
        place += len(unit) + size_bytes
        yield unit


def _counted(head: bytes, place: int, count: int) -> tuple[list[bytes], int]:
    units = []
    for _ in range(count):
        unit = head[place + 2 : place + 2 + int.from_bytes(head[place : place + 2], "big")]
        if not unit:
            break
        units.append(unit)
        place += 2 + len(unit)
    return units, place


class Bits:
    """Reads a unit bit by bit, most significant first, without emulation prevention bytes. Raises IndexError at its
    end."""

    def __init__(self, unit: bytes) -> None:
        self._data = unit.replace(b"\x00\x00\x03", b"\x00\x00")
        self._place = 0

    def take(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._place >> 3] >> (7 - (self._place & 7)) & 1
            self._place += 1
        return value

    def number(self) -> int:
        """Read ue(v): Exp-Golomb, 9.1."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        """Read se(v)."""
        code = self.number()
        return (code + 1) // 2 if code & 1 else -(code // 2)
