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
import io
import json
import os
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cache
from operator import itemgetter
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple, cast
from zlib import crc32

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
from engine_ext.crop_planes import around, cut_out, put_looked_up
from engine_ext.jpeg_planes import jpeg_planes
from engine_ext.sharpness import better

INDEX = "index.jsonl"

_MAX_PX = 320  # of a crop's longer side
_BETTER = 1.2
_EVERY = 8  # inferred frames in which a track is looked at
_MAX_WAITING_PX = 512  # of a longer side, in memory: scaling takes longer than cutting, and most are never used
_ENCODERS = 32  # kept, of 0.4 MB each
_QUALITY = 4  # FFmpeg's scale: 2 is the best
_RECORD = struct.Struct("<qII")  # track id, bytes of the line of the index, of the JPEG
_LONGEST = 1 << 26
SMALL_LOG = 1 << 24  # bytes of a log of which the archive is made in memory
_PLANAR = ("yuv420p", "yuvj420p")
_PACKED = ("rgb24", "bgr24")
_ALWAYS = (1980, 1, 1, 0, 0, 0)  # a ZIP's first moment: the same crops give the same bytes
_MATRIX = {"bt601": 5, "bt709": 1, "bt2020": 9}  # swscale's numbers
_LIMITED_RANGE, _FULL_RANGE = 1, 2


# Here and below: a frozen data class takes six times as long to make as a named tuple, and a run has half a second.
@dataclass(eq=False, repr=False)
class CropsState:
    """The crops at one moment, for a checkpoint: their log's size, the inferred frames, and of each track that is alive
    its id and the worth of its best crop."""

    offset: Annotated[int, Field(ge=0)]
    frames: int
    alive: list[tuple[int, FiniteFloat]]


class _Shown(NamedTuple):
    """What a crop shows: a row of the tracks, and the part of the frame."""

    class_id: int
    frame: int
    pts: int
    time_s: float
    score: float
    box_xyxy: list[float]
    crop_xyxy: tuple[int, int, int, int]


class _Part(NamedTuple):
    """A part of a planar 4:2:0 frame: its planes one after the other, and the frame's matrix and whether its range is
    full."""

    width: int
    height: int
    data: bytes
    matrix: str
    full_range: bool

    def planes(self) -> list[NDArray[np.uint8]]:
        """Return views of luma, blue and red chroma."""
        luma, half = self.width * self.height, (-(-self.height // 2), -(-self.width // 2))
        ends = luma, luma + half[0] * half[1]
        values = np.frombuffer(self.data, np.uint8)
        return [
            values[:luma].reshape(self.height, self.width),
            values[luma : ends[1]].reshape(half),
            values[ends[1] :].reshape(half),
        ]


class _Best:
    """Of a track that is alive, its best crop so far; `image` None: it is in the log."""

    __slots__ = ("image", "shown", "worth")

    def __init__(self, worth: float, shown: _Shown | None = None, image: _Part | av.VideoFrame | None = None) -> None:
        self.worth = worth
        self.shown = shown
        self.image = image


class Crops(FileSink):
    """Keeps the best crop of each track. Memory depends on the live tracks, not on the length of the video."""

    kind = "crops"

    def __init__(self, path: Path, class_names: Sequence[str]) -> None:
        self._part, self._made = part_path(path), spare_path(path)
        self._names = class_names
        self._best: dict[int, _Best] = {}
        self._frames = 0
        self._quoted: dict[int, str] = {}  # names of classes, as JSON
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
            gone = [track_id for track_id in self._best if track_id not in alive]
            self._keep(gone)
            for track_id in gone:
                del self._best[track_id]

    def _look(self, tracks: Tracks, ids: list[int], due: Sequence[int]) -> None:
        """Take what is better than what there was of the tracks in these rows."""
        image = tracks.frame.image
        assert image is not None, "a dropped frame has no tracks"
        size_wh = width, height = image.width, image.height
        boxes, scores = tracks.boxes_xyxy, tracks.scores
        before = [self._best.get(ids[row]) for row in due]
        least = [_BETTER * best.worth if best is not None else 0.0 for best in before]
        planes, layout = planes_of(image), image.format.name
        found = better(planes[0], boxes, scores, due, least, size_wh, components=3 if layout in _PACKED else 1)
        if not found:
            return
        colours, frame = colour_of(image), tracks.frame
        moment = frame.index, frame.pts, frame.time_s
        for row, worth in found:
            left, top, right, bottom = box = boxes[row].tolist()
            crop = around(left, top, right, bottom, width, height)
            shown = _Shown(int(tracks.class_ids[row]), *moment, float(scores[row]), box, crop)
            self._best[ids[row]] = _Best(worth, shown, _cut(planes, layout, crop, colours))

    def _line(self, track_id: int, worth: float, shown: _Shown, size_wh: tuple[int, int]) -> bytes:
        """Return the track's line of the index, the bytes that `json.dumps` would give, in a third of its time."""
        name = self._quoted.get(shown.class_id)
        if name is None:
            name = self._quoted[shown.class_id] = json.dumps(self._names[shown.class_id])
        return (
            f'{{"track_id": {track_id}, "file": "{name_of(track_id)}", "class_id": {shown.class_id}, "class": {name}, '
            f'"frame": {shown.frame}, "pts": {shown.pts}, "time_s": {round(shown.time_s, 6)!r}, '
            f'"score": {round(shown.score, 4)!r}, "box_xyxy": {[round(side, 2) for side in shown.box_xyxy]}, '
            f'"crop_xyxy": {list(shown.crop_xyxy)}, "size_wh": {list(size_wh)}, "worth": {round(worth, 3)!r}}}\n'
        ).encode()

    def _keep(self, track_ids: Iterable[int]) -> None:
        """Append the best crops of these tracks to the log, if they are not there: one size after the other, because an
        encoder is faster just after it was used."""
        assert self._file is not None
        waiting = [
            (image.width, image.height, track_id, image, shown)
            for track_id in track_ids
            if (image := self._best[track_id].image) is not None and (shown := self._best[track_id].shown) is not None
        ]
        for _, _, track_id, image, shown in sorted(waiting, key=itemgetter(0, 1, 2)):
            best = self._best[track_id]
            try:
                size_wh, jpeg = self._jpegs.encoded(image)
                line = self._line(track_id, best.worth, shown, size_wh)
                record = _RECORD.pack(track_id, len(line), len(jpeg)) + line + jpeg
                self._file.write(record)
            except (OSError, av.error.FFmpegError) as error:
                raise self._error(error) from error
            self._size += len(record)
            best.image = best.shown = None

    def mark(self) -> State:
        self._keep(self._best)
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
        self._keep(self._best)
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
        size = os.fstat(file.fileno()).st_size if size is None else size
        if size <= SMALL_LOG:
            with io.BytesIO(file.read(size)) as content:
                found = sorted(dict(_records(content, size)).items())
                at = content.getbuffer()
                index = b"".join([at[place : place + line] for _, (place, line, _) in found])
                jpegs = [
                    (name_of(track_id), at[place + line : place + line + jpeg])
                    for track_id, (place, line, jpeg) in found
                ]
                made.write(small_archive(index, jpegs))
                del jpegs, at  # views of what is closed here
        else:
            _write_archive(file, made, size)
        made.flush()
        os.fsync(made.fileno())


def _write_archive(file: IO[bytes], made: IO[bytes], size: int) -> None:
    """Write the ZIP of a log of any size, of which little is in memory at a time."""
    found = dict(_records(file, size))
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        with archive.open(_entry(INDEX), "w", force_zip64=True) as index:
            for _, (place, line, _) in sorted(found.items()):
                file.seek(place)
                index.write(file.read(line))
        for track_id, (place, line, jpeg) in sorted(found.items()):
            file.seek(place + line)
            archive.writestr(_entry(name_of(track_id)), file.read(jpeg))


_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s4B4H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LONG = struct.Struct("<2H2Q")  # sizes of 64 bits
_PLAIN_ZIP, _ZIP64 = 20, 45  # versions that a reader needs
_FIRST_DAY = 1 << 5 | 1


def small_archive(index: bytes, jpegs: Sequence[tuple[str, bytes | memoryview]]) -> bytes:
    """Return the bytes that `_write_archive` gives for an index and the JPEGs by name. `zipfile` seeks back for each,
    and takes three times as long. Fewer than 65,536 of less than 4 GB, all together."""
    parts: list[bytes | memoryview] = []
    directory: list[bytes] = []
    place = 0
    unread = 0xFFFFFFFF  # the sizes stand in what follows the name
    for name, content in ((INDEX, index), *jpegs):
        title, length, check = name.encode(), len(content), crc32(content)
        version, sizes, more = _PLAIN_ZIP, (length, length), b""
        if content is index:  # its length was not known beforehand
            version, sizes, more = _ZIP64, (unread, unread), _LONG.pack(1, 16, length, length)
        facts = 0, zipfile.ZIP_STORED, 0, _FIRST_DAY, check
        head = _LOCAL.pack(b"PK\x03\x04", version, *facts, *sizes, len(title), len(more))
        parts += (head, title, more, content)
        names = len(title), 0, 0, 0, 0, 0o100644 << 16, place
        directory += (_CENTRAL.pack(b"PK\x01\x02", version, 3, version, 0, *facts, length, length, *names), title)
        place += _LOCAL.size + len(title) + len(more) + length
    listed, count = b"".join(directory), len(jpegs) + 1
    return b"".join((*parts, listed, _END.pack(b"PK\x05\x06", 0, 0, count, count, len(listed), place, 0)))


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
    planes: Sequence[NDArray[np.uint8]], layout: str, box: tuple[int, int, int, int], colours: tuple[str, bool]
) -> _Part | av.VideoFrame:
    """Return a copy of the part of a frame inside a box; scaled down where it is large, or if it is not planar."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    if layout in _PLANAR:
        part = _Part(width, height, cut_out(planes[0], planes[1], planes[2], box), *colours)
        return _scaled(part) if max(width, height) > _MAX_WAITING_PX else part
    parts = []
    for number, plane in enumerate(planes):
        half = 2 if number else 1  # chroma
        wide = 2 if number and layout == "nv12" else 3 if layout in _PACKED else 1
        rows = slice(top // half, -(-bottom // half))
        parts.append(plane[rows, left // half * wide : -(-right // half) * wide])
    return _reformatted(_frame(width, height, layout, parts), *colours)


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


def _levels(values: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


def _put(part: _Part, planes: Sequence[NDArray[np.uint8]]) -> None:
    """Put a part into the planes of a frame as JPEG has its colours. swscale takes a quarter of a millisecond to begin
    with each size, and this a hundredth of that for a crop."""
    if part.matrix == "bt601":  # each plane for itself
        tables = _tables(part.full_range)
        put_looked_up(part.data, planes[0], planes[1], planes[2], part.width, part.height, *tables)
        return
    luma, blue, red = part.planes()
    weights = _to_jpeg(part.matrix, part.full_range)
    made = jpeg_planes(luma, blue, red, weights, 0 if part.full_range else 16)
    for target, plane in zip(planes, made, strict=True):
        target[: plane.shape[0], : plane.shape[1]] = plane


def _scaled(part: _Part) -> av.VideoFrame:
    """Return a large part as JPEG has it, scaled down."""
    return _reformatted(_frame(part.width, part.height, "yuv420p", part.planes()), part.matrix, part.full_range)


def _reformatted(image: av.VideoFrame, matrix: str, full_range: bool) -> av.VideoFrame:
    """Return a frame as JPEG has it, full-range BT.601 4:2:0, scaled down where it is large."""
    scale = min(1.0, _MAX_PX / max(image.width, image.height))
    colours: dict[str, int] = {}
    if image.format.name not in (*_PACKED, "gray"):
        colours = {
            "src_colorspace": _MATRIX[matrix],
            "src_color_range": _FULL_RANGE if full_range else _LIMITED_RANGE,
        }
    return image.reformat(
        width=max(2, round(image.width * scale)),
        height=max(2, round(image.height * scale)),
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


class _Encoder:
    """The encoder of one size, and the frame from which it encodes parts, with its planes."""

    def __init__(self, width: int, height: int) -> None:
        self.context = _opened(width, height)
        self.image = av.VideoFrame(width, height, "yuvj420p")
        self.planes = planes_of(self.image)


class JpegEncoders:
    """Makes JPEGs. The encoders of the sizes that came last are kept: to begin takes as long as a small crop does."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, int], _Encoder] = {}
        self._made = 0

    def encoded(self, crop: _Part | av.VideoFrame) -> tuple[tuple[int, int], bytes]:
        """Return a crop as JPEG, whatever came before, and its size; a frame is of full-range 4:2:0. Raises
        av.error.FFmpegError."""
        if isinstance(crop, _Part) and max(crop.width, crop.height) > _MAX_PX:
            crop = _scaled(crop)
        size = crop.width, crop.height
        encoder = self._kept.pop(size, None) or _Encoder(*size)
        self._kept[size] = encoder  # the last one
        if len(self._kept) > _ENCODERS:
            del self._kept[next(iter(self._kept))]
        image = crop
        if isinstance(image, _Part):
            _put(image, encoder.planes)
            image = encoder.image
        self._made += 1
        image.pts = self._made
        return size, b"".join(map(bytes, encoder.context.encode(image)))


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
