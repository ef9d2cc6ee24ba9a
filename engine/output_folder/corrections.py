"""Tracks that a person has corrected, and whatever else must not be lost where a result takes its place.

Beside corrected tracks lies what they were before the first import. That is how they are known; with it they cease to
be corrected.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count

from engine.choices.formats import FORMATS
from engine.files.folders import Folder
from engine.output_folder.own_files import is_own_in

TRACKS = FORMATS["tracks"].suffix
BEFORE = f".before-import{TRACKS}"
"""What follows the stem of a video in the name of its tracks as they were before the first import."""

_CORRECTED, _KEPT = "corrected", "kept"


def before_import(name: str) -> str:
    """Return the name under which `import` keeps the tracks `name` as they were."""
    return name.removesuffix(TRACKS) + BEFORE


def are_corrected(folder: Folder, name: str) -> bool:
    """Return whether a person has corrected these tracks. Raises OSError."""
    return name.endswith(TRACKS) and folder.facts(name) is not None and folder.facts(before_import(name)) is not None


def kept_as(folder: Folder, name: str) -> str:
    """Return the name under which `make_room` will keep corrected tracks, as things are now. Raises OSError."""
    own = folder.facts(name)
    for other in _names(name, _CORRECTED):
        there = folder.facts(other)
        if there is None or (own is not None and os.path.samestat(own, there)):
            return other
    raise AssertionError("names never end")


def make_room(folder: Folder, name: str, *, overwrite: bool = False) -> str | None:
    """Keep beside it what a result called `name` would replace and must not: corrected tracks, and with `overwrite`
    False also what this program has not written. Return its new name, None if there is no such file.

    It can be done again at any moment: until the result is there, the file keeps its name as well, where the file
    system can give it two. Raises OSError.
    """
    if are_corrected(folder, name):
        kept = _keep(folder, name, _CORRECTED)
        folder.remove(before_import(name))
        return kept
    if not overwrite and not is_own_in(folder, name):
        return _keep(folder, name, _KEPT)
    return None


def _keep(folder: Folder, name: str, word: str) -> str:
    for other in _names(name, word):
        try:
            folder.link_to_new(name, other)
        except FileExistsError:
            continue
        folder.sync()
        return other
    raise AssertionError("names never end")


def _names(name: str, word: str) -> Iterator[str]:
    """a.tracks.jsonl -> a.corrected.tracks.jsonl, a.corrected-2.tracks.jsonl, ..."""
    suffixes = (*(form.suffix for form in FORMATS.values()), os.path.splitext(name)[1])
    suffix = next((each for each in suffixes if name.endswith(each)), "")
    stem = name.removesuffix(suffix)
    yield f"{stem}.{word}{suffix}"
    yield from (f"{stem}.{word}-{number}{suffix}" for number in count(2))
