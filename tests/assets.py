"""Finds the real models, videos and ground truth that some tests need. They lie beside the project, not in it."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ASSETS = Path(os.environ.get("YOLO_ENGINE_ASSETS") or ROOT.parent / "shared").resolve()


def require_asset(relative: str) -> Path:
    """The path of an asset. Skips the test where it is absent, and fails it where assets are required (CI)."""
    path = ASSETS / relative
    if path.exists():
        return path
    reason = f"asset {relative} is not in {ASSETS} (set YOLO_ENGINE_ASSETS)"
    if os.environ.get("YOLO_ENGINE_REQUIRE_ASSETS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
