"""Keeps the tests of this folder away from the real cache, a mirror of the user, and proxies."""

from pathlib import Path

import pytest

from models import registry


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The models cache, empty, below this test's own folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("YOLO_ENGINE_MODELS", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "yolo-engine" / "models"


@pytest.fixture
def in_zoo(monkeypatch):
    """Put a manifest into the zoo under its name, alone."""

    def put(manifest):
        monkeypatch.setattr(registry, "zoo", lambda: {manifest.name: manifest})
        return manifest

    return put
