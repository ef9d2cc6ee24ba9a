"""Where tests find videos, images and models that are not part of the repository."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def require_asset(relative: str) -> Path:
    """The path of an asset; without it the test is skipped, or fails where YOLO_ENGINE_REQUIRE_ASSETS=1."""
    folder = Path(os.environ.get("YOLO_ENGINE_ASSETS") or "../shared")
    path = REPOSITORY / folder / relative
    if path.exists():
        return path
    reason = f"The asset {relative} is not in {folder}: set YOLO_ENGINE_ASSETS to the folder that has it."
    if os.environ.get("YOLO_ENGINE_REQUIRE_ASSETS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
