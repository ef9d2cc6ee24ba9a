"""Strangers' text, made fit for a log or a terminal: file names, fields of messages, errors of libraries, metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

LIMIT = 1000

_BEYOND_ASCII = re.compile(r"[^ -~\n]")


def printable(text: str, limit: int = LIMIT) -> str:
    r"""One line of `limit` characters at most, in which nothing moves a cursor, changes a colour or turns a text round.

    What is not printable, also half a character (a byte of a file name that is no text), line ends, zero-width and
    bidirectional controls, is written as Python escapes it (`\x1b`, `\u202e`, `\udcff`). A longer text loses its end
    for `…`. The result holds only what `str.isprintable` admits and can be encoded, and is left as it is by a second
    call. It is not markup: where rich reads markup, it has still to be escaped or given as a `Text`.
    """
    cut = text[: limit + 1]  # a gigabyte is not looked at to its end
    line = cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def json_text(value: Any, *, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
    """JSON of the exact text, for files and logs that people look at as well: letters of all scripts as they are, and
    what is not printable escaped as JSON does it."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=default)
    return _BEYOND_ASCII.sub(lambda c: c[0] if c[0].isprintable() else json.dumps(c[0])[1:-1], text)
