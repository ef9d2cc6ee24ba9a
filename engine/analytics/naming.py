"""Names of videos in tables, and the camera of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

_NO_FOLDER = "."


def name_of(entry: Mapping[str, Any]) -> str:
    """Return a video's name in all tables, from its entry in a summary: its path below the input folder, as far as it
    can be derived from its outputs."""
    stem, path = str(entry["stem"]), str(entry["path"])
    suffix = "" if "://" in path else PurePosixPath(path).suffix
    return stem if stem.endswith(suffix) else stem + suffix


def camera_of(video: str, camera: str | None) -> str:
    """Return the name of a video's camera. `camera` is None: each video is a camera of its own; "folder": the video's
    folder; otherwise a regular expression that finds the name in the path, in its first group if it has one. A video
    that it does not match is a camera of its own."""
    path = PurePosixPath(video)
    own = path.with_suffix("").as_posix() if path.suffix else video
    if camera is None:
        return own
    if camera == "folder":
        return path.parent.as_posix()
    found = re.search(camera, video)
    if found is None:
        return own
    return next((part for part in found.groups() if part), found[0]) or own


def cameras_of(videos: Sequence[tuple[str, str]], camera: str | None) -> list[str]:
    """Return what the cameras of videos, given as (name, path), are called: as by `camera_of`, except that videos which
    lie directly in one input folder are called after it, unless another camera has its name."""
    names = [camera_of(video, camera) for video, _ in videos]
    if camera != "folder":
        return names
    folders = {_folder_of(path) for name, (_, path) in zip(names, videos, strict=True) if name == _NO_FOLDER}
    own = folders.pop() if len(folders) == 1 else ""
    return [own if own and own not in names and name == _NO_FOLDER else name for name in names]


def _folder_of(path: str) -> str:
    """Return the name of the folder in which a file lies; "" if the path does not tell."""
    _, url, rest = path.rpartition("://")
    name = PurePosixPath(rest).parent.name
    return name.rpartition("@")[2] if url else name  # without a user and a password


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a key for natural sorting: `a2` before `a10`."""
    parts = re.split(r"(\d+)", name.casefold())
    numbered = ((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part)
    return (*numbered, (0, 0, name))


def glob_of(pattern: str) -> re.Pattern[str]:
    """Translate a glob for a whole path: `**` crosses folders, `*` and `?` do not."""
    parts = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(parts.get(piece, re.escape(piece)) for piece in pieces), re.DOTALL)
