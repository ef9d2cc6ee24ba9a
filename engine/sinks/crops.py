"""`<stem>.crops.zip`: for each track, the crop that shows its object best, as JPEG, and an index of them.

The best crop is the one with the largest worth: score x area x sharpness, divided by four at the frame's edge. Tracks
are examined in every eighth inferred frame, new ones at once, and a crop is replaced by one that is worth a fifth more,
so that an approaching object is not cropped from every frame.

Crops are taken from the decoded frame before anything is drawn on it. The crop of a live track waits in memory, as the
frame's own planes, scaled down if it is large; once the track is gone, or a checkpoint is due, it is encoded and
appended to a log. The last of a track's records counts, so the final archive does not depend on where checkpoints were.
It is an uncompressed ZIP, which everything opens, and appears atomically like every output. FFmpeg's encoder makes the
JPEGs through PyAV, directly from the frame's planes.
"""

from __future__ import annotations

import contextlib
import json
import os
import struct
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import IO, Annotated, Any, cast

import av
import av.error
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError

from engine.errors import CheckpointMismatch, SinkError, describe_os_error
from engine.media.planes import colour_of, planes_of
from engine.records import EndOfStream, StreamInfo, Tracks
from engine.sinks.base import (
    FileSink,
    OutputState,
    State,
    discard,
    existing,
    fresh,
    part_path,
    publish,
    reopened,
    spare_path,
)
from engine_ext.jpeg_planes import jpeg_planes
from engine_ext.sharpness import worths

INDEX = "index.jsonl"

_MAX_PX = 320  # of a crop's longer side
_AROUND = 0.08  # of the box's sides, that is shown around it
_BETTER = 1.2
_EVERY = 8  # inferred frames in which a track is looked at
_MAX_WAITING_PX = 512  # of a longer side, in memory: scaling takes longer than cutting, and most are never used
_BLOCK = 16  # pixels of a JPEG's block, with its chroma
_ENCODERS = 12  # kept, of 0.4 MB each
_QUALITY = 4  # FFmpeg's scale: 2 is the best
_RECORD = struct.Struct("<qII")  # track id, bytes of the line of the index, of the JPEG
_LONGEST = 1 << 26
_ALWAYS = (1980, 1, 1, 0, 0, 0)  # a ZIP's first moment: the same crops give the same bytes
_MATRIX = {"bt601": 5, "bt709": 1, "bt2020": 9}  # swscale's numbers
_LIMITED_RANGE, _FULL_RANGE = 1, 2


@dataclass(frozen=True)
class CropsState:
    """The crops at one moment, for a checkpoint: their log's size, the inferred frames, and of each track that is alive
    its id and the worth of its best crop."""

    offset: Annotated[int, Field(ge=0)]
    frames: int
    alive: list[tuple[int, FiniteFloat]]


@dataclass(slots=True)
class _Shown:
    """What a crop shows: a row of the tracks, and the part of the frame."""

    class_id: int
    frame: int
    pts: int
    time_s: float
    score: float
    box_xyxy: list[float]
    crop_xyxy: tuple[int, int, int, int]


@dataclass(slots=True)
class _Cut:
    """A part of a frame: copies of its planes, and the frame's matrix and whether its range is full."""

    width: int
    height: int
    layout: str
    planes: list[NDArray[np.uint8]]
    matrix: str
    full_range: bool


@dataclass(slots=True)
class _Best:
    """Of a track that is alive, its best crop so far; `image` None: it is in the log."""

    worth: float
    shown: _Shown | None = None
    image: _Cut | av.VideoFrame | None = None


class Crops(FileSink):
    """Keeps the best crop of each track. Memory depends on the live tracks, not on the length of the video."""

    kind = "crops"

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        self._part, self._made = part_path(path), spare_path(path)
        self._names = class_names
        self._best: dict[int, _Best] = {}
        self._frames = 0
        self._jpegs = JpegEncoders()
        self._file: IO[bytes] | None = None
        self._size = 0

    def grow_in(self, folder: Path) -> None:
        self._part, self._made = folder / self._part.name, folder / self._made.name

    def open(self, info: StreamInfo) -> None:
        try:
            self._file, self._size = fresh(self._part), 0
        except OSError as error:
            raise self._error(error) from error

    def resume(self, info: StreamInfo, state: OutputState, part: Path) -> None:
        try:
            found = TypeAdapter(CropsState).validate_json(json.dumps(state), strict=True)
        except (ValidationError, ValueError, TypeError) as error:
            raise CheckpointMismatch(f"{self._part.name} is damaged: it contains no state of the crops") from error
        try:
            self._file, self._size = reopened(self._part, found.offset, part), found.offset
        except OSError as error:
            raise self._error(error) from error
        self._frames = found.frames
        self._best = {track_id: _Best(worth) for track_id, worth in found.alive}

    def write(self, tracks: Tracks) -> None:
        if tracks.detections is not None:  # else boxes were only predicted
            if len(tracks):
                ids = tracks.track_ids.tolist()
                due = range(len(ids))
                if self._frames % _EVERY == 0:
                    self._look(tracks, ids, due)
                elif not all(map(self._best.__contains__, ids)):
                    self._look(tracks, ids, [row for row in due if ids[row] not in self._best])
            self._frames += 1
        if tracks.alive is not None:
            alive = frozenset(tracks.alive.tolist())
            for track_id in [track_id for track_id in self._best if track_id not in alive]:
                self._keep(track_id)
                del self._best[track_id]

    def _look(self, tracks: Tracks, ids: list[int], due: Sequence[int]) -> None:
        """Take what is better than what there was of the tracks in these rows."""
        image = tracks.frame.image
        assert image is not None, "a dropped frame has no tracks"
        size_wh = width, height = image.width, image.height
        boxes, scores = tracks.boxes_xyxy, tracks.scores
        if len(due) < len(ids):
            boxes, scores = boxes[due], scores[due]
        before = [self._best.get(ids[row]) for row in due]
        least = np.array([_BETTER * best.worth if best is not None else 0.0 for best in before])
        planes = planes_of(image)
        packed = 3 if image.format.name in ("rgb24", "bgr24") else 1
        found = worths(planes[0], boxes, scores, least, size_wh, components=packed)
        for number in np.flatnonzero(found).tolist():
            row, box = due[number], boxes[number].tolist()
            x1, y1, x2, y2 = box
            crop = _around((max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))), width, height)
            shown = _Shown(
                int(tracks.class_ids[row]),
                tracks.frame.index,
                tracks.frame.pts,
                tracks.frame.time_s,
                float(scores[number]),
                box,
                crop,
            )
            self._best[ids[row]] = _Best(float(found[number]), shown, _cut(image, planes, crop))

    def _line(self, track_id: int, worth: float, shown: _Shown, image: av.VideoFrame) -> bytes:
        values = {
            "track_id": track_id,
            "file": name_of(track_id),
            "class_id": shown.class_id,
            "class": self._names[shown.class_id],
            "frame": shown.frame,
            "pts": shown.pts,
            "time_s": round(shown.time_s, 6),
            "score": round(shown.score, 4),
            "box_xyxy": [round(side, 2) for side in shown.box_xyxy],
            "crop_xyxy": list(shown.crop_xyxy),
            "size_wh": [image.width, image.height],
            "worth": round(worth, 3),
        }
        return json.dumps(values).encode() + b"\n"

    def _keep(self, track_id: int) -> None:
        """Append a track's best crop to the log, if it is not there."""
        best = self._best.get(track_id)
        if best is None or best.image is None or best.shown is None:
            return
        assert self._file is not None
        try:
            image = _for_jpeg(best.image) if isinstance(best.image, _Cut) else best.image
            jpeg, line = self._jpegs.encoded(image), self._line(track_id, best.worth, best.shown, image)
            record = _RECORD.pack(track_id, len(line), len(jpeg)) + line + jpeg
            self._file.write(record)
        except (OSError, av.error.FFmpegError) as error:
            raise self._error(error) from error
        self._size += len(record)
        best.image = best.shown = None

    def mark(self) -> State:
        for track_id in self._best:
            self._keep(track_id)
        alive = [(track_id, best.worth) for track_id, best in self._best.items()]
        found = CropsState(self._size, self._frames, alive)

        def state() -> OutputState:
            assert self._file is not None
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            except OSError as error:
                raise self._error(error) from error
            return cast(OutputState, {each.name: getattr(found, each.name) for each in fields(found)})

        return state

    def complete(self, end: EndOfStream) -> Path:
        for track_id in self._best:
            self._keep(track_id)
        self._best.clear()
        assert self._file is not None
        try:
            self._file.close()
            make_archive(self._part, self._made)
        except (OSError, ValueError) as error:
            raise self._error(error) from error
        return self._made

    def commit(self, end: EndOfStream, path: Path) -> None:
        publish(self.complete(end), path)
        discard(self._part)

    def suspend(self) -> None:
        self._best.clear()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
        discard(self._made)

    def abort(self) -> None:
        self.suspend()
        discard(self._part)

    def _error(self, error: BaseException) -> SinkError:
        reason = describe_os_error(error) if isinstance(error, OSError) else str(error)
        return SinkError(f"{self._part.name} can't be written: {reason}")


def name_of(track_id: int) -> str:
    """Return the name of a track's JPEG in the archive."""
    return f"{track_id:06}.jpg"


def make_archive(log: Path, target: Path, size: int | None = None) -> None:
    """Make the ZIP of the first `size` bytes of a log, None: of all, durable. Raises OSError, CheckpointMismatch if
    the log is no file, and ValueError if it is damaged."""
    with existing(log) as file, fresh(target) as made:
        found = dict(_records(file, os.fstat(file.fileno()).st_size if size is None else size))
        with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
            with archive.open(_entry(INDEX), "w", force_zip64=True) as index:
                for _, (place, line, _) in sorted(found.items()):
                    file.seek(place)
                    index.write(file.read(line))
            for track_id, (place, line, jpeg) in sorted(found.items()):
                file.seek(place + line)
                archive.writestr(_entry(name_of(track_id)), file.read(jpeg))
        made.flush()
        os.fsync(made.fileno())


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _ALWAYS)
    entry.create_system, entry.external_attr = 3, 0o100644 << 16
    return entry


def _records(file: IO[bytes], size: int) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """Return each record's track id, and its place and the lengths of its two parts."""
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(_RECORD.size)
        if len(head) < _RECORD.size:
            raise ValueError("the log of crops ends within a record")
        track_id, line, jpeg = _RECORD.unpack(head)
        place += _RECORD.size
        if place + line + jpeg > size or max(line, jpeg) > _LONGEST:
            raise ValueError("the log of crops is damaged")
        yield track_id, (place, line, jpeg)
        place += line + jpeg


def _cut(
    image: av.VideoFrame, planes: Sequence[NDArray[np.uint8]], box: tuple[int, int, int, int]
) -> _Cut | av.VideoFrame:
    """Return a copy of the part of a frame inside a box, scaled down where it is large."""
    left, top, right, bottom = box
    layout = image.format.name
    parts = []
    for number, plane in enumerate(planes):
        half = 2 if number else 1  # chroma
        wide = 2 if number and layout == "nv12" else 3 if layout in ("rgb24", "bgr24") else 1
        rows = slice(top // half, -(-bottom // half))
        parts.append(plane[rows, left // half * wide : -(-right // half) * wide].copy())
    part = _Cut(right - left, bottom - top, layout, parts, *colour_of(image))
    return _for_jpeg(part) if max(part.width, part.height) > _MAX_WAITING_PX else part


def _around(box: tuple[float, float, float, float], width: int, height: int) -> tuple[int, int, int, int]:
    """Return the part of a frame that is shown of a box: in whole blocks of a JPEG, where the frame has room, so that
    many crops are of one size."""
    left, top, right, bottom = box
    around_x, around_y = _AROUND * (right - left), _AROUND * (bottom - top)
    x1, x2 = _in_blocks(left - around_x, right + around_x, width)
    y1, y2 = _in_blocks(top - around_y, bottom + around_y, height)
    return x1, y1, x2, y2


def _in_blocks(low: float, high: float, size: int) -> tuple[int, int]:
    """Return whole blocks around a stretch, from an even pixel, where chroma begins, too; cut off at the frame."""
    first, last = max(0, int(low)), min(size, int(high) + 1)
    length = -(-(last - first) // _BLOCK) * _BLOCK
    first = max(0, min(first - (length - last + first) // 2, size - length)) // 2 * 2
    return first, min(size, max(last, first + length))


# Of the red and the blue in a grey (ITU-T H.273), by matrix.
_RED_BLUE = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}


def _planes_from_rgb(matrix: str) -> NDArray[np.float64]:
    """Return (3, 3): luma, in [0, 1], and chroma, in [-0.5, 0.5], of red, green and blue."""
    red, blue = _RED_BLUE[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    return np.stack((luma, (np.array([0, 0, 1]) - luma) / (2 - 2 * blue), (np.array([1, 0, 0]) - luma) / (2 - 2 * red)))


@cache
def _to_jpeg(matrix: str, full_range: bool) -> NDArray[np.float32]:
    """Return (3, 3): what leads from planes of this matrix and range, less their zeros, to those of a JPEG."""
    scale = [1.0, 1.0, 1.0] if full_range else [255 / 219, 255 / 224, 255 / 224]
    found = _planes_from_rgb("bt601") @ np.linalg.inv(_planes_from_rgb(matrix)) * scale
    return found.astype(np.float32)


@cache
def _tables(full_range: bool) -> tuple[bytes, bytes]:
    """Return 256 bytes each: luma and chroma of BT.601 as those of a JPEG."""
    weights = _to_jpeg("bt601", full_range)
    luma = (np.arange(256) - (0 if full_range else 16)) * weights[0, 0]
    return _levels(luma).tobytes(), _levels((np.arange(256) - 128) * weights[1, 1] + 128).tobytes()


def _looked_up(plane: NDArray[np.uint8], table: bytes) -> NDArray[np.uint8]:
    """Return `table[plane]`: as bytes in a seventh of the time that NumPy takes."""
    return np.frombuffer(plane.tobytes().translate(table), np.uint8).reshape(plane.shape)


def _levels(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _recoloured(part: _Cut) -> list[NDArray[np.uint8]]:
    """Return the planes of a 4:2:0 part as JPEG has its colours. swscale takes a quarter of a millisecond to begin with
    each size, and this a quarter of that for a crop."""
    luma, blue, red = part.planes
    if part.matrix == "bt601":  # each plane for itself
        grey, colour = _tables(part.full_range)
        if part.full_range:
            return part.planes
        return [_looked_up(luma, grey), _looked_up(blue, colour), _looked_up(red, colour)]
    weights = _to_jpeg(part.matrix, part.full_range)
    return list(jpeg_planes(luma, blue, red, weights, 0 if part.full_range else 16))


def _for_jpeg(part: _Cut) -> av.VideoFrame:
    """Return a crop as JPEG has it, full-range BT.601 4:2:0, scaled down where it is large."""
    scale = min(1.0, _MAX_PX / max(part.width, part.height))
    width, height = max(2, round(part.width * scale)), max(2, round(part.height * scale))
    if (part.width, part.height) == (width, height) and part.layout in ("yuv420p", "yuvj420p"):
        return _frame(width, height, "yuvj420p", _recoloured(part))
    colours: dict[str, int] = {}
    if part.layout not in ("rgb24", "bgr24", "gray"):
        colours = {
            "src_colorspace": _MATRIX[part.matrix],
            "src_color_range": _FULL_RANGE if part.full_range else _LIMITED_RANGE,
        }
    return _frame(part.width, part.height, part.layout, part.planes).reformat(
        width=width,
        height=height,
        format="yuvj420p",
        dst_colorspace=_MATRIX["bt601"],
        dst_color_range=_FULL_RANGE,
        **colours,
    )


def _frame(width: int, height: int, layout: str, planes: Sequence[NDArray[np.uint8]]) -> av.VideoFrame:
    image = av.VideoFrame(width, height, layout)
    for target, plane in zip(planes_of(image), planes, strict=True):
        target[: plane.shape[0], : plane.shape[1]] = plane
    return image


class JpegEncoders:
    """Makes JPEGs. The encoders of the sizes that came last are kept: to begin takes as long as a small crop does."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], av.VideoCodecContext] = {}
        self._made = 0

    def encoded(self, image: av.VideoFrame) -> bytes:
        """Return a frame of full-range 4:2:0 as JPEG, whatever came before. Raises av.error.FFmpegError."""
        size = image.width, image.height
        encoder = self._kept.pop(size, None) or self._opened(*size)
        self._kept[size] = encoder  # the last one
        if len(self._kept) > _ENCODERS:
            del self._kept[next(iter(self._kept))]
        self._made += 1
        image.pts = self._made
        return b"".join(map(bytes, encoder.encode(image)))

    @staticmethod
    def _opened(width: int, height: int) -> av.VideoCodecContext:
        encoder = cast("av.VideoCodecContext", av.CodecContext.create("mjpeg", "w"))
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
        encoder.time_base = Fraction(1, 25)
        encoder.color_range = _FULL_RANGE
        encoder.flags |= av.codec.context.Flags.bitexact  # without the library's version
        encoder.qmin = encoder.qmax = _QUALITY
        encoder.thread_count = 1
        encoder.options = {"huffman": "default"}  # tables of its own take half as long again, and save a seventh
        return encoder
