"""Pieces of a long video, whose detections others make ahead of whoever tracks it.

Detections depend on the image alone, so they are kept under the image itself, by checksums of all its bytes. Who
tracks the video decodes every frame, looks its image up, and infers what is not there: a piece that is missing, cut
short or of other images costs time, and never changes a result. So it is of no importance where exactly a piece
begins, what its first frames refer to, or whether its times could be told.

A file of a piece: a line of magic, 32 bytes that say what it was made with, then for each image 40 bytes of
checksums, three counts (detections, values that are not finite, boxes without area) and for each detection, best first,
24 bytes: x1 y1 x2 y2 score as float32, the class as int32. At its end SHA-256 of all that. Little-endian.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import struct
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np

from engine.errors import SinkError, describe_os_error
from engine.media.planes import colour_of, planes_of
from engine.pipeline.assignment import PiecesOf
from engine.records import Detections, EndOfStream, StreamInfo, Tracks
from engine.resume.journal import Fingerprint
from engine_ext.letterbox import PLANES

log = logging.getLogger(__name__)

_MAGIC = b"yolo-engine piece 1\n"
_KEY_BYTES = 40
_HEAD = struct.Struct(f"<{_KEY_BYTES}sIII")
_PLANE = struct.Struct("<IQ")
_ROW = np.dtype([("box", "<f4", 4), ("score", "<f4"), ("class", "<i4")])
_LARGEST = 1 << 28
_LOOK_EVERY_S = 0.5

Found = Mapping[bytes, Detections]
"""The detections of images, by their keys."""


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

    def __init__(self, made_with: bytes) -> None:
        self._parts = [_MAGIC, made_with]

    def open(self, info: StreamInfo) -> None:
        """Do nothing: the file appears at once, when it is complete."""

    def write(self, tracks: Tracks) -> None:
        image, found = tracks.frame.image, tracks.detections
        if image is None or found is None:
            return
        table = np.empty(len(found), _ROW)
        table["box"], table["score"], table["class"] = found.boxes_xyxy, found.scores, found.class_ids
        head = _HEAD.pack(key_of(image), len(found), found.non_finite, found.without_area)
        self._parts.append(head + table.tobytes())

    def commit(self, end: EndOfStream, path: Path) -> None:
        """Let the file appear, whole; nothing of a piece that was interrupted. Raises SinkError."""
        if end.interrupted:
            return
        part = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        body = b"".join(self._parts)
        try:
            with open(part, "xb") as file:
                file.write(body + hashlib.sha256(body).digest())
            os.replace(part, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise SinkError(f"{path.name} can't be written: {describe_os_error(error)}") from error

    def abort(self) -> None:
        self._parts.clear()


def read_piece(path: Path, made_with: bytes, class_count: int) -> Found | None:
    """Return what a file of a piece holds; None if there is none. What is damaged, or was made with something else,
    counts as empty."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            body = file.read(_LARGEST)
    except FileNotFoundError:
        return None
    except OSError as error:
        log.warning("%s can't be read, and its frames are inferred: %s", path, describe_os_error(error))
        return {}
    begin = len(_MAGIC) + len(made_with)
    end = len(body) - hashlib.sha256().digest_size
    whole = end >= begin and hashlib.sha256(memoryview(body)[:end]).digest() == body[end:]
    if not whole or body[:begin] != _MAGIC + made_with:
        log.warning("%s is damaged, or was made with something else: its frames are inferred", path)
        return {}
    try:
        return _parsed(body, begin, end, class_count)
    except (ValueError, struct.error) as error:
        log.warning("%s is damaged, and its frames are inferred: %s", path, error)
        return {}


def _parsed(body: bytes, at: int, end: int, class_count: int) -> Found:
    """Raise ValueError or struct.error where it is not what PieceSink writes."""
    found: dict[bytes, Detections] = {}
    while at < end:
        picture, count, non_finite, without_area = _HEAD.unpack_from(body, at)
        at += _HEAD.size
        if at + count * _ROW.itemsize > end:
            raise ValueError("a frame is cut short")
        table: Any = np.frombuffer(body, _ROW, count, at)
        at += count * _ROW.itemsize
        boxes, scores = np.ascontiguousarray(table["box"]), np.ascontiguousarray(table["score"])
        class_ids = np.ascontiguousarray(table["class"])
        if count and not 0 <= int(class_ids.min()) <= int(class_ids.max()) < class_count:
            raise ValueError("a class has no name")
        found[picture] = Detections(boxes, scores, class_ids, non_finite, without_area)
    return found


class Ahead:
    """What others have found in the pieces of a video, for the thread that decodes it, which gets further and further.

    One piece is in memory at a time. `used` counts the frames that need not be inferred.
    """

    def __init__(self, pieces: PiecesOf, made_with: bytes, class_count: int) -> None:
        self.used = 0
        self._pieces = pieces
        self._made_with = made_with
        self._classes = class_count
        self._number = -1
        self._found: Found | None = None
        self._looked_at = 0.0

    def at(self, since_first_s: float) -> Found | None:
        """Return what is known of the images around a time, in seconds from the first frame; None: nothing yet."""
        number = int(since_first_s // self._pieces.length_s)
        if number != self._number:
            self._number, self._found, self._looked_at = number, None, 0.0
        if self._found is None and number >= 0 and time.monotonic() - self._looked_at > _LOOK_EVERY_S:
            self._found = read_piece(self._pieces.piece(number).file, self._made_with, self._classes)
            self._looked_at = time.monotonic()
        return self._found or None
