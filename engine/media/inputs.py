"""Turns the user's inputs into a list of videos, each with its place in the output folder."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import av.error

from engine.errors import InputError, SourceError, StorageError, describe_os_error
from engine.files.opened import OpenedFile
from engine.media.listing import FolderWalk, LeftOut, told
from engine.media.source import best_video, open_container, points_elsewhere, scheme
from engine.media.suffixes import VIDEO_SUFFIXES
from engine.storage.urls import Place, is_below, is_object, path_of, place_of, store_of
from engine.text.did_you_mean import near
from engine.text.masks import without_password

if TYPE_CHECKING:
    from engine.storage.stores import Store

# Animations that are seldom meant as videos: accepted if named explicitly, skipped in a folder.
_PASSED_OVER = frozenset("gif apng".split())

_LONGEST_PROBE_S = 5.0
_REMEDY = "Name a video file, a folder that holds some, or a URL."


class Video(NamedTuple):
    """`path` is a file or URL; `stem` is where its outputs go, relative to the output folder, without a suffix."""

    path: str
    stem: PurePosixPath

    @property
    def shown(self) -> str:
        """The path for printing and storing, with credentials masked."""
        return without_password(self.path)


def find_videos(
    inputs: Iterable[str],
    output: Path,
    roots: Sequence[Path] = (),
    *,
    left_out: list[LeftOut] | None = None,
    stored: Place | None = None,
) -> list[Video]:
    """Return the videos of all inputs (file, folder, glob, URL) in a stable order, each once.

    Folders are searched recursively, except for `output` and `stored`, the outputs' place in storage; listing.py
    describes what else is left out, and adds it to `left_out`. Files named explicitly are always taken. With `roots`,
    only paths below one of them are opened or searched, links resolved. Raises InputError if an input does not exist or
    can't be read, and if there is no video at all.
    """
    walk = FolderWalk(output, roots, stored)
    videos: dict[str, Video] = {}
    named = list(inputs)
    if "" in named:  # probably an unset variable; must not mean the current folder
        raise InputError(f"An input is empty. {_REMEDY}")
    for given in map(path_of, named):
        for video in _videos_of(given, walk):
            videos.setdefault(video.path if _is_url(video.path) else os.path.realpath(video.path), video)
    if not videos:
        where = f"No video in {', '.join(named) or 'no inputs'}. "
        raise InputError(" ".join([where + _REMEDY, *(f"{line}." for line in told(walk.left_out))]))
    if left_out is not None:
        left_out += walk.left_out
    return _distinct(list(videos.values()))


def _videos_of(given: str, walk: FolderWalk) -> Iterator[Video]:
    if scheme(given):
        name = PurePosixPath(without_password(given).partition("://")[2].partition("?")[0]).name or "stream"
        yield Video(given, PurePosixPath(_safe(PurePosixPath(name).stem)))
        return
    if (place := place_of(given)) is not None:
        yield from _in_storage(place, walk)
        return
    path = Path(given)
    if path.is_dir():
        yield from _in_folder(path, walk)
    elif path.exists():
        yield Video(str(path), _stem(path))
    elif glob.has_magic(given):
        found = sorted(glob.glob(given, recursive=True))
        if not found:
            raise InputError(f"Nothing matches {without_password(given)!r}.")
        for match in found:
            if Path(match).is_dir():
                yield from _in_folder(Path(match), walk)
            elif walk.takes(Path(match), asked=path.suffix) and _takes(Path(match), walk.roots):
                yield Video(match, _stem(Path(match)))
    else:
        close = near(path)
        raise InputError(
            f"{without_password(given)} does not exist.{f' Did you mean {str(close)!r}?' if close else ''}"
        )


def _stem(path: Path) -> PurePosixPath:
    """Return the name without its suffix. A name like `..mp4`, whose stem would be the folder itself, is kept whole."""
    return PurePosixPath(path.stem if path.stem.strip(".") else path.name)


def _is_url(path: str) -> bool:
    return scheme(path) is not None or is_object(path)


def _in_storage(place: Place, walk: FolderWalk) -> Iterator[Video]:
    """Yield the object of a URL or, where there is none, the videos below it as a prefix, or those that match it."""
    if walk.roots and not any(is_below(place, root) for root in walk.roots):
        raise InputError(f"{place.url} is outside what may be read ({os.pathsep.join(map(str, walk.roots))}).")
    try:
        store = store_of(place)
        if place.key and not place.key.endswith("/") and store.facts(place.key) is not None:
            yield Video(place.url, _stem(Path(place.key)))
        else:
            yield from _below(place, store, walk)
    except StorageError as error:
        raise InputError(f"{place.url} {error}.") from error


def _below(place: Place, store: Store, walk: FolderWalk) -> Iterator[Video]:
    steps = place.key.strip("/").split("/")
    fixed = next((number for number, step in enumerate(steps) if glob.has_magic(step)), len(steps))
    pattern, top = steps[fixed:], "/".join(steps[:fixed])
    prefix = f"{top}/" if top else ""
    empty = True
    for found in sorted(store.list(prefix)):
        empty = False
        video, inner = place._replace(key=found.key), PurePosixPath(found.key.removeprefix(prefix))
        if walk.stored is not None and is_below(video, walk.stored.url):
            continue
        if pattern and _matches(inner, pattern):
            yield Video(video.url, _stem(Path(inner)))
        elif not pattern and inner.suffix.lower() in VIDEO_SUFFIXES and not any(p.startswith(".") for p in inner.parts):
            yield Video(video.url, inner.with_suffix(""))
    if empty:
        raise InputError(f"{place.url} does not exist: there is no such object, and none below it. Check the URL.")


def _matches(path: PurePosixPath, pattern: Sequence[str]) -> bool:
    return len(path.parts) == len(pattern) and all(map(fnmatchcase, path.parts, pattern))


def _in_folder(folder: Path, walk: FolderWalk) -> Iterator[Video]:
    try:
        for path in walk.files(folder):
            if _takes(path, walk.roots):
                yield Video(str(path), PurePosixPath(*path.relative_to(folder).with_suffix("").parts))
    except (OSError, SourceError) as error:
        reason = describe_os_error(error) if isinstance(error, OSError) else str(error)
        raise InputError(f"Folder {folder} can't be read: {reason}.") from error


def _takes(path: Path, roots: Sequence[Path]) -> bool:
    """Return whether a file found in a folder counts as a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES or _probe(path, roots)


def _probe(path: Path, roots: Sequence[Path]) -> bool:
    """Return whether a file with an unknown suffix contains moving images."""
    try:
        with OpenedFile(str(path), roots) as file:
            if file.facts.st_size == 0 or points_elsewhere(file):
                return False
            options = {"max_pixels": "1"}  # prevents decoding
            with open_container(file, options, (_LONGEST_PROBE_S, _LONGEST_PROBE_S)) as container:
                passed_over = _PASSED_OVER & set(container.format.name.split(","))
                return not passed_over and best_video(container) is not None
    except (av.error.FFmpegError, SourceError, OSError, ValueError):
        return False


def _distinct(videos: list[Video]) -> list[Video]:
    """Give each video a unique stem: `a.mp4` and `a.avi` keep their suffix, further duplicates get a number. So does
    `a.partial.mp4`, whose results would otherwise have the names of those of an interrupted `a.mp4`."""
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
        placed.append(video._replace(stem=free))
    return placed


def _safe(name: str) -> str:
    """Return a URL's last part as a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name).strip(".") or "stream"
