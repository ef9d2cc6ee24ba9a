"""What a video's results depend on, in parts with a name, so that a difference can be told in words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from engine.config import RESULT_KEYS, EngineConfig
from engine.files.opened import OpenedFile
from engine.inference.model import LoadedModel
from engine.resume.journal import Fingerprint
from engine.versions import versions

if TYPE_CHECKING:
    from engine.analytics import Scene

_LOOKED_AT_BYTES = 64 * 1024
_LIBRARIES = ("yolo-engine", "av", "numpy", "onnxruntime", "onnxruntime-gpu", "openvino")


def of_run(config: EngineConfig, model: LoadedModel, scenes: Sequence[Scene] = ()) -> Fingerprint:
    """Return the parts that all videos of a run share, as JSON values. Of `scenes`, where nothing is detected, and what
    is drawn."""
    manifest, settings, installed = model.manifest, config.model_dump(mode="json"), versions()
    declared = repr((manifest.layout, manifest.classes, manifest.input, manifest.strides))
    ignored = [[scene.camera, [part.polygon for part in scene.ignore]] for scene in scenes if scene.ignore]
    drawn = [scene.table() for scene in scenes] if config.visualize and config.drawn(has_scene=bool(scenes)) else []
    return {
        "model": [model.sha256, hashlib.sha256(declared.encode()).hexdigest()],
        # With a plan that may come to be there, what infers changes within a run, and between its attempts.
        "backend": ["plan"] if config.build_plan else [model.backend.name, model.backend.provider],
        "configuration": {key: settings[key] for key in sorted(RESULT_KEYS)},
        "versions": {name: installed[name] for name in _LIBRARIES if name in installed},
        # Not there in the journals of runs without them, and of versions before there were any.
        **({"precision": model.precision} if model.precision != "f32" else {}),
        **({"scene": hashlib.sha256(json.dumps(ignored).encode()).hexdigest()} if ignored else {}),
        **({"drawn scene": hashlib.sha256(json.dumps(drawn).encode()).hexdigest()} if drawn else {}),
    }


def of_input(file: OpenedFile | None) -> Fingerprint:
    """Return the part that tells one input file from another, and from what it was before: without reading all of it.
    None: it could not be opened."""
    if file is None:
        return {"input": None}
    try:
        stamp, size, reader = file.stamp, file.size_now(), file.reader()
        digest = hashlib.sha256(reader.read(_LOOKED_AT_BYTES))
        reader.seek(max(0, size - _LOOKED_AT_BYTES))
        digest.update(reader.read(_LOOKED_AT_BYTES))
    except OSError:
        return {"input": None}
    return {"input": [size, stamp, digest.hexdigest()]}


def seed_of(file: OpenedFile | None) -> str:
    """Return a text that is the same for the same content, wherever the file lies: made from its size and its ends."""
    found = of_input(file)["input"]
    return f"{found[0]} {found[2]}" if isinstance(found, list) else ""


def difference(before: Fingerprint, now: Fingerprint) -> str | None:
    """Return what has changed, as the beginning of a sentence: "the model has". None if nothing has. A key of the
    configuration that a journal does not name is newer than that journal, which was made with what is its default."""
    said = []
    for part in {**before, **now}:
        if before.get(part) == now.get(part):
            continue
        if part == "configuration":
            old, new = {**_defaults(), **_values(before.get(part))}, _values(now.get(part))
            keys = [key for key in {**new, **_values(before.get(part))} if key not in new or old.get(key) != new[key]]
            if keys:
                said.append(f"the configuration ({', '.join(keys)})")
        elif part == "versions":
            old, new = _values(before.get(part)), _values(now[part])
            names = [f"{name} {old.get(name, 'absent')} -> {new.get(name, 'absent')}" for name in {**old, **new}]
            changed = [text for text, name in zip(names, {**old, **new}, strict=True) if old.get(name) != new.get(name)]
            said.append(f"the software ({', '.join(changed)})")
        else:
            said.append(f"the {part}")
    return f"{' and '.join(said)} {'has' if len(said) == 1 else 'have'}" if said else None


@cache
def _defaults() -> dict[str, object]:
    return EngineConfig().model_dump(mode="json")


def _values(part: object) -> dict[str, object]:
    """Return a part that has names of its own; nothing where a journal has something else there."""
    return part if isinstance(part, dict) else {}
