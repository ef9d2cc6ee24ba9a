"""Finds the test assets, which lie beside the project and never in it."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def require_asset(relative: str) -> Path:
    """Give the path of an asset. Without it: skip the test, or fail it where YOLO_ENGINE_REQUIRE_ASSETS=1."""
    folder = Path(os.environ.get("YOLO_ENGINE_ASSETS") or "../shared")
    path = (ROOT / folder / relative).resolve()
    if not path.exists():
        reason = f"asset {relative} not found in {path.parent} (YOLO_ENGINE_ASSETS names the folder of assets)"
        if os.environ.get("YOLO_ENGINE_REQUIRE_ASSETS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
