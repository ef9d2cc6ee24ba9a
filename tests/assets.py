"""Test assets that lie beside the project, never in it."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def require_asset(relative: str) -> Path:
    """Path of an asset. Where it is absent the test is skipped, or fails if YOLO_ENGINE_REQUIRE_ASSETS=1."""
    folder = Path(os.environ.get("YOLO_ENGINE_ASSETS", "../shared"))
    path = ROOT / folder / relative
    if not path.exists():
        reason = f"asset {relative} is not in {folder} (YOLO_ENGINE_ASSETS)"
        if os.environ.get("YOLO_ENGINE_REQUIRE_ASSETS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path
