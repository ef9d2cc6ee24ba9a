"""Notes by `retrack`: which tracks of a run are no longer the run's own.

The manifest stays that of the run, so a note names the manifest beside which the tracks were made. After another run,
with another manifest, the note is void.
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
    """How the tracks of one video were made again: the configuration keys for tracking, and whether fragments of an
    object were given one id."""

    keys: Mapping[str, object]
    stitched: bool

    @classmethod
    def by(cls, config: EngineConfig, *, stitched: bool) -> Remade:
        """Extract the keys for tracking from a configuration."""
        own = registry.parameters_of(config.tracker, config.model_dump(mode="json", include=set(registry.KEYS)))
        return cls({"tracker": config.tracker, **own, **config.model_dump(mode="json", include=set(_KEYS))}, stitched)

    def over(self, config: Mapping[str, object]) -> dict[str, object]:
        """Return a run's configuration with the keys for these tracks replaced."""
        return {**registry.without_parameters(config), **self.keys}

    def in_words(self) -> str:
        """Describe the tracker, the lowest score, and settings that differ from the default."""
        plain = EngineConfig(tracker=self.keys.get("tracker", registry.DEFAULT)).model_dump(mode="json")
        said = [str(self.keys.get("tracker", registry.DEFAULT))]
        said += [
            f"{key} {value if isinstance(value, str) else json.dumps(value)}"
            for key, value in self.keys.items()
            if key == "conf" or (key != "tracker" and value is not None and value != plain.get(key))
        ]
        return ", ".join([*said, *["fragments joined"] * self.stitched])


def manifest_above(folder: Path) -> str | None:
    """Return the hash of the manifest in a folder or its nearest ancestor; None if there is none."""
    for place in (folder, *folder.absolute().parents):
        if (text := _content(place, _MANIFEST, _LARGEST_MANIFEST)) is not None:
            return hashlib.sha256(text).hexdigest()
    return None


def read_remade(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Remade]:
    """Return, by video stem, how tracks of a run were made again; videos with the run's own tracks are left out.
    `manifest` is the run's, possibly not written yet. A note that can't be read, or belongs to another manifest, is
    ignored."""
    stems = [str(entry["stem"]) for entry in manifest["videos"] if "stem" in entry]
    places = {parent for stem in stems for parent in PurePosixPath(stem).parents}
    noting = [place for place in places if (folder / place / NAME).is_file()]  # maybe in a folder below
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
    """Return whether a manifest's text is that of this run."""
    try:
        written = json.loads(text)
        return all(written.get(key) == manifest.get(key) for key in _OF_THE_RUN)
    except (ValueError, AttributeError, RecursionError):
        return False


def noted(folder: Path, manifest: str | None) -> list[dict[str, object]]:
    """Return the entries of the note in a folder, as JSON values, if it belongs to this manifest."""
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
            log.warning("%s: ignoring an entry: %s", folder / NAME, error)
    return found


def _content(folder: Path, name: str, most: int) -> bytes | None:
    try:
        with Folder.at(folder) as here:
            return here.read(name, most)
    except (OSError, ValueError):
        return None
