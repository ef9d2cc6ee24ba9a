"""The best crop of each track, from the archives of a run with `--crops` (docs/results.md, "Crops")."""

from __future__ import annotations

import json
import logging
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.analytics import read_tracks

log = logging.getLogger(__name__)

_LARGEST_INDEX = 256 << 20
_LARGEST_CROP = 256 << 10
_SAME_PLACE = 0.6  # IoU: another tracker, or a person, moves a box a little
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Crop:
    """The location of a track's crop: a JPEG of `size` bytes, `name` in an archive. `worth` rates how well it shows the
    object."""

    archive: Path
    name: str
    size: int
    worth: float


@dataclass(frozen=True)
class _Indexed:
    """A crop in an archive's index: its track's id in the run, its frame, and its object's box there."""

    track_id: int
    frame: int
    box_xyxy: tuple[float, float, float, float]
    crop: Crop


_DAMAGED = (
    OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, KeyError, TypeError,
    NotImplementedError, RuntimeError, RecursionError, OverflowError,
)  # fmt: skip


def crops_of(archives: Iterable[tuple[Path, Path | None]], tick: Callable[[], None] = lambda: None) -> dict[int, Crop]:
    """Return the best crop of each track, by id.

    `archives` pairs each archive with the current rows of its video, because `retrack` and corrections change ids: a
    crop then belongs to the track with a matching box in its frame. None: ids are still those of the run. Archives that
    are damaged or not archives of crops are skipped; the page only lacks their images then. Raises InputError if rows
    can't be read.
    """
    found: dict[int, Crop] = {}
    for path, rows in archives:
        try:
            crops = list(_read(path))
        except _DAMAGED as error:
            log.warning("%s: no crops are shown from it: %s", path, error)
            continue
        owners = [crop.track_id for crop in crops] if rows is None else _owners(crops, rows, tick)
        for track_id, each in zip(owners, crops, strict=True):
            if track_id is not None and (track_id not in found or found[track_id].worth < each.crop.worth):
                found[track_id] = each.crop
        tick()
    return found


def _owners(crops: Sequence[_Indexed], rows: Path, tick: Callable[[], None]) -> list[int | None]:
    """Return for each crop the track with a matching box; None if there is none."""
    in_frame: dict[int, list[int]] = {}
    for place, crop in enumerate(crops):
        in_frame.setdefault(crop.frame, []).append(place)
    best: list[tuple[float, bool, int] | None] = [None] * len(crops)
    for samples in read_tracks(rows):
        for row in np.flatnonzero(np.isin(samples.frames, list(in_frame))).tolist():
            track_id, box = int(samples.track_ids[row]), samples.boxes_xyxy[row].tolist()
            for place in in_frame[int(samples.frames[row])]:
                overlap = _overlap(crops[place].box_xyxy, box)
                # Of two equal boxes, prefer the original id.
                rank = overlap, track_id == crops[place].track_id, track_id
                if overlap >= _SAME_PLACE and ((before := best[place]) is None or rank > before):
                    best[place] = rank
        tick()
    return [rank[2] if rank is not None else None for rank in best]


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the intersection over the union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return width * height / (areas - width * height)


def _read(path: Path) -> Iterator[_Indexed]:
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        if sizes["index.jsonl"] > _LARGEST_INDEX:
            raise ValueError("its index is too large")
        for line in archive.read("index.jsonl").splitlines():
            row = json.loads(line)
            name = str(row["file"])
            if name in sizes and sizes[name] <= _LARGEST_CROP:
                x1, y1, x2, y2 = map(float, row["box_xyxy"])
                crop = Crop(path, name, sizes[name], float(row["worth"]))
                yield _Indexed(int(row["track_id"]), int(row["frame"]), (x1, y1, x2, y2), crop)


def pictures(crops: Mapping[int, Crop], order: Iterable[int], at_most: int) -> dict[int, bytes]:
    """Return JPEGs by track, in the given order of tracks, as many as fit into `at_most` bytes."""
    chosen: dict[int, Crop] = {}
    left = at_most
    for track_id in order:
        crop = crops.get(track_id)
        if crop is not None and crop.size <= left and track_id not in chosen:
            chosen[track_id] = crop
            left -= crop.size
    by_archive: dict[Path, list[int]] = {}
    for track_id, crop in chosen.items():
        by_archive.setdefault(crop.archive, []).append(track_id)
    found: dict[int, bytes] = {}
    for path, track_ids in by_archive.items():
        try:
            with zipfile.ZipFile(path) as archive:
                for track_id in track_ids:
                    content = archive.read(chosen[track_id].name)
                    if content.startswith(_JPEG):
                        found[track_id] = content
        except _DAMAGED as error:
            log.warning("%s: no crops are shown from it: %s", path, error)
    return found
