"""Tracks that a person has corrected, and other files that must not be lost when a result replaces them.

Next to corrected tracks is a copy of the tracks before the first import. The copy marks them as corrected; without it,
they no longer count as such.
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
"""Follows the video's stem in the name of its tracks before the first import."""

_CORRECTED, _KEPT = "corrected", "kept"


def before_import(name: str) -> str:
    """Return the name under which `import` keeps the original of the tracks `name`."""
    return name.removesuffix(TRACKS) + BEFORE


def are_corrected(folder: Folder, name: str) -> bool:
    """Return whether a person has corrected these tracks. Raises OSError."""
    return name.endswith(TRACKS) and folder.facts(name) is not None and folder.facts(before_import(name)) is not None


def kept_as(folder: Folder, name: str) -> str:
    """Return the name under which `make_room` would keep corrected tracks now. Raises OSError."""
    own = folder.facts(name)
    for other in _names(name, _CORRECTED):
        there = folder.facts(other)
        if there is None or (own is not None and os.path.samestat(own, there)):
            return other
    raise AssertionError("names never end")


def make_room(folder: Folder, name: str, *, overwrite: bool = False) -> str | None:
    """Move aside what a result called `name` must not replace: corrected tracks and, if `overwrite` is False, files
    that this program did not write. Return the new name; None if there is no such file.

    It can be repeated at any moment: if the file system supports links, the file also keeps its old name until the
    result replaces it. Raises OSError.
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
