"""What is installed, of all that can change a result."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

_OWN = "yolo-engine"
_NAMES = (
    _OWN,
    "av",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt",
    "tensorrt_rtx",
    "pycuda",
)


def versions() -> dict[str, str]:
    """Return versions of everything that can change a result."""
    found = {"python": sys.version.split()[0], "platform": platform.platform()}
    found.update((name, version) for name in _NAMES if (version := _version_of(name)) is not None)
    return found


def own_version() -> str:
    """Return the version of this program, or "unknown" if it runs from sources that are not installed."""
    return _version_of(_OWN) or "unknown"


def _version_of(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
