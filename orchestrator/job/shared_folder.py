"""Tests the guarantees that jobs need from where their directory lies: shares, FUSE mounts and servers differ.

A single process tests them, so it only finds what is missing altogether. For delays between machines, see
docs/operations.md, "Shared file systems".
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
from engine.storage.urls import Place
from orchestrator.errors import PathRefused, reason_of
from orchestrator.job.atomic_json import append_line, read_json, write_json, write_once
from orchestrator.job.files import AnyPath
from orchestrator.job.stored_file import StoredFile
from orchestrator.job.stored_path import StoredPath

_OFF_S = 5.0
_MOUNTS = Path("/proc/self/mountinfo")
good_devices: set[int] = set()
"""The devices of output folders that this process has tested successfully."""
_good_buckets: set[Place] = set()


class _Lacks(Exception):
    """Says what the file system did instead."""


@dataclass(frozen=True)
class Lacking:
    """A missing guarantee: its name, what the file system did, and the remedy."""

    what: str
    found: str
    remedy: str


@dataclass(frozen=True)
class Findings:
    """The kind of a folder's file system, the missing guarantees that jobs need, and whether it has hard links, which
    are optional."""

    kind: str
    lacks: tuple[Lacking, ...]
    hard_links: bool = True


def check(output: AnyPath) -> None:
    """Test the file system of an output folder, creating the folder if missing, or the server of a prefix; once per
    process. Raises PathRefused with the remedy if a guarantee is missing, OSError if nothing can be written."""
    if isinstance(output, StoredPath):
        _check_server(output)
        return
    output.mkdir(parents=True, exist_ok=True)
    device = os.stat(output).st_dev
    if device in good_devices:
        return
    found = tried(output)
    if found.lacks:
        raise PathRefused(f"Output folder {told(output, found)} Or name another one with --output DIR.")
    good_devices.add(device)


def _check_server(home: StoredPath) -> None:
    bucket = home.place._replace(key="")
    if bucket in _good_buckets:
        return
    probe = StoredFile(home / f".yolo-probe-{secrets.token_hex(8)}")
    try:
        if not probe.create(b"1") or probe.create(b"2"):
            raise PathRefused(
                f"{home} is on a server that ignores conditions (If-None-Match) of writes: two workers would take the "
                "same video. Name a folder that all workers share as a root, and leave out jobs_dir."
            )
    finally:
        probe.remove()
    _good_buckets.add(bucket)


def told(folder: Path, found: Findings) -> str:
    """Describe what a folder's file system lacks, and the first remedy."""
    first = found.lacks[0]
    more = "".join(f" It lacks {each.what}, too." for each in found.lacks[1:])
    return f"{folder} is on a file system ({found.kind}) that lacks {first.what}: {first.found}.{more} {first.remedy}"


def tried(folder: Path) -> Findings:
    """Test all guarantees in a folder, which is left as it was. Raises OSError if nothing can be created there."""
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
    """Return the kind of a folder's file system, such as `ext4`, `nfs4` or `fuse.rclone`; `unknown` if unknown."""
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
        raise _Lacks("two processes can create the same file")
    if read_json(path) != 1:
        raise _Lacks("the content first written is not what is read")


def _replaced(place: Path) -> None:
    path = place / "replaced.json"
    write_json(path, 1)
    write_json(path, 2)
    if read_json(path) != 2:
        raise _Lacks("the old content is still read after a replacement")


def _folders(place: Path) -> None:
    one, other = place / "1", place / "2"
    for folder in (one, other):
        folder.mkdir()
        (folder / "ticket").write_text(folder.name)
    with contextlib.suppress(OSError):
        os.rename(one, other)
        raise _Lacks("a folder replaces one that is not empty")
    os.rename(one, place / "3")
    if one.exists() or (place / "3" / "ticket").read_text() != one.name:
        raise _Lacks("a renamed folder does not have its new name")


def _appended(place: Path) -> None:
    path = place / "lines"
    append_line(path, 1)
    append_line(path, 2)
    if path.read_bytes() != b"1\n2\n":
        raise _Lacks("an appended line is not at the end")


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


_WRITES = "With rclone, mount with --vfs-cache-mode writes."
_QUESTIONS: tuple[tuple[str, str, Callable[[Path], None]], ...] = (
    (
        "exclusive creation (O_EXCL)",
        "Without it two workers take the same video. Use NFS 3 or later, or SMB.",
        _exclusive,
    ),
    (
        "creation of a file by only one process",
        "Without them two workers take the same video. Use NFS 3 or later, or SMB.",
        _once,
    ),
    ("renaming over a file", _WRITES, _replaced),
    (
        "renaming folders, refused if the name is taken",
        "Use a file system with folders, not an object store.",
        _folders,
    ),
    ("appending to a file", _WRITES, _appended),
    ("times of files that can be set to now (utime)", f"Leases are renewed with it. {_WRITES}", _times),
)
