"""What a model is, where it comes from, and how its output is laid out. Importing this loads no ONNX library."""

import os

from models.errors import ModelError
from models.manifest import InputSpec, ModelManifest
from models.registry import find, get_manifest, list_models, pull
from models.resolve import ResolvedModel, resolve

# From 1.29 on, ONNX Runtime reports every session to its makers unless this is set before it is loaded. Who watches
# recordings here has not agreed to that; whoever has sets it to 0.
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
