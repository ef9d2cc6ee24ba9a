"""The best crop of each track, out of the archives that a run with `--crops` leaves (docs/results.md, "Crops")."""

from __future__ import annotations

import json
import logging
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

_LARGEST_INDEX = 256 << 20
_LARGEST_CROP = 256 << 10
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class Crop:
    """Where a track's crop is: a JPEG of `size` bytes, `name` in an archive. `worth` is how well it shows its
    object."""

    archive: Path
    name: str
    size: int
    worth: float


_DAMAGED = (
    OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, KeyError, TypeError,
    NotImplementedError, RuntimeError, RecursionError,
)  # fmt: skip


def crops_in(archives: Iterable[Path], tick: Callable[[], None] = lambda: None) -> dict[int, Crop]:
    """Return the crop of each track, by its id; of several the one that is worth most. Archives that are damaged, or
    hold something else, are passed over: a page without them is complete but for its pictures."""
    found: dict[int, Crop] = {}
    for path in archives:
        try:
            for track_id, crop in _read(path):
                if track_id not in found or found[track_id].worth < crop.worth:
                    found[track_id] = crop
        except _DAMAGED as error:
            log.warning("%s: no crops are shown from it: %s", path, error)
        tick()
    return found


def _read(path: Path) -> Iterable[tuple[int, Crop]]:
    with zipfile.ZipFile(path) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        if sizes["index.jsonl"] > _LARGEST_INDEX:
            raise ValueError("its index is too large")
        for line in archive.read("index.jsonl").splitlines():
            row = json.loads(line)
            name = str(row["file"])
            if name in sizes and sizes[name] <= _LARGEST_CROP:
                yield int(row["track_id"]), Crop(path, name, sizes[name], float(row["worth"]))


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
