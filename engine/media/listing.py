"""Lists the files of a folder that may be videos, and what is left out, with reasons.

Left out and reported: recycle bins and system folders, camera previews, links that lead nowhere, back or out,
unreadable files, and videos annotated by the engine. Hidden files and folders are skipped silently. Opens no media.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from engine.errors import SourceError, describe_os_error
from engine.files.opened import entries
from engine.media.annotated import OutputFolders
from engine.media.suffixes import PREVIEW_SUFFIXES
from engine.storage.urls import Place

# Lower-case names of folders that Windows, macOS, Synology, QNAP and others create on shares.
_BINS = frozenset("#recycle @recycle $recycle.bin recycler recycled .recycle .trashes".split())
_SYSTEM = frozenset(
    "@eadir @tmp @recently-snapshot #snapshot .snapshot .snapshots .@__thumb lost+found .spotlight-v100 .fseventsd"
    " .temporaryitems __macosx".split()
) | {"system volume information", "network trash folder"}
_MAX_NAMED = 3


class LeftOut(NamedTuple):
    """A file or folder that was left out, and why."""

    path: str
    why: str


class FolderWalk:
    """Walks folders, each only once, however many links lead to it.

    `output` and `stored`, its place in storage, are not entered. With `roots`, only paths below one of them are opened,
    links resolved. `left_out` grows during the walk.
    """

    def __init__(self, output: Path, roots: Sequence[Path] = (), stored: Place | None = None) -> None:
        self.roots = roots
        self.stored = stored
        self.left_out: list[LeftOut] = []
        self._output = os.path.realpath(output)
        self._roots = [os.path.realpath(folder) for folder in roots]
        self._seen: set[tuple[int, int]] = set()
        self._outputs = OutputFolders(roots)

    def files(self, folder: Path) -> Iterator[Path]:
        """Yield the files of a folder and its subfolders by name; targets of links come last. Raises OSError if the
        folder itself can't be read."""
        self._seen.add(_identity(os.stat(folder)))
        links: list[Path] = []
        yield from self._in(folder, links, first=True)
        while links:
            link = links.pop(0)
            if (why := self._refused(link, os.path.realpath(folder))) is not None:
                self._leave(link, why)
            else:
                yield from self._in(link, links)

    def takes(self, path: Path, asked: str = "") -> bool:
        """Return whether a file that was found (not named explicitly) may be a video; otherwise note the reason.
        `asked`: the suffix of a glob."""
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            linked = path.is_symlink()
            self._leave(path, "a link that leads nowhere" if linked else f"can't be read: {describe_os_error(error)}")
            return False
        if not stat.S_ISREG(mode):
            return False
        if path.suffix.lower() in PREVIEW_SUFFIXES and path.suffix != asked:
            self._leave(path, "a camera's preview or thumbnail of another file")
            return False
        if self._outputs.has_made(path):
            self._leave(path, "an annotated video of an earlier run")
            return False
        return True

    def _in(self, folder: Path, links: list[Path], *, first: bool = False) -> Iterator[Path]:
        waiting = [folder]
        while waiting:
            here = waiting.pop()
            try:
                found = entries(here, self.roots)
            except (OSError, SourceError) as error:
                if first and here == folder:
                    raise
                reason = describe_os_error(error) if isinstance(error, OSError) else str(error)
                self._leave(here, f"can't be read: {reason}")
                continue
            folders: list[Path] = []
            for entry in found:
                path = here / entry.name
                if entry.is_folder and (why := _is_no_place_for_videos(entry.name)) is not None:
                    self._leave(path, why)
                elif entry.name.startswith("."):
                    continue
                elif entry.is_folder:
                    (links if entry.is_link else folders).append(path)
                elif self.takes(path):
                    yield path
            for path in reversed(folders):
                if os.path.realpath(path) != self._output and self._is_new(path):
                    waiting.append(path)

    def _is_new(self, folder: Path) -> bool:
        try:
            identity = _identity(os.stat(folder))
        except OSError:
            return True  # opening it will report why
        if identity in self._seen:
            return False
        self._seen.add(identity)
        return True

    def _refused(self, link: Path, root: str) -> str | None:
        """Return why a link to a folder is not followed; None if it is."""
        real = os.path.realpath(link)
        if real == self._output:
            return "a link to the output folder"
        if _is_below(root, real):
            return "a link that leads back to its own folder"
        if self._roots and not any(_is_below(real, folder) for folder in self._roots):
            return "a link that leads out of the allowed folders"
        return None if self._is_new(link) else "a link to a folder that is already searched"

    def _leave(self, path: Path, why: str) -> None:
        self.left_out.append(LeftOut(str(path), why))


def told(left_out: Iterable[LeftOut]) -> list[str]:
    """Return one line per reason, with the first names and the number of others."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for each in left_out:
        by_reason[each.why].append(each.path)
    lines = []
    for why, paths in by_reason.items():
        more = f" and {len(paths) - _MAX_NAMED:,} more" if len(paths) > _MAX_NAMED else ""
        lines.append(f"Left out ({why}): {', '.join(paths[:_MAX_NAMED])}{more}")
    return lines


def _is_no_place_for_videos(name: str) -> str | None:
    lower = name.lower()
    if lower in _BINS or lower.startswith(".trash"):
        return "a recycle bin"
    return "a system folder" if lower in _SYSTEM else None


def _is_below(path: str, folder: str) -> bool:
    """Return whether a real path is in a folder, or is the folder itself."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
