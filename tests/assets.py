"""Finds the test assets that lie beside the repository. They are never needed to build or to run the project."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def require_asset(relative: str) -> Path:
    """The asset's path. Where it is absent the test skips, or fails if YOLO_ENGINE_REQUIRE_ASSETS=1."""
    folder = Path(os.environ.get("YOLO_ENGINE_ASSETS") or "../shared")
    path = REPOSITORY / folder / relative
    if not path.exists():
        reason = f"asset {relative} is not in {path.parent} (YOLO_ENGINE_ASSETS)"
        if os.environ.get("YOLO_ENGINE_REQUIRE_ASSETS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
