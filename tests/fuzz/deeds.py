"""A target that does what its case says: so that the harness itself can be tried."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path


def attempt(path: Path, folder: Path) -> None:
    deed = path.read_text()
    if deed == "raise":
        raise ZeroDivisionError("as told")
    if deed == "hang":
        threading.Event().wait()
    if deed == "crash":
        os.abort()
    if deed == "exit":
        sys.exit(3)
    if deed == "memory":
        bytearray(b"\1") * 350_000_000
