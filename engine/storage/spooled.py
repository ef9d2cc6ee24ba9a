"""Files that lie in a folder on disk until they are in storage: what is told of them, and what is left of them."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from engine.errors import OutputError
from engine.text.within import with_texts

V = TypeVar("V", bound=Mapping[str, Any])

FREED_SUFFIX = ".mp4"
"""Of the files that are freed once they are sent: annotated videos."""


def cache_of(kind: str, url: str) -> Path:
    """Return the folder on this machine for what goes to a place in storage; `kind` keeps users of it apart."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "yolo-engine", kind, hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16])


def told(values: V, folder: Path, url: str) -> V:
    """Return JSON values in which paths below `folder` are URLs below `url`."""
    here, there = str(folder), url.rstrip("/")

    def change(text: str) -> str:
        return f"{there}{text.removeprefix(here)}" if text == here or text.startswith(f"{here}/") else text

    return cast("V", with_texts(values, change))


def tell_pages(folder: Path, url: str) -> None:
    """Replace paths below `folder` by URLs in the pages that a report in it consists of. Raises OutputError."""
    try:
        for page in folder.rglob("*.html"):
            page.write_bytes(with_urls(page.read_bytes(), folder, url))
    except OSError as error:
        raise OutputError(f"{folder} can't be written: {error.strerror}.") from error


def with_urls(page: bytes, folder: Path, url: str) -> bytes:
    """Return a page in which paths below `folder` are URLs."""
    return page.replace(os.fsencode(folder), url.rstrip("/").encode())


def write_note(path: Path, value: object) -> None:
    """Write a file of JSON, which appears as a whole; of several threads or processes that do so, the last one's
    stands. Raises OSError."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    part.write_text(json.dumps(value), encoding="utf-8")
    part.replace(path)


def free(path: Path) -> None:
    """Put a file without content, of the same size and time, in the place of one that was sent."""
    facts, empty = path.stat(), path.with_name(f".{path.name}.sent")
    with open(empty, "wb") as file:
        file.truncate(facts.st_size)
    os.utime(empty, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    empty.replace(path)
