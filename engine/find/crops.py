"""What was found, as pictures: each track in the frame that shows it best."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path, PurePosixPath

from engine.analytics import read_tracks
from engine.analytics.tables import Row, csv_of, rows_of
from engine.config import EngineConfig
from engine.errors import InputError, OutputError, VideoError, describe_os_error
from engine.exports.images import jpeg
from engine.files.folders import Folder
from engine.files.listed import ListedFiles
from engine.files.opened import OpenedFile
from engine.find.index import Index
from engine.find.query import Found
from engine.finished import file_word, fresh_name
from engine.inference.model import available_cores
from engine.media.inputs import Video
from engine.media.source import Source
from engine.own_files import foreign, is_own_in
from engine.pipeline.reader import ReaderSettings, StreamReader
from engine.pipeline.stream import StreamRun
from engine.profiling.metrics import Metrics
from engine.sinks.base import sole_writer
from engine.sinks.memory import Counters
from engine.stages.decode import never_begun

_MARGIN = 0.1
_LIST, _PART = "found.csv", ".found.part"
_SUFFIXES = frozenset({".jpg"})
_LARGEST_LIST = 1 << 28


def cut_crops(
    index: Index, found: Sequence[Found], folder: Path, *, overwrite: bool = False
) -> tuple[dict[int, Path], dict[str, str]]:
    """Write a JPEG of each thing found into `folder`, and found.csv, which lists them. Return their paths by its place
    in `found`, and why there is none, by video. Of a run that blurs there are none: its sources show what it hides.

    The pictures of an earlier search go; files of others stay: where one is called found.csv, that is an error, unless
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
    """Return the names of the pictures that were written, and why there are no others. Raises OSError."""
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
            pictures = _pictures(row[0], {frame for frame, _ in boxes}, boxes)
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


def _boxes(rows: Path, wanted: set[tuple[int | None, int]]) -> dict[tuple[int, int], tuple[float, ...]]:
    """Return the boxes of (frame, track)."""
    found: dict[tuple[int, int], tuple[float, ...]] = {}
    for samples in read_tracks(rows):
        keys = zip(samples.frames.tolist(), samples.track_ids.tolist(), strict=True)
        for place, (frame, track_id) in enumerate(keys):
            if (frame, track_id) in wanted:
                found[int(frame), int(track_id)] = tuple(samples.boxes_xyxy[place].tolist())
    return found


def _pictures(
    path: str, frames: set[int], boxes: dict[tuple[int, int], tuple[float, ...]]
) -> dict[tuple[int, int], bytes]:
    config = EngineConfig()
    source = Source(path, options=never_begun(config.max_frame_bytes))
    found: dict[tuple[int, int], bytes] = {}
    left = set(frames)
    with OpenedFile(path) as file, closing(source):
        source.file = file
        run = StreamRun(0, Video(path, PurePosixPath("crops")), {}, Counters(0), 8)
        limits = ReaderSettings(
            decode_threads=available_cores(), max_pixels=config.max_pixels, max_frame_bytes=config.max_frame_bytes
        )
        reader = StreamReader(source, run, limits)
        reader.open()
        with Metrics().clock("decode") as clock:
            for frame in reader.frames(clock):
                if frame.index in left and frame.image is not None:
                    left.discard(frame.index)
                    rgb = frame.image.to_ndarray(format="rgb24")
                    for key, box in boxes.items():
                        if key[0] == frame.index:
                            found[key] = _crop(rgb, box)
                if not left:
                    break
    return found


def _crop(rgb: object, box: tuple[float, ...]) -> bytes:
    import av
    import numpy as np

    image = np.asarray(rgb)
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    dx, dy = _MARGIN * (x2 - x1), _MARGIN * (y2 - y1)
    left, top = int(max(0, x1 - dx)) & ~1, int(max(0, y1 - dy)) & ~1
    right, bottom = int(min(width, x2 + dx)), int(min(height, y2 + dy))
    right, bottom = max(right, min(left + 2, width)), max(bottom, min(top + 2, height))
    part = image[top : bottom - (bottom - top) % 2 or bottom, left : right - (right - left) % 2 or right]
    return jpeg(av.VideoFrame.from_ndarray(np.ascontiguousarray(part), "rgb24"))
