"""`<stem>.crops.zip`: of each track the crop that shows its object best, as JPEG, and an index of them.

The best is the one with the largest worth: score x area x sharpness, a quarter of that at the frame's edge. A track is
looked at when it is new and then in every fourth inferred frame, and another crop takes the place of the one before
when it is worth a fifth more: something that comes nearer is not cut out of every frame.

Crops are cut out of the frame that is there, before anything is drawn on it. Of a track that is alive one waits in
memory, scaled down where it is large; once the track is gone, or a checkpoint is due, it is encoded and appended
to a log. Of a track's records there the last one counts: the archive that is made of them at the end does not depend on
where checkpoints were. It is an uncompressed ZIP, one file that appears whole or not at all like every output, which
everything opens. JPEGs are made by FFmpeg's encoder through PyAV, which takes a frame's planes as they are.
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
from pathlib import Path
from typing import IO, Annotated, cast

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
from engine_ext.sharpness import sharpness

INDEX = "index.jsonl"

_MOST_PX = 320  # of a crop's longer side
_AROUND = 0.08  # of the box's sides, that is shown around it
_EDGE_PX = 1.0
_AT_EDGE = 0.25
_HALF_SHARP = 16.0  # mean Laplacian at which an image counts half as sharp as one can be
_BETTER = 1.2
_EVERY = 4  # inferred frames in which a track is looked at
_MOST_WAITING_PX = 512  # of a longer side, in memory: scaling takes longer than cutting, and most are never used
_QUALITY = 4  # FFmpeg's scale: 2 is the best
_FRAMES_BETWEEN_PURGES = 64
_RECORD = struct.Struct("<qII")  # track id, bytes of the line of the index, of the JPEG
_LONGEST = 1 << 26
_ALWAYS = (1980, 1, 1, 0, 0, 0)  # a ZIP's first moment: the same crops give the same bytes
_MATRIX = {"bt601": 5, "bt709": 1, "bt2020": 9}  # swscale's numbers
_LIMITED_RANGE, _FULL_RANGE = 1, 2


@dataclass(frozen=True)
class CropsState:
    """The crops at one moment, for a checkpoint: their log's size, the inferred frames and the time in steps, and of
    each track that is alive its id, the worth of its best crop and the step at which it was last seen."""

    offset: Annotated[int, Field(ge=0)]
    frames: int
    steps: FiniteFloat
    alive: list[tuple[int, FiniteFloat, FiniteFloat]]


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
class _Best:
    """Of a track that is alive, its best crop so far. `image` None: it stands in the log."""

    worth: float
    seen: float
    shown: _Shown | None = None
    image: av.VideoFrame | None = None


class Crops(FileSink):
    """Keeps the best crop of each track. Memory depends on the tracks alive, not on the length of the video."""

    kind = "crops"

    def __init__(self, path: Path, class_names: Sequence[str], *, forget_after: int) -> None:
        """`forget_after`: steps after which a track that was not seen is gone for good."""
        self._part, self._made = part_path(path), spare_path(path)
        self._names = class_names
        self._forget_after = forget_after
        self._best: dict[int, _Best] = {}
        self._frames = 0
        self._steps = 0.0
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
            raise CheckpointMismatch(f"{self._part.name} is damaged: it holds no state of the crops") from error
        try:
            self._file, self._size = reopened(self._part, found.offset, part), found.offset
        except OSError as error:
            raise self._error(error) from error
        self._frames, self._steps = found.frames, found.steps
        self._best = {track_id: _Best(worth, seen) for track_id, worth, seen in found.alive}

    def write(self, tracks: Tracks) -> None:
        if tracks.detections is None:  # boxes that were only predicted
            return
        self._steps += tracks.steps
        if len(tracks):
            self._look(tracks)
        self._frames += 1
        if self._frames % _FRAMES_BETWEEN_PURGES == 0:
            oldest = self._steps - self._forget_after - 1
            for track_id in [track_id for track_id, best in self._best.items() if best.seen < oldest]:
                self._keep(track_id)
                del self._best[track_id]

    def _look(self, tracks: Tracks) -> None:
        """Take what is better than what there was of each track."""
        ids, due = tracks.track_ids.tolist(), []
        for row, track_id in enumerate(ids):
            known = self._best.get(track_id)
            if known is None:
                known = self._best[track_id] = _Best(0.0, self._steps)
            if not known.worth or (track_id + self._frames) % _EVERY == 0:
                due.append(row)
            known.seen = self._steps
        if not due:
            return
        image = tracks.frame.image
        assert image is not None, "a dropped frame has no tracks"
        width, height = image.width, image.height
        better: list[tuple[int, float, tuple[float, float, float, float]]] = []
        for row, (x1, y1, x2, y2), score in zip(
            due, tracks.boxes_xyxy[due].tolist(), tracks.scores[due].tolist(), strict=True
        ):
            left, top, right, bottom = max(x1, 0.0), max(y1, 0.0), min(x2, float(width)), min(y2, float(height))
            if left >= right or top >= bottom:
                continue
            worth = score * (right - left) * (bottom - top)
            if min(left, top) <= _EDGE_PX or right >= width - _EDGE_PX or bottom >= height - _EDGE_PX:
                worth *= _AT_EDGE
            if worth > _BETTER * self._best[ids[row]].worth:  # it would be, were it as sharp as can be
                better.append((row, worth, (left, top, right, bottom)))
        if not better:
            return
        packed = 3 if image.format.name in ("rgb24", "bgr24") else 1
        boxes = np.array([box for _, _, box in better])
        sharp = sharpness(planes_of(image)[0], boxes, (width, height), components=packed).tolist()
        for (row, worth, box), found in zip(better, sharp, strict=True):
            best = self._best[ids[row]]
            worth *= (found + 1) / (found + 1 + _HALF_SHARP)
            if worth > _BETTER * best.worth:
                crop = _around(box, width, height)
                best.worth, best.image = worth, _cut(image, crop)
                best.shown = _Shown(
                    int(tracks.class_ids[row]),
                    tracks.frame.index,
                    tracks.frame.pts,
                    tracks.frame.time_s,
                    float(tracks.scores[row]),
                    tracks.boxes_xyxy[row].tolist(),
                    crop,
                )

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
        """Append a track's best crop to the log, if it does not stand there."""
        best = self._best[track_id]
        if best.image is None or best.shown is None:
            return
        assert self._file is not None
        try:
            image = _for_jpeg(best.image)
            jpeg, line = encoded(image), self._line(track_id, best.worth, best.shown, image)
            record = _RECORD.pack(track_id, len(line), len(jpeg)) + line + jpeg
            self._file.write(record)
        except (OSError, av.error.FFmpegError) as error:
            raise self._error(error) from error
        self._size += len(record)
        best.image = best.shown = None

    def mark(self) -> State:
        for track_id in self._best:
            self._keep(track_id)
        alive = [(track_id, best.worth, best.seen) for track_id, best in self._best.items()]
        found = CropsState(self._size, self._frames, self._steps, alive)

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
    """Make the ZIP of the first `size` bytes of a log, None: of all, durable. Raises OSError, CheckpointMismatch where
    the log is no file, and ValueError where it is damaged."""
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


def _cut(image: av.VideoFrame, box: tuple[int, int, int, int]) -> av.VideoFrame:
    """Return a copy of the part of a frame inside a box, scaled down where it is large."""
    left, top, right, bottom = box
    part = av.VideoFrame(right - left, bottom - top, image.format.name)
    packed = 3 if image.format.name in ("rgb24", "bgr24") else 1
    for number, (target, source) in enumerate(zip(planes_of(part), planes_of(image), strict=True)):
        half = 2 if number else 1  # chroma
        wide = packed if not number else 2 if image.format.name == "nv12" else 1
        first, last = left // half * wide, -(-right // half) * wide
        rows = slice(top // half, -(-bottom // half))
        target[: rows.stop - rows.start, : last - first] = source[rows, first:last]
    part.colorspace, part.color_range = image.colorspace, image.color_range
    if max(part.width, part.height) > _MOST_WAITING_PX:
        return _for_jpeg(part)
    return part


def _around(box: tuple[float, float, float, float], width: int, height: int) -> tuple[int, int, int, int]:
    """Return the part of a frame that is shown of a box."""
    left, top, right, bottom = box
    around_x, around_y = _AROUND * (right - left), _AROUND * (bottom - top)
    return (
        max(0, int(left - around_x)) // 2 * 2,  # where chroma begins, too
        max(0, int(top - around_y)) // 2 * 2,
        min(width, int(right + around_x) + 1),
        min(height, int(bottom + around_y) + 1),
    )


def _full_range(steps: int, zero: int, full_zero: int) -> NDArray[np.uint8]:
    """Return (256,) what values of limited range, of so many steps, are in full range."""
    values = np.rint((np.arange(256) - zero) * (255 / steps) + full_zero)
    return np.asarray(np.clip(values, 0, 255), np.uint8)


_FULL_LUMA, _FULL_CHROMA = _full_range(219, 16, 0), _full_range(224, 128, 128)


def _for_jpeg(image: av.VideoFrame) -> av.VideoFrame:
    """Return a crop as JPEG has it, full-range BT.601 4:2:0, scaled down where it is large."""
    scale = min(1.0, _MOST_PX / max(image.width, image.height))
    width, height = max(2, round(image.width * scale)), max(2, round(image.height * scale))
    if (image.width, image.height) == (width, height):
        if image.format.name == "yuvj420p":
            return image
        if image.format.name == "yuv420p" and colour_of(image) == ("bt601", False):
            # A table: swscale takes a millisecond to begin with each size.
            full = av.VideoFrame(width, height, "yuvj420p")
            tables = _FULL_LUMA, _FULL_CHROMA, _FULL_CHROMA
            for target, source, table in zip(planes_of(full), planes_of(image), tables, strict=True):
                np.take(table, source[: len(target), : target.shape[1]], out=target[:, : source.shape[1]])
            return full
    colours: dict[str, int] = {}
    if image.format.name not in ("rgb24", "bgr24", "gray"):
        matrix, full_range = colour_of(image)
        colours = {
            "src_colorspace": _MATRIX[matrix],
            "src_color_range": _FULL_RANGE if full_range else _LIMITED_RANGE,
        }
    return image.reformat(
        width=width,
        height=height,
        format="yuvj420p",
        dst_colorspace=_MATRIX["bt601"],
        dst_color_range=_FULL_RANGE,
        **colours,
    )


def encoded(image: av.VideoFrame) -> bytes:
    """Return a frame of full-range 4:2:0 as JPEG. Raises av.error.FFmpegError."""
    encoder = cast("av.VideoCodecContext", av.CodecContext.create("mjpeg", "w"))
    encoder.width, encoder.height, encoder.pix_fmt = image.width, image.height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.color_range = _FULL_RANGE
    encoder.flags |= av.codec.context.Flags.bitexact  # without the library's version
    encoder.qmin = encoder.qmax = _QUALITY
    encoder.thread_count = 1
    encoder.options = {"huffman": "default"}  # tables of its own take half as long again, and save a seventh
    image.pts = 0
    return b"".join(bytes(packet) for packet in (*encoder.encode(image), *encoder.encode(None)))
