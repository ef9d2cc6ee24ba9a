"""What a file system must be able to do for jobs, tried where they will write: shares and FUSE mounts differ.

Tried by one process, so it finds what is missing altogether. What several machines see late is in docs/operations.md,
"Shared file systems".
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.files.folders import NO_LINKS
from orchestrator.errors import PathRefused, reason_of
from orchestrator.job.atomic_json import append_line, read_json, write_json, write_once

_OFF_S = 5.0
_MOUNTS = Path("/proc/self/mountinfo")
good_devices: set[int] = set()
"""The devices of output folders that this process has tried and that lack nothing."""


class _Lacks(Exception):
    """What the file system did instead of what was requested."""


@dataclass(frozen=True)
class Lacking:
    """A guarantee that a file system does not give: which, what it did, and what helps."""

    what: str
    found: str
    remedy: str


@dataclass(frozen=True)
class Findings:
    """What the file system of a folder is, what it lacks that jobs can't do without, and whether it has hard links,
    which they can."""

    kind: str
    lacks: tuple[Lacking, ...]
    hard_links: bool = True


def check(output: Path) -> None:
    """Try the file system of an output folder, which is made where it is missing; once in this process. Raises
    PathRefused where it lacks something that jobs need, with the remedy; OSError if nothing can be written."""
    output.mkdir(parents=True, exist_ok=True)
    device = os.stat(output).st_dev
    if device in good_devices:
        return
    found = tried(output)
    if found.lacks:
        raise PathRefused(f"Output folder {told(output, found)} Or name another one with --output DIR.")
    good_devices.add(device)


def told(folder: Path, found: Findings) -> str:
    """Say what a folder's file system lacks, and the first remedy."""
    first = found.lacks[0]
    more = "".join(f" It lacks {each.what}, too." for each in found.lacks[1:])
    return f"{folder} is on a file system ({found.kind}) that lacks {first.what}: {first.found}.{more} {first.remedy}"


def tried(folder: Path) -> Findings:
    """Try all that is needed in a folder, which is left as it was. Raises OSError if nothing can be made there."""
    place = folder / f".yolo-probe-{secrets.token_hex(8)}"
    place.mkdir()
    try:
        lacks = tuple(
            Lacking(what, found, remedy)
            for what, remedy, question in _QUESTIONS
            if (found := _answer(question, place)) is not None
        )
        return Findings(kind_of(folder), lacks, _links(place))
    finally:
        shutil.rmtree(place, ignore_errors=True)


def kind_of(folder: Path) -> str:
    """Return the kind of file system that a folder is on (`ext4`, `nfs4`, `fuse.rclone`), `unknown` where the system
    does not tell."""
    try:
        device = os.stat(folder).st_dev
        rows = [row.partition(" - ") for row in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return "unknown"
    number = f"{os.major(device)}:{os.minor(device)}"
    return next((end.split()[0] for begin, _, end in rows if begin.split()[2] == number), "unknown")


def _answer(question: Callable[[Path], None], place: Path) -> str | None:
    try:
        question(place)
    except _Lacks as lacks:
        return str(lacks)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        return reason_of(error)
    return None


def _exclusive(place: Path) -> None:
    path = place / "exclusive"
    path.touch(exist_ok=False)
    with contextlib.suppress(FileExistsError):
        path.touch(exist_ok=False)
        raise _Lacks("a file was created twice")


def _once(place: Path) -> None:
    path = place / "once.json"
    if not write_once(path, 1) or write_once(path, 2):
        raise _Lacks("of two that make one file, not one alone succeeds")
    if read_json(path) != 1:
        raise _Lacks("what was written first is not what is read")


def _replaced(place: Path) -> None:
    path = place / "replaced.json"
    write_json(path, 1)
    write_json(path, 2)
    if read_json(path) != 2:
        raise _Lacks("the old content is read after it was replaced")


def _folders(place: Path) -> None:
    one, other = place / "1", place / "2"
    for folder in (one, other):
        folder.mkdir()
        (folder / "ticket").write_text(folder.name)
    with contextlib.suppress(OSError):
        os.rename(one, other)
        raise _Lacks("a folder takes the place of one that is not empty")
    os.rename(one, place / "3")
    if one.exists() or (place / "3" / "ticket").read_text() != one.name:
        raise _Lacks("a renamed folder is not under its new name")


def _appended(place: Path) -> None:
    path = place / "lines"
    append_line(path, 1)
    append_line(path, 2)
    if path.read_bytes() != b"1\n2\n":
        raise _Lacks("a line that was appended is not at the end")


def _times(place: Path) -> None:
    path, new = place / "touched", place / "new"
    path.touch(exist_ok=False)
    os.utime(path, (10**9, 10**9))
    os.utime(path)
    new.touch(exist_ok=False)
    off_s = abs(path.stat().st_mtime - new.stat().st_mtime)
    if off_s > _OFF_S:
        raise _Lacks(f"the time of a touched file is {off_s:.0f} s away from that of a new one")


def _links(place: Path) -> bool:
    (place / "file").touch(exist_ok=False)
    try:
        os.link(place / "file", place / "second name")
    except OSError as error:
        if error.errno in NO_LINKS:
            return False
        raise
    return True


_WRITES = "Of rclone, mount with --vfs-cache-mode writes."
_QUESTIONS: tuple[tuple[str, str, Callable[[Path], None]], ...] = (
    (
        "exclusive creation (O_EXCL)",
        "Without it two workers take the same video. Use NFS 3 or later, or SMB.",
        _exclusive,
    ),
    (
        "files that only one can make",
        "Without them two workers take the same video. Use NFS 3 or later, or SMB.",
        _once,
    ),
    ("renaming over a file", _WRITES, _replaced),
    (
        "renaming of folders, refused where the name is taken",
        "Use a file system with folders, not one of objects.",
        _folders,
    ),
    ("appending to a file", _WRITES, _appended),
    ("times of files that can be set to now (utime)", f"Leases are renewed so. {_WRITES}", _times),
)
