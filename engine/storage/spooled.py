"""What is told of files that lie in a folder on disk until they are in storage: by their URLs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from engine.errors import OutputError
from engine.text.within import with_texts

V = TypeVar("V", bound=Mapping[str, Any])


def told(values: V, folder: Path, url: str) -> V:
    """Return JSON values in which paths below `folder` are URLs below `url`."""
    here, there = str(folder), url.rstrip("/")

    def change(text: str) -> str:
        return f"{there}{text.removeprefix(here)}" if text == here or text.startswith(f"{here}/") else text

    return cast("V", with_texts(values, change))


def tell_pages(folder: Path, url: str) -> None:
    """Replace paths below `folder` by URLs in the pages that a report in it consists of. Raises OutputError."""
    here, there = os.fsencode(folder), url.rstrip("/").encode()
    try:
        for page in folder.rglob("*.html"):
            page.write_bytes(page.read_bytes().replace(here, there))
    except OSError as error:
        raise OutputError(f"{folder} can't be written: {error.strerror}.") from error
