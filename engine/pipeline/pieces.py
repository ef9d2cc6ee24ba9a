"""Pieces of a long video, whose detections others make ahead of whoever tracks it.

Detections depend on the image alone, so they are kept under the image itself, by checksums of all its bytes. Who
tracks the video decodes every frame, looks its image up, and infers what is not there: a piece that is missing, cut
short or of other images costs time, and never changes a result. So it is of no importance where exactly a piece
begins, what its first frames refer to, or whether its times could be told. Where no output needs images, closed groups
of pictures are known by their packets, and not even decoded (engine.pipeline.groups).

A file of a piece: a line of magic, 32 bytes that say what it was made with, and the numbers of its images and groups.
For each image pts and duration, 40 bytes of checksums, three counts (detections, values that are not finite, boxes
without area) and for each detection, best first, 24 bytes: x1 y1 x2 y2 score as float32, the class as int32. For each
group the pts of its first packet, the number of its first image and how many it has, and a hash of its packets. At the
end SHA-256 of all that. Little-endian.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np

from engine.errors import SinkError, describe_os_error
from engine.media.planes import colour_of, planes_of
from engine.pipeline.assignment import PiecesOf, spare_of
from engine.pipeline.groups import GroupRecorder
from engine.records import Detections, EndOfStream, StreamInfo, Tracks
from engine.resume.journal import Fingerprint
from engine_ext.letterbox import PLANES

log = logging.getLogger(__name__)

_MAGIC = b"yolo-engine piece 2\n"
_KEY_BYTES = 40
_COUNTS = struct.Struct("<II")
_HEAD = struct.Struct(f"<qq{_KEY_BYTES}sIII")
_GROUP = struct.Struct("<qII32s")
_PLANE = struct.Struct("<IQ")
_ROW = np.dtype([("box", "<f4", 4), ("score", "<f4"), ("class", "<i4")])
_LARGEST = 1 << 28
_LOOK_EVERY_S = 0.5

Found = Mapping[bytes, Detections]
"""The detections of images, by their keys."""


class KnownFrame(NamedTuple):
    """A frame of a piece: its container's times, what was detected in it, and the key of its image."""

    pts: int
    duration: int
    detections: Detections
    key: bytes


class KnownGroup(NamedTuple):
    """A closed group of pictures, known by the hash of its packets."""

    digest: bytes
    frames: Sequence[KnownFrame]


class FoundPiece(NamedTuple):
    """What a piece's file holds: detections by image, and groups by the pts of their first packets."""

    images: Found
    groups: Mapping[int, KnownGroup]


_NOTHING = FoundPiece({}, {})


def made_with(shared: Fingerprint) -> bytes:
    """Return 32 bytes that differ where the detections of an image may."""
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).digest()


def key_of(image: av.VideoFrame) -> bytes:
    """Return 40 bytes by which a frame is known, in one of the formats of PLANES: checksums of all that a detector sees
    of it, its format, size and colours, and its planes without what pads their rows.

    Of each plane they are CRC-32 and the sum of its 64-bit words. Neither misses a change in one place, and changes in
    several that both miss don't come about by chance. A cryptographic hash takes three times as long, of every frame.
    """
    name, width, height = image.format.name, image.width, image.height
    key = zlib.crc32(repr((name, width, height, colour_of(image))).encode()).to_bytes(4, "little")
    for number, (plane, components) in enumerate(zip(planes_of(image), PLANES[name], strict=True)):
        rows, columns = (height, width) if number == 0 else ((height + 1) // 2, (width + 1) // 2)
        seen = np.ascontiguousarray(plane[:rows, : columns * components]).reshape(-1)
        words = seen[: seen.size // 8 * 8].view(np.uint64)
        key += _PLANE.pack(zlib.crc32(seen.data), int(words.sum(dtype=np.uint64)))
    return key.ljust(_KEY_BYTES, b"\0")


class PieceSink:
    """Keeps the detections of a piece's frames, in memory until they are all there."""

    kind = "piece"

    def __init__(self, made_with: bytes, recorder: GroupRecorder) -> None:
        """Read `recorder`, which is told of the piece's packets and frames, when the piece is complete."""
        self._made_with = made_with
        self._recorder = recorder
        self._parts: list[bytes] = []
        self._pts: list[int] = []

    def open(self, info: StreamInfo) -> None:
        """Do nothing: the file appears at once, when it is complete."""

    def write(self, tracks: Tracks) -> None:
        image, found = tracks.frame.image, tracks.detections
        if image is None or found is None:
            return
        table = np.empty(len(found), _ROW)
        table["box"], table["score"], table["class"] = found.boxes_xyxy, found.scores, found.class_ids
        pts, duration = tracks.frame.pts, tracks.frame.duration
        head = _HEAD.pack(pts, duration, key_of(image), len(found), found.non_finite, found.without_area)
        self._parts.append(head + table.tobytes())
        self._pts.append(pts)

    def commit(self, end: EndOfStream, path: Path) -> None:
        """Let the file appear, whole; nothing of a piece that was interrupted. Raises SinkError."""
        if end.interrupted:
            return
        part = spare_of(path)
        groups = list(self._groups())
        counts = _COUNTS.pack(len(self._pts), len(groups))
        body = b"".join([_MAGIC, self._made_with, counts, *self._parts, *groups])
        try:
            with open(part, "xb") as file:
                file.write(body + hashlib.sha256(body).digest())
            os.replace(part, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise SinkError(f"{path.name} can't be written: {describe_os_error(error)}") from error

    def _groups(self) -> Iterator[bytes]:
        """Give the groups of which all frames are here."""
        place = {pts: number for number, pts in enumerate(self._pts)}
        for group in self._recorder.groups:
            first, count = place.get(group.pts[0]), len(group.pts)
            if first is not None and self._pts[first : first + count] == group.pts:
                yield _GROUP.pack(group.first_pts, first, count, group.digest)

    def abort(self) -> None:
        self._parts.clear()
        self._pts.clear()


def read_piece(path: Path, made_with: bytes, class_count: int) -> FoundPiece | None:
    """Return what a file of a piece holds; None if there is none. What is damaged, or was made with something else,
    counts as empty."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            body = file.read(_LARGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s can't be read, and its frames are inferred: %s", path, describe_os_error(error))
        return _NOTHING
    begin = len(_MAGIC) + len(made_with)
    end = len(body) - hashlib.sha256().digest_size
    whole = end >= begin and hashlib.sha256(memoryview(body)[:end]).digest() == body[end:]
    if not whole or body[:begin] != _MAGIC + made_with:
        log.warning("%s is damaged, or was made with something else: its frames are inferred", path)
        return _NOTHING
    try:
        return _parsed(body, begin, end, class_count)
    except (ValueError, struct.error) as error:
        log.warning("%s is damaged, and its frames are inferred: %s", path, error)
        return _NOTHING


def _parsed(body: bytes, at: int, end: int, class_count: int) -> FoundPiece:
    """Raise ValueError or struct.error where it is not what PieceSink writes."""
    images: dict[bytes, Detections] = {}
    frames: list[KnownFrame] = []
    image_count, group_count = _COUNTS.unpack_from(body, at)
    at += _COUNTS.size
    for _ in range(image_count):
        pts, duration, key, count, non_finite, without_area = _HEAD.unpack_from(body, at)
        at += _HEAD.size
        if at + count * _ROW.itemsize > end:
            raise ValueError("a frame is cut short")
        table: Any = np.frombuffer(body, _ROW, count, at)
        at += count * _ROW.itemsize
        boxes, scores = np.ascontiguousarray(table["box"]), np.ascontiguousarray(table["score"])
        class_ids = np.ascontiguousarray(table["class"])
        if count and not 0 <= int(class_ids.min()) <= int(class_ids.max()) < class_count:
            raise ValueError("a class has no name")
        images[key] = Detections(boxes, scores, class_ids, non_finite, without_area)
        frames.append(KnownFrame(pts, duration, images[key], key))
    groups: dict[int, KnownGroup] = {}
    for _ in range(group_count):
        first_pts, first, count, digest = _GROUP.unpack_from(body, at)
        at += _GROUP.size
        if first + count > len(frames):
            raise ValueError("a group has frames that are not there")
        groups[first_pts] = KnownGroup(digest, frames[first : first + count])
    if at != end:
        raise ValueError("something follows its last group")
    return FoundPiece(images, groups)


class Ahead:
    """What others have found in the pieces of a video, for the thread that decodes it, which gets further and further.

    One piece is in memory at a time. `used` counts the frames that need not be inferred; `needs_images`: an output
    shows them, so that every frame is decoded all the same.
    """

    def __init__(self, pieces: PiecesOf, made_with: bytes, class_count: int, *, needs_images: bool = True) -> None:
        self.used = 0
        self.needs_images = needs_images
        self._pieces = pieces
        self._made_with = made_with
        self._classes = class_count
        self._number = -1
        self._found: FoundPiece | None = None
        self._looked_at = 0.0

    def at(self, since_first_s: float) -> FoundPiece | None:
        """Return what is known of the frames around a time, in seconds from the first frame; None: nothing yet."""
        number = int(since_first_s // self._pieces.length_s)
        if number != self._number:
            self._number, self._found, self._looked_at = number, None, 0.0
        if self._found is None and number >= 0 and time.monotonic() - self._looked_at > _LOOK_EVERY_S:
            self._found = read_piece(self._pieces.piece(number).file, self._made_with, self._classes)
            self._looked_at = time.monotonic()
        return None if self._found is _NOTHING else self._found
