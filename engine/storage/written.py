"""Which objects below a prefix were written by runs and jobs, and may be replaced by the next ones."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import OutputError
from engine.storage.lock import STATE, table_of
from engine.storage.urls import Place

if TYPE_CHECKING:
    from engine.storage.stores import Store

MANIFEST = "manifest.json"
VERDICT = "verdict.json"
NAMES = f"{STATE}/names"  # objects of this beginning list files that were about to be sent


class Foreign(OutputError):
    """An object that no run has written has the name of an output."""


def foreign(there: Place) -> Foreign:
    """Return the error that names the object, and what helps."""
    return Foreign(
        f"{there.url} was not written by yolo-engine, and would be overwritten. Move it, name another prefix, or pass "
        "--overwrite."
    )


def below(store: Store, place: Place) -> dict[str, int]:
    """Return the sizes of all objects below a prefix, by their names there. Raises StorageError."""
    prefix = f"{place.key.rstrip('/')}/" if place.key else ""
    return {each.key.removeprefix(prefix): each.size for each in store.list(prefix)}


def written(store: Store, place: Place, there: Iterable[str]) -> set[str]:
    """Return the names, of those that are `there` or not, that runs and jobs have written. Raises StorageError."""
    found = set[str]()
    for name in there:
        if name == MANIFEST:
            found |= named_in(table_of(store.get(place.below(name).key)))
        elif name.startswith(NAMES):
            found |= listed(store, place, name)
        elif name.startswith(f"{STATE}/") and name.endswith(f"/{VERDICT}"):
            found |= sizes_in(store.get(place.below(name).key)).keys()
    return found


def listed(store: Store, place: Place, name: str) -> set[str]:
    """Return the names in a list of files that were about to be sent. Raises StorageError."""
    try:
        values = json.loads(store.get(place.below(name).key) or b"[]")
    except ValueError:
        return set()
    return set(map(str, values)) if isinstance(values, list) else set()


def sizes_in(verdict: bytes | None) -> dict[str, int]:
    """Return the sizes of the files that a finished video has made, by name; what is damaged has none."""
    made = table_of(str(table_of(verdict).get("values", "")).encode()).get("made")  # in its checksum: resume/journal.py
    return {str(each["path"]): int(each["size"]) for each in made.values()} if isinstance(made, dict) else {}


def named_in(manifest: Mapping[str, Any]) -> set[str]:
    """Return the files that a manifest names, by their path below its folder; of a damaged one, those that can be
    read."""
    names = {MANIFEST}
    with contextlib.suppress(AttributeError, TypeError):
        names |= set(map(str, manifest.get("files", {})))
        for video in manifest.get("videos", ()):
            folder = Path(str(video.get("stem", ""))).parent
            names |= {(folder / os.path.basename(str(path))).as_posix() for path in video.get("outputs", {}).values()}
    return names
