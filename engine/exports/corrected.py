"""Imports corrections made in CVAT, or in any tool that writes MOTChallenge files, as rows.

A row needs its frame's time. It is read from the source if that exists; otherwise it is taken from the existing rows
and interpolated between them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.analytics import read_tracks
from engine.analytics.export import write_whole
from engine.analytics.samples import MAX_ID
from engine.errors import InputError, VideoError
from engine.exports.foreign import MAX_FRAMES, Box, Corrections, read_corrections
from engine.files.folders import NO_LINKS
from engine.files.objects import open_input
from engine.finished import FinishedRun, FinishedVideo
from engine.inference.model import available_cores
from engine.media.inputs import Video
from engine.media.source import Source
from engine.media.suffixes import VIDEO_SUFFIXES
from engine.output_folder.corrections import before_import
from engine.pipeline.reader import ReaderSettings, StreamReader
from engine.pipeline.stream import StreamRun
from engine.profiling.metrics import Metrics
from engine.sinks.base import sole_writer
from engine.sinks.memory import Counters
from engine.stages.decode import never_begun
from engine.text.printable import printable


@dataclass(frozen=True)
class Imported:
    """The outcome: the file of rows and its counts; `kept` is the copy from before the first import, `timed` the source
    of frame times: the video, or the previous rows."""

    rows: Path
    video: str
    tracks: int
    boxes: int
    kept: Path
    timed: Literal["source", "rows"]


def import_corrected(
    run: FinishedRun, files: Sequence[Path], *, video: str | None = None, first_frames: Sequence[int] = ()
) -> Imported:
    """Replace the rows of a run's video by those of corrected files: CVAT for video 1.1 (XML), MOTChallenge text, or an
    archive of either as exported by CVAT, packed or unpacked. Several files are jobs of one video; `first_frames` are
    the frames of the video at which they begin (default 0). A copy of the rows from before the first import is kept
    beside them. Raises InputError, for example if a file is for another video, and OutputError."""
    target = _video(run, video)
    if first_frames and len(first_frames) != len(files):
        raise InputError(f"Give as many first frames as files. Got {len(first_frames)} for {len(files)}.")
    assert target.tracks is not None
    boxes: dict[tuple[int, int], Box] = {}
    begins: Sequence[int | None] = first_frames or [None] * len(files)
    for file, first in zip(files, begins, strict=True):
        found = read_corrections(file)
        _refuse_another(run, target, found, first, named=video is not None)
        for box in found.boxes:
            moved = Box(box.frame + (first or 0), box.track_id, box.class_name, box.box_xyxy)
            boxes[moved.frame, moved.track_id] = moved  # where two jobs overlap, the later one wins
    with sole_writer(run.folder):
        kept = target.tracks.with_name(before_import(target.tracks.name))
        before = kept if kept.exists() else target.tracks
        frames, pts, times_s, classes = _known(before)
        last = max((frame for frame, _ in boxes), default=-1)
        part = _part(run, target)
        timed: Literal["source", "rows"] = "source"
        of_source = _times_of_source(run, target, last)
        if of_source is None:
            timed = "rows"
            of_rows = _Times(frames, pts, times_s, target)
        ordered = sorted(boxes.values(), key=lambda box: (box.frame, box.track_id))
        shift = 1 if any(box.track_id < 1 for box in ordered) else 0  # CVAT counts from 0, trackers from 1
        if max((box.track_id for box in ordered), default=0) + shift >= MAX_ID:
            raise InputError(f"The corrections have ids from 0 to {MAX_ID - 1}, so they can't be renumbered from 1.")
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
            _refuse_outside(part, target, box.frame, second)
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
            _keep(target.tracks, kept)
        write_whole(target.tracks, "".join(lines).encode())
    tracks = len({box.track_id for box in ordered})
    return Imported(target.tracks, target.name, tracks, len(ordered), kept, timed)


def _keep(rows: Path, kept: Path) -> None:
    """Give the rows a second name, or make a copy if the file system has no links. Raises OSError."""
    try:
        os.link(rows, kept)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        write_whole(kept, rows.read_bytes())


def _video(run: FinishedRun, name: str | None) -> FinishedVideo:
    """Return the video to import into. Raises InputError if it is unclear or has no rows."""
    there = [each for each in run.videos if each.tracks is not None and each.tracks.is_file()]
    if name is None and len(there) == 1:
        return there[0]
    found = [each for each in there if each.name == name or str(each.stem) == name]
    if len(found) == 1:
        return found[0]
    names = ", ".join(each.name for each in there[:20])
    what = "Say which video these are of, with --video" if name is None else f"{run.folder} has no rows of {name}"
    raise InputError(f"{what}: {names or 'there is none'}.")


def _refuse_another(
    run: FinishedRun, target: FinishedVideo, found: Corrections, first: int | None, *, named: bool
) -> None:
    """Raise InputError if a file of corrections claims to be for another video than `target`. `first` is the frame at
    which it begins, None if not given; `named`: the user has named the video explicitly."""
    claims = found.claims
    if claims.names and not any(map(_names_of(target).__contains__, map(_shortened, claims.names))):
        others = [each.name for each in run.videos if _names_of(each).intersection(map(_shortened, claims.names))]
        if others:
            raise InputError(f"{found.shown} says that it is of {others[0]}, not of {target.name}.")
        files = [name for name in claims.names if PurePosixPath(name).suffix.lower() in VIDEO_SUFFIXES]
        if files and not named:
            raise InputError(
                f"{found.shown} says that it is of {printable(files[0], 200)}, and the run's video is {target.name}. "
                f"If it is the same video, pass --video {target.name}."
            )
    if None not in (claims.size_wh, target.size_wh) and claims.size_wh != target.size_wh:
        asked, there = ("{}x{}".format(*size) for size in (claims.size_wh, target.size_wh) if size is not None)
        raise InputError(f"{found.shown} is of frames of {asked}, and those of {target.name} are {there}.")
    if (length := _length(run, target)) is None:
        return
    if claims.frames is not None and (first or 0) + claims.frames > length:
        at = f" from frame {first}" if first else ""
        raise InputError(f"{found.shown} is of {claims.frames:,} frames{at}, and {target.name} has {length:,}.")
    if claims.frames is not None and claims.frames < length and first is None:
        raise InputError(
            f"{found.shown} is of {claims.frames:,} frames, and {target.name} has {length:,}: all of its rows would be "
            "replaced. Give the files of all jobs, with --first-frame for each."
        )
    last = max((box.frame + (first or 0) for box in found.boxes), default=-1)
    if last >= length:
        raise InputError(
            f"{found.shown} has boxes in frame {last}, and {target.name} has {length:,} frames, counted from 0: is it "
            "the right video, and --first-frame the right one?"
        )


def _names_of(video: FinishedVideo) -> frozenset[str]:
    """Return the names by which a file of corrections may refer to a video."""
    names = (video.name, str(video.stem))
    return frozenset(_shortened(each) for name in names for each in (name, printable(name)))


def _shortened(name: str) -> str:
    """Return a name without folders and without a video suffix."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.stem if path.suffix.lower() in VIDEO_SUFFIXES else path.name


def _length(run: FinishedRun, video: FinishedVideo) -> int | None:
    """Return the number of frames of a video; None if the run did not see all of them."""
    config = run.config
    (film,) = (film for each, film in zip(run.videos, run.films, strict=True) if each is video)
    whole = video.status == "ok" and not config.start_s and config.part_ends_s is None and not film.sequence_joined
    return video.frames if whole else None


def _part(run: FinishedRun, video: FinishedVideo) -> tuple[float, float] | None:
    """Return the part of a video that the run was asked to examine, in seconds of the container; None if all of it."""
    config = run.config
    if not config.start_s and config.part_ends_s is None:
        return None
    (film,) = (film for each, film in zip(run.videos, run.films, strict=True) if each is video)
    return film.examined_s


def _refuse_outside(part: tuple[float, float] | None, video: FinishedVideo, frame: int, second: float) -> None:
    """Raise InputError if a frame is outside the examined part, because the tables have no bin for it."""
    if part is None:
        return
    half_s = float(video.step_s or 0) / 2  # a part ends with its last frame, a step after that frame's time
    if not part[0] - half_s - 1e-5 <= second <= part[1] - half_s + 1e-5:
        raise InputError(
            f"The corrections have boxes in frame {frame} of {video.name}, at {second:.3f} s, and the run looked at "
            f"{part[0]:.3f} to {part[1]:.3f} s alone. Leave them out, or run the whole video and import into that."
        )


def _known(path: Path) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], dict[str, int]]:
    """Return the frames in the existing rows with their pts and times, and the ids of classes."""
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
    """Times of frames, interpolated from those in rows."""

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
        # Sentinels at both ends, at the nominal rate, for interpolation.
        low, high = int(frames[0]), int(frames[-1])
        before = times_s[0] - low * step_s
        after = times_s[-1] + (MAX_FRAMES - high) * step_s
        self._frames = np.concatenate([[0] if low else [], frames, [MAX_FRAMES]])
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
    """Return pts and seconds of the frames up to `last`, by number; None if the source is missing or has been
    replaced."""
    if video.source is None:
        return None
    found: dict[int, tuple[int, float]] = {}
    options = never_begun(run.config.max_frame_bytes)
    try:
        with open_input(str(video.source)) as file:
            if video.size_bytes not in (None, file.size_bytes):
                return None
            source = Source(str(video.source), options=options)
            source.file = file
            with closing(source):
                stream = StreamRun(0, Video(str(video.source), PurePosixPath("times")), {}, Counters(), 8)
                limits = ReaderSettings(decode_threads=available_cores(), max_pixels=run.config.max_pixels)
                reader = StreamReader(source, stream, limits)
                reader.open()
                with Metrics().clock("decode") as clock:
                    for frame in reader.frames(clock.lap):
                        found[frame.index] = frame.pts, frame.time_s
                        if frame.index >= last:
                            break
    except VideoError:
        return None
    return found
