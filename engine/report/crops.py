"""The best crop of each track, out of the archives that a run with `--crops` leaves (docs/results.md, "Crops")."""

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

from engine.analytics import Samples

log = logging.getLogger(__name__)

_LARGEST_INDEX = 256 << 20
_LARGEST_CROP = 256 << 10
_SAME_PLACE = 0.6  # of the union of two boxes: another tracker, or a person, moves one a little
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Crop:
    """Where a track's crop is: a JPEG of `size` bytes, `name` in an archive. `worth` is how well it shows its
    object."""

    archive: Path
    name: str
    size: int
    worth: float


@dataclass(frozen=True)
class _Indexed:
    """A crop as an archive's index has it: the run's id of its track, its frame, and where its object was there."""

    track_id: int
    frame: int
    box_xyxy: tuple[float, float, float, float]
    crop: Crop


_DAMAGED = (
    OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, KeyError, TypeError,
    NotImplementedError, RuntimeError, RecursionError, OverflowError,
)  # fmt: skip


class CropsOfTracks:
    """Finds whose crop each is, in the tracks as they are now: `retrack` and corrections give other ids, and those that
    an archive names are the run's. A crop is of the track that has a row in its frame where its box is.

    Archives that are damaged, or hold something else, are passed over: a page without them is complete but for its
    pictures.
    """

    def __init__(self, archives: Mapping[str, Path], tick: Callable[[], None] = lambda: None) -> None:
        """`archives` has those that are there, by the names of their videos."""
        self._crops: dict[str, list[_Indexed]] = {}
        self._in_frame: dict[str, dict[int, list[int]]] = {}
        for video, path in archives.items():
            try:
                self._crops[video] = list(_read(path))
            except _DAMAGED as error:
                log.warning("%s: no crops are shown from it: %s", path, error)
                continue
            frames = self._in_frame[video] = {}
            for place, each in enumerate(self._crops[video]):
                frames.setdefault(each.frame, []).append(place)
            tick()
        self._owners: dict[tuple[str, int], tuple[float, bool, int]] = {}

    def feed(self, samples: Samples) -> None:
        """See rows of one video, with the ids that its camera has for them."""
        frames = self._in_frame.get(samples.video)
        if not frames:
            return
        for row in np.flatnonzero(np.isin(samples.frames, list(frames))).tolist():
            track_id, box = int(samples.track_ids[row]), samples.boxes_xyxy[row].tolist()
            for place in frames[int(samples.frames[row])]:
                crop = self._crops[samples.video][place]
                overlap = _overlap(crop.box_xyxy, box)
                # Of two in the very same place, the one that it had been.
                found = overlap, track_id == crop.track_id, track_id
                if overlap >= _SAME_PLACE and found > self._owners.get((samples.video, place), (0.0, False, 0)):
                    self._owners[samples.video, place] = found

    def ended(self) -> dict[int, Crop]:
        """Return the crop of each track, by its id, once all rows were seen; of several the one that is worth most."""
        found: dict[int, Crop] = {}
        for (video, place), (_, _, track_id) in self._owners.items():
            crop = self._crops[video][place].crop
            if track_id not in found or found[track_id].worth < crop.worth:
                found[track_id] = crop
        return found


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
    """Return JPEGs by their track, in the order of the tracks that is given, as many as fit into `at_most` bytes."""
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
