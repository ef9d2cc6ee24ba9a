"""Track rows as arrays, read from `tracks.jsonl` or a MOTChallenge file in chunks of some thousands."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO, RawIOBase
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.analytics.geometry import Anchor, anchor_of
from engine.errors import InputError, describe_os_error
from engine_ext.rows import read_tracks_jsonl

MAX_ID = 1 << 53
"""Ids, frames and classes are below this, so that float64 represents each exactly."""
MAX_COORDINATE = 1 << 31
"""The largest distance in pixels of a box's side from the frame's corner: sums, areas and drawing can't overflow."""

_BLOCK_BYTES = 4 << 20
_LEAST_BYTES = 1 << 16
_MAX_RADIX = (1 << 16) - 1  # NumPy sorts numbers of 16 bits by their digits


class Moment(NamedTuple):
    """When and where an anchor was: frame, pts and seconds of its video, seconds of its camera's timeline, and position
    in pixels. Frame and pts are interpolated between samples."""

    video: str
    frame: float
    pts: int
    video_s: float
    time_s: float
    x: float
    y: float

    def towards(self, later: Moment, share: float) -> Moment:
        """Interpolate: return the moment at the fraction `share` of the way to a later one. Between two videos, it
        belongs to the later one."""

        def between(first: float, second: float) -> float:
            return first + share * (second - first)

        time_s = between(self.time_s, later.time_s)
        x, y = between(self.x, later.x), between(self.y, later.y)
        if self.video != later.video:
            return Moment(later.video, later.frame, later.pts, later.video_s, time_s, x, y)
        pts, video_s = round(between(self.pts, later.pts)), between(self.video_s, later.video_s)
        return Moment(self.video, between(self.frame, later.frame), pts, video_s, time_s, x, y)


@dataclass(frozen=True, eq=False, repr=False)
class Samples:
    """N rows of one video, in frame order.

    frames, pts, track_ids, class_ids (N,) int64; times_s (N,) float64, seconds of the container; scores (N,) float64;
    boxes_xyxy (N, 4) float64, pixels of the upright frame. `class_names` grows with the rows and is shared by all
    samples of a file. `video` names the video; `offset_s` plus a time of the video is a time on its camera's timeline.
    """

    frames: NDArray[np.int64]
    pts: NDArray[np.int64]
    times_s: NDArray[np.float64]
    track_ids: NDArray[np.int64]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    boxes_xyxy: NDArray[np.float64]
    class_names: dict[int, str] = field(default_factory=dict)
    video: str = ""
    offset_s: float = 0.0

    def __len__(self) -> int:
        return len(self.frames)

    def by_track(self) -> Tracked:
        """Return the rows grouped by track."""
        count, ids = len(self), self.track_ids
        if count and ids.min() >= 0 and ids.max() <= _MAX_RADIX:  # sorted in a fraction of the time
            ids = ids.astype(np.uint16)
        order = np.argsort(ids, kind="stable")
        grouped = ids[order]
        starts = np.flatnonzero(np.concatenate(([True] * bool(count), grouped[1:] != grouped[:-1])))
        stops = np.append(starts[1:], count)[: len(starts)]
        first = order[starts]
        if (first[1:] < first[:-1]).any():  # ids that began out of order
            turn = np.argsort(first)
            counts, begins = (stops - starts)[turn], starts[turn]
            stops = np.cumsum(counts)
            starts = stops - counts
            order = order[np.arange(count) + np.repeat(begins - starts, counts)]
        return Tracked(self.take(order), self.track_ids[order[starts]].tolist(), starts, stops)

    def take(self, rows: NDArray[np.intp] | slice | list[int]) -> Samples:
        """Return the rows at these places."""
        return Samples(
            self.frames[rows],
            self.pts[rows],
            self.times_s[rows],
            self.track_ids[rows],
            self.class_ids[rows],
            self.scores[rows],
            self.boxes_xyxy[rows],
            self.class_names,
            self.video,
            self.offset_s,
        )

    def row(self, index: int) -> Row:
        """Return the row at `index`."""
        x1, y1, x2, y2 = self.boxes_xyxy[index].tolist()
        time_s = float(self.times_s[index])
        moment = int(self.frames[index]), int(self.pts[index]), time_s
        return Row(self.video, self.offset_s, *moment, (x1, y1, x2, y2))

    def moment(self, index: int, anchor: Anchor) -> Moment:
        """Return when and where the row at `index` is."""
        return self.row(index).moment(anchor)


class Row(NamedTuple):
    """A single row of a track, kept after its chunk is gone."""

    video: str
    offset_s: float
    frame: int
    pts: int
    time_s: float
    box_xyxy: tuple[float, float, float, float]

    def moment(self, anchor: Anchor) -> Moment:
        """Return when and where the row is."""
        x, y = anchor_of(self.box_xyxy, anchor)
        return Moment(self.video, float(self.frame), self.pts, self.time_s, self.time_s + self.offset_s, x, y)


class LastRows:
    """The last rows of T tracks. Each becomes a Row only if someone asks: of most tracks, another one comes before."""

    def __init__(self, ids: list[int], samples: Samples) -> None:
        """Keep `samples`: one row of each of the tracks `ids`, in their order."""
        self._ids = ids
        self._samples = samples

    def of(self, track_id: int) -> Row:
        """Return a single track's row."""
        return self._samples.row(self._ids.index(track_id))

    @cached_property
    def rows(self) -> list[Row]:
        """All rows, made in less time than one by one."""
        samples = self._samples
        columns = samples.frames.tolist(), samples.pts.tolist(), samples.times_s.tolist()
        boxes = map(tuple, samples.boxes_xyxy.tolist())
        return [Row(samples.video, samples.offset_s, *values) for values in zip(*columns, boxes, strict=True)]


@dataclass(frozen=True, eq=False, repr=False)
class FrameTracks:
    """The tracks of one frame, one row each, as the tracker gives them: of most frames nobody asks for Samples.

    track_ids (M,) int64; class_ids (M,) int32; scores (M,) float32; boxes_xyxy (M, 4) float64, pixels of the upright
    frame, rounded as in rows.
    """

    frame: int
    pts: int
    time_s: float
    class_names: dict[int, str]
    track_ids: NDArray[np.int64]
    class_ids: NDArray[np.int32]
    scores: NDArray[np.float32]
    boxes_xyxy: NDArray[np.float64]

    @cached_property
    def samples(self) -> Samples:
        """The rows as those who count take them."""
        count = len(self.track_ids)
        scores: NDArray[np.float64] = self.scores.astype(np.float64)
        return Samples(
            np.full(count, self.frame, np.int64),
            np.full(count, self.pts, np.int64),
            np.full(count, self.time_s),
            self.track_ids,
            self.class_ids.astype(np.int64),
            np.round(scores, 4),
            self.boxes_xyxy,
            self.class_names,
        )

    def of(self, track_id: int) -> Row:
        """Return a single track's row."""
        return self.row(self.track_ids.tolist().index(track_id))

    def row(self, index: int) -> Row:
        """Return the row at `index`."""
        x1, y1, x2, y2 = self.boxes_xyxy[index].tolist()
        return Row("", 0.0, self.frame, self.pts, self.time_s, (x1, y1, x2, y2))


@dataclass(frozen=True, eq=False, repr=False)
class Tracked:
    """The rows of T tracks, grouped by track in the order of the tracks' first rows, so that operations can be
    vectorised over all of them.

    `samples` are the rows; those of track `ids[k]` are at `starts[k]` to `stops[k]`, at least one, in frame order.
    """

    samples: Samples
    ids: list[int]
    starts: NDArray[np.intp]
    stops: NDArray[np.intp]

    def __iter__(self) -> Iterator[tuple[int, Samples]]:
        """Yield each track's id and rows."""
        for track_id, start, stop in self.spans:
            yield track_id, self.samples.take(slice(start, stop))

    @cached_property
    def spans(self) -> list[tuple[int, int, int]]:
        """Each track's id, start and stop."""
        return list(zip(self.ids, self.starts.tolist(), self.stops.tolist(), strict=True))

    def row_at(self, number: int) -> Callable[[int], Row]:
        """Return what gives the rows of the track `ids[number]`, by their index among its own."""
        _, start, _ = self.spans[number]
        return lambda index: self.samples.row(start + index)

    @cached_property
    def last(self) -> LastRows:
        """The last row of each track."""
        alone = len(self.ids) == len(self.samples)
        return LastRows(self.ids, self.samples if alone else self.samples.take(self.stops - 1))

    def least(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return (T,) the least value of each track's rows, of (N,) values; of bools: whether all are true."""
        return values if len(self.ids) == len(values) else np.minimum.reduceat(values, self.starts)

    def most(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return (T,) the greatest value of each track's rows, of (N,) values; of bools: whether any is true."""
        return values if len(self.ids) == len(values) else np.maximum.reduceat(values, self.starts)

    def repeated(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return (N,) the value of each row's track, from (T,) values per track."""
        return np.repeat(values, self.stops - self.starts)


def read_tracks(path: Path) -> Iterator[Samples]:
    """Read a `tracks.jsonl`. Raises InputError that names the file and the line."""
    names: dict[int, str] = {}

    def row(line: str) -> tuple[float, ...]:
        value = json.loads(line)
        names.setdefault(value["class_id"], value["class"])
        return (
            value["frame"],
            value["pts"],
            value["time_s"],
            value["track_id"],
            value["class_id"],
            value["score"],
            *value["box_xyxy"],
        )

    def table(text: memoryview) -> NDArray[np.float64] | None:
        try:
            found, kinds = read_tracks_jsonl(text)
            names.update({kind: json.loads(name) for kind, name in kinds.items() if kind not in names})
        except ValueError:  # not in this program's own format, but perhaps JSON all the same
            return None
        return found

    yield from _samples(path, row, names, table)


def wrong_row(
    frames: NDArray[np.float64], track_ids: NDArray[np.float64], boxes_xyxy: NDArray[np.float64]
) -> tuple[int, str] | None:
    """Return the index of the first of N rows that is not a valid track row, and what is wrong with it; None if all are
    valid. Whoever writes rows checks them with this.

    frames, track_ids (N,), boxes_xyxy (N, 4), float64.
    """
    with np.errstate(invalid="ignore"):
        rules = (
            ((frames >= 0) & (frames < MAX_ID) & (frames == np.floor(frames)), "frames are whole numbers from 0"),
            (
                (track_ids >= 0) & (track_ids < MAX_ID) & (track_ids == np.floor(track_ids)),
                "ids are whole numbers from 0 to 2^53",
            ),
            (np.abs(boxes_xyxy) < MAX_COORDINATE, "its sides are not finite, or beyond 2^31 pixels"),
        )
    return _first_broken(rules)


def _first_broken(rules: Iterable[tuple[NDArray[np.bool_], str]]) -> tuple[int, str] | None:
    """Return the first of N rows that breaks a rule, and the rule's text; each rule is (N,) or (N, K) bool."""
    found = [
        (int(np.argmin(holds.reshape(len(holds), -1).all(axis=1))), why) for holds, why in rules if not holds.all()
    ]
    return min(found, default=None)


def read_mot(path: Path, fps: float, *, ground_truth: bool = False) -> Iterator[Samples]:
    """Read a MOTChallenge file: `frame,id,left,top,width,height,score,class,...`, frames from 1.

    The format has no times: frame F is at (F - 1) / `fps` seconds. `ground_truth` leaves out rows whose flag (the
    seventh column) is 0. Rows may be in any order. Raises InputError that names the file and the line, or a track that
    is twice in a frame.
    """
    rows: list[tuple[float, ...]] = []

    def row(line: str) -> tuple[float, ...]:
        columns = [float(column) for column in line.split(",")]
        frame, track, left, top, width, height = columns[:6]
        score = columns[6] if len(columns) > 6 else 1.0
        kind = int(columns[7]) if len(columns) > 7 and columns[7] >= 0 and not ground_truth else 0
        # Six decimals restore the decimals that were written, without the rounding of a float sum.
        right, bottom = round(left + width, 6), round(top + height, 6)
        return frame, frame - 1, (frame - 1) / fps, track, kind, score, left, top, right, bottom

    for samples in _samples(path, row, {}):
        keep = (samples.scores != 0) if ground_truth else np.ones(len(samples), dtype=np.bool_)
        rows += zip(
            samples.frames[keep],
            samples.pts[keep],
            samples.times_s[keep],
            samples.track_ids[keep],
            samples.class_ids[keep],
            samples.scores[keep],
            *samples.boxes_xyxy[keep].T,
            strict=True,
        )
    if rows:
        rows.sort(key=lambda values: (values[0], values[3]))
        for one, other in pairwise(rows):
            if (one[0], one[3]) == (other[0], other[3]):
                raise InputError(f"{path} has track {int(one[3])} twice in frame {int(one[0])}.")
        yield _of_rows(rows, {0: "object"})


def _samples(
    path: Path,
    row: Callable[[str], tuple[float, ...]],
    names: dict[int, str],
    table: Callable[[memoryview], NDArray[np.float64] | None] = lambda text: None,
) -> Iterator[Samples]:
    """Read rows. `table` parses many lines at once if it can; otherwise `row` parses each."""
    number = 0
    try:
        with open(path, "rb", buffering=0) as file:
            for text in _whole_lines(file):
                first = number + 1
                numbers: Sequence[int] = ()
                if (found := table(text)) is not None:
                    count = len(found)
                else:
                    lines = BytesIO(text).readlines()
                    count = len(lines)
                    numbers = [at for at, line in enumerate(lines, first) if line.strip()]
                    rows: list[tuple[float, ...]] = []
                    for number in numbers:
                        rows.append(tuple(map(float, row(lines[number - first].decode("utf-8-sig")))))
                    found = np.array(rows, dtype=np.float64).reshape(len(rows), -1)
                if len(found):
                    if (wrong := _wrong(found)) is not None:
                        number = numbers[wrong[0]] if numbers else first + wrong[0]
                        raise ValueError(wrong[1])
                    yield _of_table(found, names)
                number = first - 1 + count
    except OSError as error:
        raise InputError(f"{path} can't be read: {describe_os_error(error)}.") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise InputError(f"{path}, line {number}: not a track row ({type(error).__name__}: {error}).") from error


def _whole_lines(file: RawIOBase) -> Iterator[memoryview]:
    """Yield a file in blocks of whole lines, each valid until the next: what is read goes to the same memory, and is
    not divided into lines, which would take as long as parsing them."""
    # All of it is filled with zeros first, which takes longer than parsing a small file.
    block, rest = bytearray(min(_BLOCK_BYTES, max(os.fstat(file.fileno()).st_size, _LEAST_BYTES))), 0
    while size := file.readinto(memoryview(block)[rest:]):
        size += rest
        end = block.rfind(b"\n", 0, size) + 1
        if end:
            yield memoryview(block)[:end]
        rest = size - end
        if rest == len(block):  # a line that is longer
            block = block + bytes(len(block))
        block[:rest] = block[end:size]
    if rest:
        yield memoryview(block)[:rest]


def _wrong(table: NDArray[np.float64]) -> tuple[int, str] | None:
    """Return the index of the first of N invalid rows, and what is wrong with it; None if all are valid."""
    if table.shape[1] != 10:
        return 0, "ten numbers a row are needed"
    with np.errstate(invalid="ignore"):
        rules = (
            (np.isfinite(table), "ten finite numbers a row are needed"),
            (np.abs(table[:, [1, 4]]) < 1 << 63, "pts and classes are numbers of 64 bits"),
        )
    return _first_broken(rules) or wrong_row(table[:, 0], table[:, 3], table[:, 6:10])


def _of_rows(rows: Iterable[tuple[float, ...]], names: dict[int, str]) -> Samples:
    return _of_table(np.array(list(rows), dtype=np.float64), names)


def _of_table(table: NDArray[np.float64], names: dict[int, str]) -> Samples:
    frames, pts, ids, classes = table[:, [0, 1, 3, 4]].astype(np.int64).T
    return Samples(frames, pts, table[:, 2], ids, classes, table[:, 5], table[:, 6:10], names)


def classes_in(files: Iterable[Path]) -> set[str]:
    """Return the class names that occur in files of rows. Raises InputError."""
    return {name for path in files for samples in read_tracks(path) for name in samples.class_names.values()}
