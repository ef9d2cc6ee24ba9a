"""What a person has mended in CVAT, or in any tool that writes MOTChallenge files, becomes rows again.

A row needs its frame's time. Where the source is there, it is asked; else the rows that are there tell it, and what
lies between them is interpolated.
"""

from __future__ import annotations

import json
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise, zip_longest
from pathlib import Path, PurePosixPath
from typing import Literal
from xml.parsers import expat

import numpy as np
from numpy.typing import NDArray

from engine.analytics import read_tracks
from engine.analytics.export import write_whole
from engine.errors import InputError, VideoError, describe_os_error
from engine.files.opened import OpenedFile
from engine.finished import FinishedRun, FinishedVideo
from engine.inference.model import available_cores
from engine.media.inputs import Video
from engine.media.source import Source
from engine.pipeline.reader import ReaderSettings, StreamReader
from engine.pipeline.stream import StreamRun
from engine.profiling.metrics import Metrics
from engine.sinks.base import sole_writer
from engine.sinks.memory import Counters
from engine.stages.decode import never_begun
from engine.text.printable import printable

_LARGEST = 1 << 30
_MOST_FRAMES = 1 << 26
_MAX_BOXES = 1 << 24  # those between key frames included: a day with eight at a time
_KEPT = ".before-import.tracks.jsonl"


@dataclass(frozen=True)
class Imported:
    """What was made: the file of rows and how much is in it; `kept` is what it was before the first import, `timed`
    how the times of its frames are known: by the source, or from the rows before."""

    rows: Path
    video: str
    tracks: int
    boxes: int
    kept: Path
    timed: Literal["source", "rows"]


@dataclass(frozen=True)
class _Box:
    frame: int
    track_id: int
    class_name: str
    box_xyxy: tuple[float, float, float, float]


def import_corrected(
    run: FinishedRun, files: Sequence[Path], *, video: str | None = None, first_frames: Sequence[int] = ()
) -> Imported:
    """Replace the rows of a video of a run by those of corrected files: CVAT for video 1.1 (XML), MOTChallenge text, or
    an archive of either as CVAT exports it. Several files are jobs of one video; `first_frames` says at which frame
    of the video each begins (0 where not given). What the rows were before the first import is kept beside them.
    Raises InputError and OutputError."""
    target = _video(run, video)
    if first_frames and len(first_frames) != len(files):
        raise InputError(f"Give as many first frames as files. Got {len(first_frames)} for {len(files)}.")
    assert target.tracks is not None
    boxes: dict[tuple[int, int], _Box] = {}
    for file, first in zip(files, first_frames or [0] * len(files), strict=True):
        for box in _read(file):
            moved = _Box(box.frame + first, box.track_id, box.class_name, box.box_xyxy)
            boxes[moved.frame, moved.track_id] = moved  # what two jobs have in common is the later one's
    with sole_writer(run.folder):
        kept = target.tracks.with_name(target.tracks.name.removesuffix(".tracks.jsonl") + _KEPT)
        before = kept if kept.exists() else target.tracks
        frames, pts, times_s, classes = _known(before)
        last = max((frame for frame, _ in boxes), default=-1)
        timed: Literal["source", "rows"] = "source"
        of_source = _times_of_source(run, target, last)
        if of_source is None:
            timed = "rows"
            of_rows = _Times(frames, pts, times_s, target)
        ordered = sorted(boxes.values(), key=lambda box: (box.frame, box.track_id))
        shift = 1 if any(box.track_id < 1 for box in ordered) else 0  # CVAT counts from 0, trackers from 1
        for name in sorted({box.class_name for box in ordered} - classes.keys()):
            classes[name] = max(classes.values(), default=-1) + 1
        lines = []
        for box in ordered:
            if of_source is not None:
                if box.frame not in of_source:
                    raise InputError(
                        f"The corrections have boxes in frame {box.frame}, and {target.name} has none of that number: "
                        "is it the right video, and --first-frame the right one?"
                    )
                tick, second = of_source[box.frame]
            else:
                tick, second = of_rows.at(box.frame)
            row = {
                "frame": box.frame,
                "pts": tick,
                "time_s": round(second, 6),
                "track_id": box.track_id + shift,
                "class_id": classes[box.class_name],
                "class": box.class_name,
                "score": 1.0,
                "box_xyxy": [round(value, 2) for value in box.box_xyxy],
            }
            lines.append(json.dumps(row) + "\n")
        if not kept.exists():
            os.link(target.tracks, kept)
        write_whole(target.tracks, "".join(lines).encode())
    tracks = len({box.track_id for box in ordered})
    return Imported(target.tracks, target.name, tracks, len(ordered), kept, timed)


def _video(run: FinishedRun, name: str | None) -> FinishedVideo:
    """Return the video that is meant, which has rows to be replaced."""
    there = [each for each in run.videos if each.tracks is not None and each.tracks.is_file()]
    if name is None and len(there) == 1:
        return there[0]
    found = [each for each in there if each.name == name or str(each.stem) == name]
    if len(found) == 1:
        return found[0]
    names = ", ".join(each.name for each in there[:20])
    what = "Say which video these are of, with --video" if name is None else f"{run.folder} has no rows of {name}"
    raise InputError(f"{what}: {names or 'there is none'}.")


def _known(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], dict[str, int]]:
    """Return frames with their pts and times, as far as rows tell them, and the ids of classes."""
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    classes: dict[str, int] = {}
    for samples in read_tracks(path):
        frames, first = np.unique(samples.frames, return_index=True)
        parts.append((frames, samples.pts[first], samples.times_s[first]))
        classes |= {name: number for number, name in samples.class_names.items()}
    if not parts:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0), classes
    frames = np.concatenate([part[0] for part in parts])
    pts, times_s = np.concatenate([part[1] for part in parts]), np.concatenate([part[2] for part in parts])
    unique, first = np.unique(frames, return_index=True)
    return unique, pts[first], times_s[first], classes


class _Times:
    """Times of frames from those that rows tell."""

    def __init__(
        self,
        frames: NDArray[np.int64],
        pts: NDArray[np.int64],
        times_s: NDArray[np.float64],
        video: FinishedVideo,
    ) -> None:
        base = video.time_base or Fraction(1, 90_000)
        step_s = float(video.step_s or Fraction(1, 25))
        if not len(frames):
            frames, times_s = np.array([0]), np.array([video.first_s])
            pts = np.array([round(video.first_s / float(base))])
        # Ends to interpolate up to, at the nominal rate.
        low, high = int(frames[0]), int(frames[-1])
        before = times_s[0] - low * step_s
        after = times_s[-1] + (_MOST_FRAMES - high) * step_s
        self._frames = np.concatenate([[0] if low else [], frames, [_MOST_FRAMES]])
        self._times_s = np.concatenate([[before] if low else [], times_s, [after]])
        pairs = zip(map(int, pts), map(float, times_s), strict=True)
        self._known = dict(zip(map(int, frames), pairs, strict=True))
        self._base = float(base)

    def at(self, frame: int) -> tuple[int, float]:
        """Return a frame's pts and seconds."""
        if (known := self._known.get(frame)) is not None:
            return known
        second = float(np.interp(frame, self._frames, self._times_s))
        return round(second / self._base), second


def _times_of_source(run: FinishedRun, video: FinishedVideo, last: int) -> dict[int, tuple[int, float]] | None:
    """Return pts and seconds of the frames up to `last`, by their numbers; None where the source is not there, or is
    another file by now."""
    if video.source is None:
        return None
    found: dict[int, tuple[int, float]] = {}
    options = never_begun(run.config.max_frame_bytes)
    try:
        with OpenedFile(str(video.source)) as file:
            if video.size_bytes not in (None, file.facts.st_size):
                return None
            source = Source(str(video.source), options=options)
            source.file = file
            with closing(source):
                stream = StreamRun(0, Video(str(video.source), PurePosixPath("times")), {}, Counters(0), 8)
                limits = ReaderSettings(decode_threads=available_cores(), max_pixels=run.config.max_pixels)
                reader = StreamReader(source, stream, limits)
                reader.open()
                with Metrics().clock("decode") as clock:
                    for frame in reader.frames(clock):
                        found[frame.index] = frame.pts, frame.time_s
                        if frame.index >= last:
                            break
    except VideoError:
        return None
    return found


def _read(path: Path) -> Iterator[_Box]:
    """Read a file of corrections by what it is."""
    try:
        if zipfile.is_zipfile(path):
            yield from _read_archive(path)
            return
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path} is larger than {_LARGEST:,} bytes.")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read: {describe_os_error(error)}.") from error
    labels = path.with_name("labels.txt")
    names = labels.read_text(encoding="utf-8", errors="replace").splitlines() if labels.is_file() else []
    yield from _boxes_in(content, str(path), names)


def _read_archive(path: Path) -> Iterator[_Box]:
    try:
        with zipfile.ZipFile(path) as archive:
            found = {name: archive.getinfo(name) for name in archive.namelist()}
            name = next((name for name in ("annotations.xml", "gt/gt.txt") if name in found), None)
            if name is None:
                raise InputError(f"{path} holds neither annotations.xml nor gt/gt.txt: it is no export of CVAT.")
            if found[name].file_size > _LARGEST:
                raise InputError(f"{path}: {name} is larger than {_LARGEST:,} bytes.")
            with archive.open(name) as file:
                content = file.read(_LARGEST)
            labels: list[str] = []
            if "gt/labels.txt" in found and found["gt/labels.txt"].file_size < 1 << 20:
                labels = archive.read("gt/labels.txt").decode("utf-8", "replace").splitlines()
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        OSError,
    ) as error:
        raise InputError(f"{path} is a damaged archive: {error}.") from error
    yield from _boxes_in(content, f"{path}: {name}", labels)


def _boxes_in(content: bytes, shown: str, labels: Sequence[str]) -> Iterator[_Box]:
    head = content[:1000].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<"):
        yield from _Cvat(shown).read(content)
    else:
        yield from _read_mot(content, shown, [label.strip() for label in labels if label.strip()])


def _read_mot(content: bytes, shown: str, labels: Sequence[str]) -> Iterator[_Box]:
    """frame, id, left, top, width, height, flag, class; frames and classes from 1. A flag of 0 is no box."""
    for number, line in enumerate(content.decode("utf-8-sig", "replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            columns = [float(column) for column in line.split(",")]
            frame, track_id, left, top, width, height = columns[:6]
            flag = columns[6] if len(columns) > 6 else 1.0
            kind = int(columns[7]) if len(columns) > 7 else -1
            if not np.isfinite(columns).all() or not 1 <= frame < _MOST_FRAMES or track_id < 0:
                raise ValueError("frames count from 1, ids from 0, and all is finite")
        except (ValueError, OverflowError) as error:
            raise InputError(f"{shown}, line {number}: not a row of MOTChallenge ({error}).") from error
        if flag == 0:
            continue
        if labels and not 1 <= kind <= len(labels):
            raise InputError(f"{shown}, line {number}: class {kind} is none of the {len(labels)} in labels.txt.")
        name = labels[kind - 1] if labels else "object" if kind < 1 else f"class {kind}"
        yield _Box(int(frame) - 1, int(track_id), name, (left, top, left + width, top + height))


class _Cvat:
    """Reads the tracks of CVAT for video 1.1, each from its boxes to the next, and interpolates as CVAT does."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._boxes: list[_Box] = []
        self._track: tuple[int, str] | None = None
        self._given: dict[int, tuple[bool, tuple[float, float, float, float]]] = {}
        self._taken: set[int] = set()
        self._parser = expat.ParserCreate()
        self._depth = 0

    def read(self, content: bytes) -> list[_Box]:
        """Return the boxes of all frames. Raises InputError."""
        parser = self._parser
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.StartDoctypeDeclHandler = self._doctype
        try:
            parser.Parse(content, True)
        except expat.ExpatError as error:
            raise InputError(f"{self._shown} is not XML: {error}.") from error
        except (KeyError, ValueError, OverflowError) as error:
            line = parser.CurrentLineNumber
            raise InputError(f"{self._shown}, line {line}: not a track of CVAT for video 1.1 ({error!r}).") from error
        return self._boxes

    def _doctype(self, *_: object) -> None:
        raise InputError(f"{self._shown} declares a document type, which CVAT never does: it is not read.")

    def _start(self, name: str, given: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 1 and name != "annotations":
            raise InputError(f"{self._shown} is not an export of CVAT: it begins with <{printable(name, 100)}>.")
        if name == "image":
            raise InputError(f"{self._shown} is CVAT for images: export it as CVAT for video 1.1.")
        if name == "track":
            number = int(given["id"])
            while number in self._taken:  # two jobs in one file
                number += 1
            self._taken.add(number)
            self._track, self._given = (number, given["label"]), {}
        elif name == "box" and self._track is not None:
            frame = int(given["frame"])
            if not 0 <= frame < _MOST_FRAMES:
                raise ValueError(f"frame {frame}")
            box = tuple(float(given[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
            if not np.isfinite(box).all():
                raise ValueError("a side that is no number")
            self._given[frame] = given.get("outside") == "1", (box[0], box[1], box[2], box[3])

    def _end(self, name: str) -> None:
        self._depth -= 1
        if name == "track" and self._track is not None:
            if sum(b - a for a, b in pairwise(sorted(self._given))) + len(self._boxes) > _MAX_BOXES:
                raise ValueError(f"more than {_MAX_BOXES} boxes")
            self._boxes += self._interpolated(*self._track)
            self._track = None

    def _interpolated(self, track_id: int, label: str) -> Iterator[_Box]:
        frames = sorted(self._given)
        for frame, after in zip_longest(frames, frames[1:]):
            outside, box = self._given[frame]
            if outside:
                continue
            yield _Box(frame, track_id, label, box)
            if after is None:
                continue
            ends_outside, following = self._given[after]
            target = box if ends_outside else following  # up to an end it stays where it was
            for between in range(frame + 1, after):
                share = (between - frame) / (after - frame)
                x1, y1, x2, y2 = (a + share * (b - a) for a, b in zip(box, target, strict=True))
                yield _Box(between, track_id, label, (x1, y1, x2, y2))
