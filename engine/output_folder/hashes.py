"""Sizes and hashes of a run's files other than its videos' outputs, and the seal of its manifest.

Nothing heavy is imported here, because workers of a job seal manifests too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from engine.errors import OutputError, describe_os_error
from engine.summary import FileJson

M = TypeVar("M", bound=Mapping[str, Any])

SEAL = "manifest_sha256"
_CHUNK_BYTES = 1 << 20
_PAGES = "report"  # the folder of a report's camera pages
_LISTS = ("clips.csv", "empty.txt")  # beside clips


def identity(path: Path, tick: Callable[[], None] = lambda: None) -> FileJson:
    """Return the size and SHA-256 of a file. `tick` is called while it is read. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            tick()
        return {"size_bytes": file.tell(), "sha256": digest.hexdigest()}


def made_of(folder: Path, summary: Mapping[str, Any], tick: Callable[[], None] = lambda: None) -> dict[str, FileJson]:
    """Return the files that a summary names besides its videos' outputs (tables, clips, exports, the report), by path
    below the output `folder`. Raises OutputError."""
    found: dict[str, FileJson] = {}
    for path in sorted(set(_named(folder, summary))):
        try:
            found[os.path.relpath(path, folder)] = identity(path, tick)
        except OSError as error:
            raise OutputError(f"{path} can't be read: {describe_os_error(error)}.") from error
    return found


def _named(folder: Path, summary: Mapping[str, Any]) -> Iterator[Path]:
    yield from map(Path, summary.get("answers", {}).get("tables", {}).values())
    if (clips := summary.get("clips", {})).get("folder") is not None:
        yield from (Path(clip["clip"]) for clip in clips["clips"])
        yield from (path for name in _LISTS if (path := Path(clips["folder"], name)).is_file())
    for export in summary.get("exports", {}).get("exports", ()):
        yield from _below(Path(export["folder"]))
    if (report := summary.get("report")) is not None:
        yield Path(report)
        yield from _below(folder / _PAGES)


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder; links (to images of the source) are not followed."""
    for place, _, names in os.walk(folder):
        yield from (path for name in names if not (path := Path(place, name)).is_symlink())


def sealed(manifest: M) -> M:
    """Return a manifest with its seal added."""
    return cast("M", {**manifest, SEAL: seal_of(manifest)})


def seal_of(manifest: Mapping[str, Any]) -> str:
    """Compute the seal of a manifest: SHA-256 of all its other keys as JSON with sorted keys."""
    others = {key: value for key, value in manifest.items() if key != SEAL}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()
