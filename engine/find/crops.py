"""What was found, as images: each track in the frame that shows it best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path, PurePosixPath

import av
import numpy as np
from numpy.typing import NDArray

from engine.analytics import read_tracks
from engine.analytics.tables import Row, csv_of, rows_of
from engine.config import EngineConfig
from engine.errors import InputError, OutputError, VideoError, describe_os_error
from engine.exports.images import jpeg
from engine.files.folders import Folder
from engine.files.listed import ListedFiles
from engine.files.objects import open_input
from engine.find.index import Index
from engine.find.query import Found
from engine.finished import file_word, fresh_name
from engine.inference.model import available_cores
from engine.output_folder.own_files import foreign, is_own_in
from engine.pipeline.again import frames_again
from engine.pipeline.reader import ReaderSettings
from engine.sinks.base import sole_writer

_MARGIN = 0.1
_LIST, _PART = "found.csv", ".found.part"
_SUFFIXES = frozenset({".jpg"})
_LARGEST_LIST = 1 << 28


def cut_crops(
    index: Index, found: Sequence[Found], folder: Path, *, overwrite: bool = False
) -> tuple[dict[int, Path], dict[str, str]]:
    """Write a JPEG of each thing found into `folder`, and found.csv, which lists them. Return their paths by its place
    in `found`, and why there is none, by video. Of a run that blurs there are none: its sources show what it hides.

    The images of an earlier search go; files of others stay: where one is called found.csv, that is an error, unless
    `overwrite` says that it may go. Raises OutputError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Folder.at(folder) as target, sole_writer(target):
            if not overwrite and not is_own_in(target, _LIST):
                raise OutputError(foreign(folder / _LIST))
            files = ListedFiles(target, _listed_before(target), _SUFFIXES)
            made, failed = _cut(index, found, target, files)
            files.end()
            target.write(_LIST, _list_of(found, made).encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise OutputError(f"Folder {folder} can't be written: {describe_os_error(error)}.") from error
    return {number: folder / name for number, name in made.items()}, failed


def _cut(
    index: Index, found: Sequence[Found], target: Folder, files: ListedFiles
) -> tuple[dict[int, str], dict[str, str]]:
    """Return the names of the images that were written, and why there are no others. Raises OSError."""
    wanted: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    made: dict[int, str] = {}
    failed: dict[str, str] = {}
    for number, each in enumerate(found):
        if each.hides:
            failed[each.video] = "its run blurs, and its source does not"
        elif each.best_frame is not None:
            wanted[each.folder, each.best_video].append(number)
    for (name, video), numbers in wanted.items():
        row = index.connection.execute(
            "SELECT v.source, v.tracks FROM videos v JOIN folders f ON f.folder = v.folder"
            " WHERE f.path = ? AND v.video = ?",
            [name, video],
        ).fetchone()
        try:
            if row is None or not row[0] or not row[1]:
                raise VideoError("is not kept")
            boxes = _boxes(Path(row[1]), {(found[n].best_frame, found[n].track_id) for n in numbers})
            pictures = dict(_pictures(row[0], boxes))
        except (VideoError, InputError) as error:
            failed[video] = str(error)
            continue
        for number in numbers:
            each = found[number]
            content = pictures.get((each.best_frame or 0, each.track_id))
            if content is None:
                continue
            words = [file_word(PurePosixPath(video).stem, 80), file_word(each.class_name), str(each.track_id)]
            made[number] = fresh_name(words, ".jpg", lambda name: files.is_free(PurePosixPath(name)))
            target.write(_PART, content)
            files.put(_PART, target, PurePosixPath(made[number]))
    return made, failed


def _list_of(found: Sequence[Found], made: Mapping[int, str]) -> str:
    columns = ("picture", *(each.name for each in fields(Found) if each.name != "hides"))
    return csv_of(columns, [{"picture": name, **_row(found[number])} for number, name in sorted(made.items())])


def _row(each: Found) -> Row:
    return {key: value for key, value in asdict(each).items() if key != "hides"}


def _listed_before(folder: Folder) -> list[str]:
    """Return the names in the list that an earlier search has left. Raises OSError."""
    try:
        return [row.get("picture", "") for row in rows_of(folder.read(_LIST, _LARGEST_LIST).decode())]
    except (FileNotFoundError, ValueError):
        return []


_Key = tuple[int, int]
"""Frame and track."""


def _boxes(rows: Path, wanted: set[tuple[int | None, int]]) -> dict[_Key, NDArray[np.float64]]:
    """Return the box (4,) of each track that is wanted in a frame."""
    frames = np.array([frame for frame, _ in wanted], np.int64)
    found: dict[_Key, NDArray[np.float64]] = {}
    for samples in read_tracks(rows):
        for place in np.flatnonzero(np.isin(samples.frames, frames)).tolist():
            key = int(samples.frames[place]), int(samples.track_ids[place])
            if key in wanted:
                found[key] = samples.boxes_xyxy[place]
    return found


def _pictures(path: str, boxes: Mapping[_Key, NDArray[np.float64]]) -> Iterator[tuple[_Key, bytes]]:
    """Give what is in each box, with a margin, as JPEG. Raises VideoError."""
    config = EngineConfig()
    settings = ReaderSettings(
        decode_threads=available_cores(), max_pixels=config.max_pixels, max_frame_bytes=config.max_frame_bytes
    )
    by_frame: defaultdict[int, list[_Key]] = defaultdict(list)
    for key in boxes:
        by_frame[key[0]].append(key)
    with open_input(path) as file, closing(frames_again(file, settings)) as frames:
        for frame in frames if by_frame else ():
            if frame.image is not None and (keys := by_frame.pop(frame.index, None)) is not None:
                rgb = frame.image.to_ndarray(format="rgb24")
                yield from ((key, _crop(rgb, boxes[key])) for key in keys)
            if not by_frame:
                return


def _crop(rgb: NDArray[np.uint8], box: NDArray[np.float64]) -> bytes:
    """Return what is in a box, with a margin, as JPEG. rgb: (H, W, 3); the sides of a JPEG are even, and at least 2."""
    height, width = rgb.shape[:2]
    x1, y1, x2, y2 = box.tolist()
    columns = _even(x1 - _MARGIN * (x2 - x1), x2 + _MARGIN * (x2 - x1), width)
    rows = _even(y1 - _MARGIN * (y2 - y1), y2 + _MARGIN * (y2 - y1), height)
    return jpeg(av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[rows, columns]), "rgb24"))


def _even(first: float, last: float, size: int) -> slice:
    """Return the part from `first` to `last` of a side, in pixels: within it, from an even one, an even number long."""
    start = min(max(0, int(first)), max(0, size - 2)) & ~1
    length = min(max(2, int(last) - start), size - start)
    return slice(start, start + max(length & ~1, 1))
