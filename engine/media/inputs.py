"""Inputs: what the user named becomes a list of videos, each with its place in the output folder."""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from engine.errors import InputError, SourceError, describe_os_error
from engine.files.opened import OpenedFile, walk
from engine.media.source import scheme
from engine.media.suffixes import VIDEO_SUFFIXES
from engine.text.did_you_mean import near
from engine.text.masks import without_password

log = logging.getLogger(__name__)

# Moving pictures that are seldom meant as videos: taken when they are named, passed over in a folder.
_PASSED_OVER = frozenset("gif apng".split())

_LONGEST_PROBE_S = 5.0


@dataclass(frozen=True)
class Video:
    """`path` is a file or URL; `stem` is where its outputs go, relative to the output folder, without a suffix."""

    path: str
    stem: PurePosixPath

    @property
    def shown(self) -> str:
        """The path as it may be printed and stored: without a password."""
        return without_password(self.path)


def find_videos(inputs: Iterable[str], output: Path, roots: Sequence[Path] = ()) -> list[Video]:
    """The videos of all inputs (file, folder, glob, URL) in a stable order, each once.

    A folder is searched recursively; hidden files, symbolic links to folders and everything below `output` are passed
    over. With `roots`, only what lies below one of them is opened to look what it is, links resolved. Raises InputError
    for an input that does not exist or can't be read, and when there is no video at all.
    """
    output = output.resolve()
    videos: dict[str, Video] = {}
    named = list(inputs)
    for given in named:
        for video in _videos_of(given, output, roots):
            videos.setdefault(video.path if scheme(video.path) else os.path.realpath(video.path), video)
    if not videos:
        raise InputError(
            f"No video in {', '.join(named) or 'no inputs'}. Name a video file, a folder that holds some, or a URL."
        )
    return _distinct(list(videos.values()))


def _videos_of(given: str, output: Path, roots: Sequence[Path]) -> Iterator[Video]:
    if scheme(given):
        name = PurePosixPath(without_password(given).partition("://")[2].partition("?")[0]).name or "stream"
        yield Video(given, PurePosixPath(_safe(PurePosixPath(name).stem)))
        return
    path = Path(given)
    if path.is_dir():
        yield from _in_folder(path, output, roots)
    elif path.exists():
        yield Video(str(path), _stem(path))
    elif glob.has_magic(given):
        found = sorted(glob.glob(given, recursive=True))
        if not found:
            raise InputError(f"Nothing matches {without_password(given)!r}.")
        for match in found:
            if Path(match).is_dir():
                yield from _in_folder(Path(match), output, roots)
            elif _takes(Path(match), roots):
                yield Video(match, _stem(Path(match)))
    else:
        close = near(path)
        raise InputError(
            f"{without_password(given)} does not exist.{f' Did you mean {str(close)!r}?' if close else ''}"
        )


def _stem(path: Path) -> PurePosixPath:
    """The name without its suffix. That of `..mp4` would be the folder itself: such a name is kept whole."""
    return PurePosixPath(path.stem if path.stem.strip(".") else path.name)


def _in_folder(folder: Path, output: Path, roots: Sequence[Path]) -> Iterator[Video]:
    def refused(place: Path, error: Exception) -> None:
        reason = describe_os_error(error) if isinstance(error, OSError) else str(error)
        if place == folder:
            raise InputError(f"Folder {folder} can't be read: {reason}.") from error
        log.warning("%s is passed over: %s", place, reason)

    for here, folders, files in walk(folder, roots, refused):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and (here / name).resolve() != output)
        for name in sorted(files):
            path = here / name
            if not name.startswith(".") and _takes(path, roots):
                yield Video(str(path), PurePosixPath(*path.relative_to(folder).with_suffix("").parts))


def _takes(path: Path, roots: Sequence[Path]) -> bool:
    """Whether a file found in a folder is a video."""
    if not path.is_file():
        return False
    return path.suffix.lower() in VIDEO_SUFFIXES or _probe(path, roots)


def _probe(path: Path, roots: Sequence[Path]) -> bool:
    """Opens a file of an unknown suffix. True when its container holds moving pictures."""
    import av.error

    from engine.media.source import best_video, open_container, points_elsewhere

    try:
        with OpenedFile(str(path), roots) as file:
            if file.facts.st_size == 0 or points_elsewhere(file):
                return False
            options = {"max_pixels": "1"}  # nothing is decoded to find out
            with open_container(file, options, (_LONGEST_PROBE_S, _LONGEST_PROBE_S)) as container:
                passed_over = _PASSED_OVER & set(container.format.name.split(","))
                return not passed_over and best_video(container) is not None
    except (av.error.FFmpegError, SourceError, OSError, ValueError):
        return False


def _distinct(videos: list[Video]) -> list[Video]:
    """Gives a place of its own to each video: `a.mp4` beside `a.avi` keep their suffix, further twins get a number.
    So does `a.partial.mp4`: without it, its results would bear the names of those of an interrupted `a.mp4`."""
    stems = Counter(str(video.stem).casefold() for video in videos)
    taken: set[str] = set()
    placed = []
    for video in videos:
        stem = video.stem
        shared = stems[str(stem).casefold()] > 1 or stem.name.casefold().endswith(".partial")
        if shared and not scheme(video.path):
            stem = stem.with_name(stem.name + Path(video.path).suffix)
        number, free = 1, stem
        while str(free).casefold() in taken:
            number += 1
            free = stem.with_name(f"{stem.name}-{number}")
        taken.add(str(free).casefold())
        placed.append(replace(video, stem=free))
    return placed


def _safe(name: str) -> str:
    """A URL's last part as a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".") or "stream"
