"""Where tests find the files that lie beside the project and are no part of it."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def require_asset(relative: str) -> Path:
    """The path of an asset, below `YOLO_ENGINE_ASSETS` (default `../shared` from the repository's root).

    Without it the test is skipped; where `YOLO_ENGINE_REQUIRE_ASSETS=1` it fails instead.
    """
    folder = Path(os.environ.get("YOLO_ENGINE_ASSETS", "../shared"))
    path = (ROOT / folder / relative).resolve()
    if not path.exists():
        message = f"the asset {relative} is not there: {path}"
        if os.environ.get("YOLO_ENGINE_REQUIRE_ASSETS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return path
