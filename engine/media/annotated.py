"""Recognises annotated videos, which a later run must not take for sources.

The manifest of an output folder lists them. Those that no manifest lists (any more) are recognised by the note in the
file itself. Decodes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from engine.choices.formats import FORMATS
from engine.errors import SourceError
from engine.files.folders import Folder
from engine.files.opened import OpenedFile

NOTE = "annotated by yolo-engine"

_ROWS = tuple(each.suffix for each in FORMATS.values())
_HALF_MADE = ".mp4.new"
_LARGEST_HEAD = 1 << 28
_LARGEST_MANIFEST = 1 << 28
_TAIL = 4096  # the note is at the end of the header


class OutputFolders:
    """Reads each folder of the queried files, and each manifest above, only once."""

    def __init__(self, roots: Sequence[Path] = ()) -> None:
        self._roots = roots
        self._listed_by: dict[str, frozenset[str]] = {}
        self._around: dict[Path, _Around] = {}

    def has_made(self, path: Path) -> bool:
        """Return whether a file is an annotated video of a run, complete or partial."""
        name = path.name.lower()
        if name.endswith(_HALF_MADE):
            return _bears_note(path, self._roots)
        if not name.endswith(".mp4"):
            return False
        around = self._around.get(path.parent)
        if around is None:
            around = self._around[path.parent] = self._look_around(path.parent)
        if path.name in around.listed:
            return True
        beside = path.name[: -len(".mp4")]
        return any(f"{beside}{rows}" in around.names for rows in _ROWS) and _bears_note(path, self._roots)

    def lists(self, path: Path) -> bool:
        """Return whether a manifest in the file's folder or above lists the file among the outputs of a run."""
        return path.name in self._named(os.path.realpath(path.parent))

    def _named(self, real: str) -> frozenset[str]:
        """Return the names of a folder's files that a manifest in it or above lists."""
        named: set[str] = set()
        for above in _up(real):
            if above not in self._listed_by:
                self._listed_by[above] = frozenset(_listed(Path(above)))
            named |= {os.path.basename(path) for path in self._listed_by[above] if os.path.dirname(path) == real}
        return frozenset(named)

    def _look_around(self, folder: Path) -> _Around:
        real = os.path.realpath(folder)
        listed = self._named(real)
        try:
            return _Around(listed, frozenset(os.listdir(real)))
        except OSError:
            return _Around(listed, frozenset())


class _Around(NamedTuple):
    """`listed`: the files of a folder that a manifest lists. `names`: all files there."""

    listed: frozenset[str]
    names: frozenset[str]


def _up(folder: str) -> Iterator[str]:
    yield folder
    while (above := os.path.dirname(folder)) != folder:
        folder = above
        yield folder


def _listed(folder: Path) -> Iterator[str]:
    """Yield the outputs in all manifests of an output folder: the last run's and each job's."""
    for manifest in (folder / "manifest.json", *sorted(folder.glob(".yolo-jobs/*/manifest.json"))):
        try:
            with Folder.at(manifest.parent) as here:
                values = json.loads(here.read(manifest.name, _LARGEST_MANIFEST))
            named = PurePath(values["config"]["output_folder"])
            made = [video["outputs"] for video in values["videos"]]
            made += [segment["outputs"] for video in values["videos"] for segment in video.get("segments", ())]
            paths = [PurePath(output) for outputs in made for output in outputs.values()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # not a manifest of ours
        for path in paths:
            yield str(folder / _within(path, named, folder))


def _within(path: PurePath, named: PurePath, folder: Path) -> PurePath:
    """Return an output's path below its folder, which may have been moved or named differently since."""
    if path.is_relative_to(named):
        return path.relative_to(named)
    parts = path.parts
    places = (PurePath(*parts[start:]) for start in range(1 if path.is_absolute() else 0, len(parts)))
    return next((place for place in places if os.path.exists(folder / place)), PurePath(path.name))


def _bears_note(path: Path, roots: Sequence[Path]) -> bool:
    """Return whether an MP4's header has the engine's note."""
    try:
        with OpenedFile(str(path), roots) as file:
            return bears_note(file.reader())
    except (OSError, SourceError):
        return False


def bears_note(file: Any) -> bool:
    """Return whether the header of an MP4, open for reading, has the engine's note."""
    return NOTE.encode() in _head(file)[-_TAIL:]


def _head(file: Any) -> bytes:
    """Return the last bytes of an MP4's `moov` box; empty if there is none."""
    while len(header := file.read(8)) == 8:
        size, kind = int.from_bytes(header[:4], "big"), header[4:]
        if size == 1:
            size = int.from_bytes(file.read(8), "big") - 8
        if size < 8:
            return b""
        if kind == b"moov":
            file.seek(max(0, min(size, _LARGEST_HEAD) - 8 - _TAIL), os.SEEK_CUR)
            return bytes(file.read(_TAIL))
        file.seek(size - 8, os.SEEK_CUR)
    return b""
