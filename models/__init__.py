"""What a model is, where it comes from, and how its output is laid out. Importing this loads no ONNX library."""

from models.errors import ModelError
from models.manifest import InputSpec, ModelManifest
from models.registry import find, get_manifest, list_models, pull
from models.resolve import ResolvedModel, resolve

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
