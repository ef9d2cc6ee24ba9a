"""How long a file must be by its container's structure: distinguishes a truncated file from one with wrong claims.

Counts and durations in a header are what a writer intended. The sizes of the parts that it wrote are facts: if a part
extends beyond the end of the file, its end is lost. AVI, MP4, Matroska, ASF, Flash, GIF and MPEG transport streams are
supported; for other formats nothing is known.
"""

from __future__ import annotations

import os
from typing import IO, Protocol

_MAX_PARTS = 1_000_000
_TS_SYNC = 0x47
_TS_PACKET = 188
_M2TS_PACKET = 192
_M2TS_PREFIX = 4

_RIFF_UNKNOWN = (0, 0xFFFFFFFF)
_RIFF_HEAD = 8
_LONGEST_HEAD, _MIN_ID = 12, 0x10
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_FLV_TAGS = (8, 9, 18)
_FLV_TAG_HEAD = 11


class _Account(Protocol):
    def __call__(self, file: IO[bytes], size: int) -> int | None: ...


def missing_bytes(file: IO[bytes]) -> int | None:
    """Return how many bytes the last part of a container lacks; 0 if it is complete, None if unknown.

    The position of `file` is neither used nor preserved. Raises OSError.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(2 * _M2TS_PACKET + _M2TS_PREFIX + 1)
    account = _account_of(head)
    end = account(file, size) if account is not None else None
    return None if end is None else max(0, end - size)


def appended_at(file: IO[bytes]) -> int | None:
    """Return where a second video begins that was appended to a first one, in a container whose readers stop or skip
    there (MP4, QuickTime, ASF, Flash); None if there is none.

    The position of `file` is neither used nor preserved. Raises OSError.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(16)
    if head[4:8] == b"ftyp":
        return _second_movie(file, size)
    if head == _ASF_HEADER:
        return _second_asf(file, size)
    return _second_flv(file, size) if head[:3] == b"FLV" else None


def _second_movie(file: IO[bytes], size: int) -> int | None:
    """Return where a second "ftyp" with its own movie and media begins. After a merely repeated header, fragments
    continue."""
    at, second, names = 0, None, set()
    for _ in range(_MAX_PARTS):
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4], "big")
        if len(head) < 16 or length < 8 or at + length > size:
            break
        if head[4:8] == b"ftyp" and at and second is None:
            second = at
        if second is not None:
            names.add(head[4:8])
        at += length
    return second if {b"moov", b"mdat"} <= names and b"moof" not in names else None


def _second_asf(file: IO[bytes], size: int) -> int | None:
    at = 0
    for _ in range(_MAX_PARTS):
        file.seek(at)
        head = file.read(24)
        length = int.from_bytes(head[16:], "little")
        if len(head) < 24 or length < 24 or at >= size:
            return None
        if at and head[:16] == _ASF_HEADER:
            return at
        at += length
    return None


def _second_flv(file: IO[bytes], size: int) -> int | None:
    file.seek(5)
    at = int.from_bytes(file.read(4), "big") + 4
    for _ in range(_MAX_PARTS):
        file.seek(at)
        head = file.read(4)
        if head[:3] == b"FLV":
            return at
        if len(head) < 4 or head[0] & 0x1F not in _FLV_TAGS or at >= size:
            return None
        at += _FLV_TAG_HEAD + int.from_bytes(head[1:], "big") + 4
    return None


def _account_of(head: bytes) -> _Account | None:
    if head[:4] == b"RIFF":
        return _riff
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"pnot"):
        return _boxes
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return _matroska
    if head[:16] == _ASF_HEADER:
        return _asf
    if head[:3] == b"FLV":
        return _flv
    if head[:4] == b"GIF8":
        return _gif
    if len(head) > 2 * _TS_PACKET and all(head[at] == _TS_SYNC for at in (0, _TS_PACKET, 2 * _TS_PACKET)):
        return _transport
    if len(head) > 2 * _M2TS_PACKET + _M2TS_PREFIX and all(
        head[at + _M2TS_PREFIX] == _TS_SYNC for at in (0, _M2TS_PACKET, 2 * _M2TS_PACKET)
    ):
        return _transport_timed
    return None


def _riff(file: IO[bytes], size: int) -> int | None:
    """Walk AVI: consecutive RIFF chunks, "AVI " and then "AVIX"; each has a name, a size and an even number of
    bytes."""
    at = 0
    for _ in range(_MAX_PARTS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8 or head[:4] != b"RIFF":
            break
        length = int.from_bytes(head[4:], "little")
        if length in _RIFF_UNKNOWN:  # the writer never filled in the size
            return None
        at += 8 + length
        if at >= size:
            break
        at += at % 2
    return at if at > size + _RIFF_HEAD else size  # some writers count the chunk's header


def _boxes(file: IO[bytes], size: int) -> int | None:
    """Walk MP4 and QuickTime, ISO/IEC 14496-12: consecutive boxes with a size and a name; size 1 means that a 64-bit
    size follows."""
    at = 0
    for _ in range(_MAX_PARTS):
        file.seek(at)
        head = file.read(16)
        if len(head) < 8 or not head[4:8].isascii() or not head[4:8].strip(b"\0"):
            break  # not a box: padding, or appended data
        length, least = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, least = int.from_bytes(head[8:16], "big"), 16
        if length == 0:  # up to the end of the file, however long that is
            return size
        if length < least:
            return None
        at += length
        if at >= size:
            break
    return at


def _asf(file: IO[bytes], size: int) -> int | None:
    """Walk ASF (WMV): consecutive objects with a GUID and a 64-bit size. A broadcast leaves its data's size open."""
    at = 0
    for _ in range(_MAX_PARTS):
        file.seek(at)
        head = file.read(24)
        if len(head) < 24:
            break
        length = int.from_bytes(head[16:], "little")
        if length < 24:
            return None
        at += length
        if at >= size:
            break
    return at


def _matroska(file: IO[bytes], size: int) -> int | None:
    """Walk Matroska and WebM, RFC 8794: elements with an id, a size and content. A segment of unknown size ends with
    its last cluster, and such a cluster with its last block. Data in a segment that is not an element counts as
    missing."""
    at, segment_end = 0, None
    for _ in range(_MAX_PARTS):
        file.seek(at)
        head = file.read(_LONGEST_HEAD)
        element = _element(head)
        if element is None:
            if not head:
                break
            if head[0] >= _MIN_ID and len(head) < _LONGEST_HEAD:  # cut inside the element's header
                return size + 1
            return None if segment_end is None else size + segment_end - at
        name, length, head_length = element
        if name == _SEGMENT:
            segment_end = None if length is None else at + head_length + length
            if segment_end is not None and segment_end > size:
                return segment_end
            at += head_length
            continue
        if length is None:
            if name != _CLUSTER:
                return segment_end
            at += head_length  # continue with its blocks
            continue
        at += head_length + length
        if at >= size or at == segment_end:
            break
    return at


def _element(head: bytes) -> tuple[int, int | None, int] | None:
    """Return id, size (None: unknown) and header length of an element; None if it is not an element."""
    if not head or head[0] < _MIN_ID:
        return None
    id_length = 9 - head[0].bit_length()
    rest = head[id_length:]
    if not rest or not rest[0]:
        return None
    size_length = 9 - rest[0].bit_length()
    if len(rest) < size_length:
        return None
    mask = (1 << (7 * size_length)) - 1
    length = int.from_bytes(rest[:size_length], "big") & mask
    return int.from_bytes(head[:id_length], "big"), None if length == mask else length, id_length + size_length


def _flv(file: IO[bytes], size: int) -> int | None:
    """Walk Flash: a header, then tags, each with its size before and after it; some writers omit the last size."""
    file.seek(5)
    at = int.from_bytes(file.read(4), "big") + 4
    for _ in range(_MAX_PARTS):
        if at >= size:
            break
        file.seek(at)
        head = file.read(4)
        if len(head) < 4:
            return size + 1
        if head[0] & 0x1F not in _FLV_TAGS:
            return None
        at += _FLV_TAG_HEAD + int.from_bytes(head[1:], "big")
        if at > size:
            return at
        at += 4
    return size


def _gif(file: IO[bytes], size: int) -> int | None:
    """Find the end of a GIF, a semicolon; some writers append zeros."""
    file.seek(max(0, size - 64))
    return size if file.read().rstrip(b"\0").endswith(b";") else size + 1


def _transport(file: IO[bytes], size: int) -> int | None:
    """Return where another video begins after an MPEG transport stream, whose packets have a fixed length; None if
    there is none or it is another transport stream."""
    return _packets(file, size, _TS_PACKET, 0)


def _transport_timed(file: IO[bytes], size: int) -> int | None:
    """Do the same for M2TS, where a four-byte timestamp precedes each packet."""
    return _packets(file, size, _M2TS_PACKET, _M2TS_PREFIX)


def _packets(file: IO[bytes], size: int, length: int, prefix: int) -> int | None:
    over = size % length
    if over <= prefix:
        return size
    file.seek(size - over + prefix)
    return size - over + length if file.read(1) == bytes([_TS_SYNC]) else size
