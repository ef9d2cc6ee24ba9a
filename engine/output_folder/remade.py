"""Which tracks of a run are not the run's own any more: what `retrack` notes, for who tells of the tracks as they are.

The manifest stays that of the run. So the note names the manifest beside which the tracks were made: after another run,
which writes another one, it says nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from engine.config import EngineConfig
from engine.errors import ConfigError
from engine.files.folders import Folder
from engine.trackers import registry

log = logging.getLogger(__name__)

NAME = "retrack.json"

_LARGEST = 1 << 26
_LARGEST_MANIFEST = 1 << 28
_MANIFEST = "manifest.json"
_OF_THE_RUN = ("started_at", "config_sha256", "job")
_KEYS = ("conf", "class_groups", "class_agnostic")


@dataclass(frozen=True)
class Remade:
    """How the tracks of one video were made again: the keys of a configuration that say so, and whether the fragments
    of an object were given one id."""

    keys: Mapping[str, object]
    stitched: bool

    @classmethod
    def by(cls, config: EngineConfig, *, stitched: bool) -> Remade:
        """Take from a configuration what tracks are made with."""
        own = registry.parameters_of(config.tracker, config.model_dump(mode="json", include=set(registry.KEYS)))
        return cls({"tracker": config.tracker, **own, **config.model_dump(mode="json", include=set(_KEYS))}, stitched)

    def over(self, config: Mapping[str, object]) -> dict[str, object]:
        """Return the keys of a run's configuration, as these tracks were made."""
        return {**registry.without_parameters(config), **self.keys}

    def in_words(self) -> str:
        """Return tracker, lowest score and what of it is not as it is by default."""
        plain = EngineConfig(tracker=self.keys.get("tracker", registry.DEFAULT)).model_dump(mode="json")
        said = [str(self.keys.get("tracker", registry.DEFAULT))]
        said += [
            f"{key} {value if isinstance(value, str) else json.dumps(value)}"
            for key, value in self.keys.items()
            if key == "conf" or (key != "tracker" and value is not None and value != plain.get(key))
        ]
        return ", ".join([*said, *["fragments joined"] * self.stitched])


def manifest_above(folder: Path) -> str | None:
    """Return the hash of the manifest in a folder, or in the nearest one above; None if there is none."""
    for place in (folder, *folder.absolute().parents):
        if (text := _content(place, _MANIFEST, _LARGEST_MANIFEST)) is not None:
            return hashlib.sha256(text).hexdigest()
    return None


def read_remade(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Remade]:
    """Return how the tracks of a run were made again, by the stems of its videos; without those whose tracks are the
    run's own. `manifest` is that of the run, which need not have been written yet. A note that can't be read, or was
    made beside another manifest, says nothing."""
    stems = [str(entry["stem"]) for entry in manifest["videos"] if "stem" in entry]
    places = {parent for stem in stems for parent in PurePosixPath(stem).parents}
    noting = [place for place in places if (folder / place / NAME).is_file()]  # it may have been told of one below
    text = _content(folder, _MANIFEST, _LARGEST_MANIFEST) if noting else None
    if text is None or not _is(text, manifest):
        return {}
    digest = hashlib.sha256(text).hexdigest()
    found: dict[str, Remade] = {}
    for place in sorted(noting, key=lambda each: len(each.parts)):
        for stem, made in _read(folder / place, digest).items():
            found[str(place / stem)] = made
    return found


def _is(text: bytes, manifest: Mapping[str, Any]) -> bool:
    """Return whether a manifest as it was written is that of this run."""
    try:
        written = json.loads(text)
        return all(written.get(key) == manifest.get(key) for key in _OF_THE_RUN)
    except (ValueError, AttributeError, RecursionError):
        return False


def noted(folder: Path, manifest: str | None) -> list[dict[str, object]]:
    """Return what the note in a folder has of videos, as JSON values, where it is of this manifest."""
    text = _content(folder, NAME, _LARGEST)
    try:
        values = json.loads(text) if text is not None else {}
        if manifest is None or values["manifest_sha256"] != manifest:
            return []
        return [entry for entry in values["videos"] if isinstance(entry["stem"], str)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _read(folder: Path, digest: str) -> dict[str, Remade]:
    found: dict[str, Remade] = {}
    for entry in noted(folder, digest):
        try:
            keys, stitched = entry["made_with"], bool(entry["stitched"])
            if not isinstance(keys, dict) or not keys.keys() <= {"tracker", *registry.KEYS, *_KEYS}:
                raise ValueError("other keys than those of a tracker")
            found[str(entry["stem"])] = Remade.by(EngineConfig(**keys), stitched=stitched)
        except (ConfigError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: an entry of it says nothing: %s", folder / NAME, error)
    return found


def _content(folder: Path, name: str, most: int) -> bytes | None:
    try:
        with Folder.at(folder) as here:
            return here.read(name, most)
    except (OSError, ValueError):
        return None
