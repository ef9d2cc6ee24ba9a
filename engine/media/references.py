"""The number of frames a decoder must keep, from the sequence parameter sets of an H.264 or H.265 stream.

The syntax is that of ITU-T H.264 (7.3.2.1.1) and H.265 (7.3.2.2), parsed only up to that number.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from engine.media.units import Bits, has_sizes, units_of_head, views_of_packet

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

_WITH_CHROMA_FORMAT = frozenset((100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135))


def kept_by_head(codec: str, head: bytes | None) -> int | None:
    """Return the largest number that a parameter set in the stream's extradata requires; None if none can be read, or
    for another codec. `head` is avcC, hvcC (ISO/IEC 14496-15) or Annex B."""
    if codec not in _READERS or not head:
        return None
    return _largest(codec, units_of_head(codec, head))


def has_parameter_sets(codec: str) -> bool:
    """Return whether the packets of a codec may have parameter sets that `kept_by_packet` reads."""
    return codec in _READERS


def kept_by_packet(codec: str, head: bytes | None, packet: Buffer) -> int | None:
    """Do the same for the parameter sets in a packet, which replace those of the extradata."""
    if codec not in _READERS:
        return None
    if not has_sizes(head) and _READERS[codec].start.search(packet) is None:  # as in most packets
        return None
    return _largest(codec, views_of_packet(codec, head, packet))


def _largest(codec: str, units: Iterable[bytes | memoryview]) -> int | None:
    reader, largest = _READERS[codec], None
    for unit in units:
        if reader.is_set(unit[0]):
            with contextlib.suppress(IndexError):  # damaged: the decoder can't use it either
                largest = max(reader.kept(Bits(bytes(unit))), largest or 0)
    return largest


def _of_h264(bits: Bits) -> int:
    bits.take(8)
    profile = bits.take(8)
    bits.take(16)
    bits.number()
    if profile in _WITH_CHROMA_FORMAT:
        chroma = bits.number()
        bits.take(chroma == 3)
        bits.number(), bits.number(), bits.take(1)
        if bits.take(1):
            for index in range(12 if chroma == 3 else 8):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    bits.number()
    order = bits.number()
    if order == 0:
        bits.number()
    elif order == 1:
        bits.take(1), bits.number(), bits.number()
        for _ in range(bits.number()):
            bits.number()
    return bits.number()


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = following = 8
    if bits.take(1):
        for _ in range(size):
            if following:
                following = (last + bits.signed()) % 256
            last = following or last


def _of_h265(bits: Bits) -> int:
    bits.take(16 + 4)
    layers = bits.take(3)
    bits.take(1 + 88 + 8)
    present = [(bits.take(1), bits.take(1)) for _ in range(layers)]
    bits.take(2 * (8 - layers) if layers else 0)
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
    bits.number()
    if bits.number() == 3:
        bits.take(1)
    bits.number(), bits.number()
    if bits.take(1):
        bits.number(), bits.number(), bits.number(), bits.number()
    bits.number(), bits.number(), bits.number()
    kept = 0
    for _ in range(layers + 1 if bits.take(1) else 1):
        kept = max(kept, bits.number() + 1)
        bits.number(), bits.number()
    return kept


class _Reader(NamedTuple):
    """How to recognise a parameter set by a unit's first byte, alone and behind a start code, and how to parse it."""

    is_set: Callable[[int], bool]
    start: re.Pattern[bytes]
    kept: Callable[[Bits], int]


_READERS = {
    "h264": _Reader(
        lambda first: first & 31 == 7, re.compile(rb"\x00\x00\x01[\x07\x27\x47\x67\x87\xa7\xc7\xe7]"), _of_h264
    ),
    "hevc": _Reader(lambda first: first >> 1 & 63 == 33, re.compile(rb"\x00\x00\x01[\x42\x43\xc2\xc3]"), _of_h265),
}
