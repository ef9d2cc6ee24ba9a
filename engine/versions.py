"""What is installed, of all that can change a result."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

_NAMES = (
    "yolo-engine",
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
    for name in _NAMES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
