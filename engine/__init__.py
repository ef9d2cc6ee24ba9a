"""yolo-engine: folders of video in, tracks and annotated videos out.

from engine import Engine, EngineConfig

summary = Engine(EngineConfig(classes=["person", "car"])).run(["videos/"], output="out")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.config import EngineConfig
    from engine.engine import Engine
    from engine.errors import EngineError
    from engine.records import Detections, Tracks

__all__ = ["Detections", "Engine", "EngineConfig", "EngineError", "Tracks"]

_HOMES = {
    "Detections": "engine.records",
    "Engine": "engine.engine",
    "EngineConfig": "engine.config",
    "EngineError": "engine.errors",
    "Tracks": "engine.records",
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: `yolo-engine --help` must not wait for PyAV and NumPy.
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'engine' has no attribute {name!r}")
