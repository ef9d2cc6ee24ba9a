"""What a folder holds that may be a video, and what is left out of it, with the reason.

Left out, and told: recycle bins and folders of the system, a camera's previews, links that lead nowhere, back or out,
what can't be read, and videos that the engine itself has annotated. Hidden files and folders are passed over without a
word. Opens no media.
"""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import SourceError, describe_os_error
from engine.files.opened import entries
from engine.media.annotated import OutputFolders
from engine.media.suffixes import PREVIEW_SUFFIXES
from engine.storage.urls import Place

# Names, in lower case, of what Windows, macOS, Synology, QNAP and others keep in a share.
_BINS = frozenset("#recycle @recycle $recycle.bin recycler recycled .recycle .trashes".split())
_SYSTEM = frozenset(
    "@eadir @tmp @recently-snapshot #snapshot .snapshot .snapshots .@__thumb lost+found .spotlight-v100 .fseventsd"
    " .temporaryitems __macosx".split()
) | {"system volume information", "network trash folder"}
_MAX_NAMED = 3


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that was left out, and why."""

    path: str
    why: str


class FolderWalk:
    """Walks folders, each once in all, however many links lead to it.

    Neither `output` is entered nor `stored`, its place in storage. With `roots`, only what is below one of them is
    opened, links resolved. `left_out` grows as the walk continues.
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
        """Return the files of a folder and those below, by name; what links lead to comes last. Raises OSError if
        the folder itself can't be read."""
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
        """Return whether a file that was found, not named, may be a video. Says why not. `asked`: the suffix of a
        glob."""
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
            return True  # opening it tells why
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
    """Return one line for each reason, with how many and the first names."""
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
    """Return whether a real path is in a folder, or is it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
