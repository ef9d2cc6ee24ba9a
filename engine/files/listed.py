"""Folders in which a command leaves files and a list of them: done again, it takes away what it does not make again.

Whose a file is, the list says, and for a run that was killed a journal beside it. Anything else is somebody's own: it
is neither removed nor replaced.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from engine.errors import OutputError
from engine.files.folders import Folder

_JOURNAL = ".listed.part"
_LARGEST_JOURNAL = 1 << 26
_LONGEST_NAME = 255


class ListedFiles:
    """The files of such a folder. Names are paths below it; all but those with one of `suffixes` are somebody's own.

    One process at a time may use it: hold the folder's lock meanwhile.
    """

    def __init__(self, folder: Folder, listed: Iterable[str], suffixes: Collection[str]) -> None:
        """Take the names in the list of an earlier run. Raises OSError."""
        self._folder = folder
        self._suffixes = suffixes
        self._own = {name for text in [*listed, *self._journal()] if (name := self._fit(text)) is not None}
        self._made: set[PurePosixPath] = set()

    def sweep(self, place: PurePosixPath, parts: re.Pattern[str]) -> None:
        """Remove what a run that was killed has left in a folder below this one: the files whose names match. Raises
        OSError."""
        with self._below(place) as folder:
            if folder is not None:
                for name in filter(parts.fullmatch, folder.names()):
                    folder.remove(name)

    def is_free(self, name: PurePosixPath) -> bool:
        """Return whether a file may get this name: nothing has it, or one of an earlier run. Raises OSError."""
        if name in self._own or name in self._made:
            return name not in self._made
        with self._below(name.parent) as folder:
            return folder is None or folder.facts(name.name) is None

    def put(self, part: str, place: Folder, name: PurePosixPath) -> None:
        """Let a finished file of `place` appear under its name, which is free. Raises OSError."""
        with self._folder.open(_JOURNAL, append=True) as journal:  # before it appears: a killed run leaves no stranger
            journal.write(json.dumps(str(name)).encode() + b"\n")
        place.rename(part, name.name)
        place.sync()
        self._made.add(name)

    def end(self, kept: Iterable[PurePosixPath] = ()) -> None:
        """Remove the files of earlier runs that were not made again, except for those to be `kept`. Raises OSError."""
        for name in sorted(self._own - self._made - set(kept)):
            with self._below(name.parent) as folder:
                if folder is not None:
                    with contextlib.suppress(IsADirectoryError):
                        folder.remove(name.name)
        self._folder.remove(_JOURNAL)

    def _below(self, place: PurePosixPath) -> contextlib.AbstractContextManager[Folder | None]:
        try:
            return self._folder.below(place)
        except (FileNotFoundError, NotADirectoryError, OutputError):  # nothing of ours is behind a link
            return contextlib.nullcontext()

    def _journal(self) -> list[str]:
        try:
            lines = self._folder.read(_JOURNAL, _LARGEST_JOURNAL).splitlines()
        except (FileNotFoundError, ValueError):
            return []
        names = []
        for line in lines:
            with contextlib.suppress(ValueError, RecursionError):  # the last one may have been cut short
                names.append(json.loads(line))
        return names

    def _fit(self, text: object) -> PurePosixPath | None:
        """Return a name as one of ours; None if it is none."""
        if not isinstance(text, str) or "\0" in text:
            return None
        name = PurePosixPath(text)
        try:
            longest = max((len(os.fsencode(part)) for part in name.parts), default=0)
        except UnicodeEncodeError:  # half a character, which no file name holds
            return None
        inside = not name.is_absolute() and ".." not in name.parts and longest <= _LONGEST_NAME
        return name if inside and name.suffix in self._suffixes and not name.name.startswith(".") else None
