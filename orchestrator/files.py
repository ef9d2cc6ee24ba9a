"""JSON files that are whole or not there: the job's durable truth is made of them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> None:
    """Writes or replaces a file; after a crash it holds the old or the new value. Raises OSError."""
    part = _written(path, value)
    try:
        os.replace(part, path)
        _sync_folder(path.parent)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def write_once(path: Path, value: Any) -> bool:
    """Writes a file that nobody has written before. False where somebody has; of two who try, one wins."""
    part = _written(path, value)
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    finally:
        part.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def write_quick(path: Path, value: Any) -> None:
    """Replaces a file that may be lost in a crash of the machine (progress). Raises OSError."""
    part = _named(path)
    try:
        part.write_text(json.dumps(value))
        os.replace(part, path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def read_json(path: Path) -> Any | None:
    """The value, None where there is no such file. Raises ValueError for a file that holds something else."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def append_line(path: Path, value: Any) -> None:
    """Adds one line of JSON. Lines of several processes don't mix: each is one write."""
    line = json.dumps(value, ensure_ascii=True).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, line)
    finally:
        os.close(descriptor)


def _written(path: Path, value: Any) -> Path:
    part = _named(path)
    try:
        with open(part, "w", encoding="utf-8") as file:
            json.dump(value, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    return part


def _named(path: Path) -> Path:
    """A name that no other thread, process or machine uses."""
    return path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{threading.get_ident()}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
