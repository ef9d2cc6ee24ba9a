"""Results in a folder: its URL, creation and checks. `folder_backend.py` is Celery's side."""

from __future__ import annotations

import contextlib
import secrets
import time
from pathlib import Path

SCHEME = "file://"


def is_folder(url: str) -> bool:
    """Return whether results are stored in a folder."""
    return url.startswith(SCHEME)


def folder_of(url: str) -> Path:
    """Return the folder of `file:///FOLDER`."""
    return Path(url.removeprefix(SCHEME))


def make_folder(url: str) -> None:
    """Create the folder. Raises OSError."""
    folder_of(url).mkdir(parents=True, exist_ok=True)


def sweep(url: str, older_s: float) -> None:
    """Remove expired results, as a Redis does by itself. Best effort."""
    with contextlib.suppress(OSError):
        for path in folder_of(url).iterdir():
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > older_s:
                    path.unlink(missing_ok=True)


def probe(url: str) -> None:
    """Write, read and remove a file there. Raises OSError."""
    make_folder(url)
    path, value = folder_of(url) / f".probe.{secrets.token_hex(8)}", secrets.token_bytes(8)
    try:
        path.write_bytes(value)
        if path.read_bytes() != value:
            raise OSError("a written file can't be read back")
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
