"""Words that become parts of file names, from untrusted names of lines, classes and videos."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

_LONGEST_WORD = 40
_LONGEST_STEM = 180  # bytes: with a number and a suffix, still a valid name on any file system
_UNFIT = re.compile(r"[^\w.]+")


def file_word(text: str, longest: int = _LONGEST_WORD) -> str:
    """Return `text` as a part of a file name: letters of any script, digits, and inside also dots, `_` and `-`. Nothing
    that is special to a shell, a URL or a file system remains. "" if nothing is left."""
    plain = unicodedata.normalize("NFC", text.encode("utf-8", "replace").decode("utf-8"))
    return _UNFIT.sub("-", plain)[:longest].strip("-._")


def fresh_name(words: list[str], suffix: str, is_free: Callable[[str], bool]) -> str:
    """Return a file name from these words, shortened if it is too long, with a number if it is taken."""
    stem = "-".join(word for word in words if word) or "clip"
    while len(stem.encode()) > _LONGEST_STEM:
        stem = stem[:-1]
    name, number = f"{stem}{suffix}", 1
    while not is_free(name):
        number += 1
        name = f"{stem}-{number}{suffix}"
    return name
