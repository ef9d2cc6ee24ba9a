"""Models: their properties, their sources, and the layout of their output.

    registry    the zoo: names, files, downloads
    resolution  from a name or a path to a manifest and a file
    manifest    a model's properties and its input format
    errors      everything that can go wrong
    files       reading, hashing and writing whole files; `file_lock` locks one, for the engine and jobs, too

Importing the package loads none of them, because some of its modules are used where start-up must be fast.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from models.errors import ModelError
    from models.manifest import InputSpec, ModelManifest
    from models.registry import find, get_manifest, list_models, pull
    from models.resolution import ResolvedModel, resolve

# From 1.29 on, ONNX Runtime reports every session to its makers unless this is set before it is loaded. Whoever is
# recorded in these videos has not agreed to that; a user who has agreed sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "InputSpec",
    "ModelError",
    "ModelManifest",
    "ResolvedModel",
    "find",
    "get_manifest",
    "list_models",
    "pull",
    "resolve",
]

_HOMES = {
    "InputSpec": "models.manifest",
    "ModelError": "models.errors",
    "ModelManifest": "models.manifest",
    "ResolvedModel": "models.resolution",
    "find": "models.registry",
    "get_manifest": "models.registry",
    "list_models": "models.registry",
    "pull": "models.registry",
    "resolve": "models.resolution",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'models' has no attribute {name!r}")
