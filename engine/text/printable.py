"""Makes untrusted text printable in logs and terminals: file names, message fields, library errors, metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from models.printable import LIMIT, printable

__all__ = ["LIMIT", "json_text", "printable"]

_BEYOND_ASCII = re.compile(r"[^ -~\n]")


def json_text(value: Any, *, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
    """Return JSON for files and logs that people read, too: letters of all scripts unescaped, unprintable characters
    escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=default)
    return _BEYOND_ASCII.sub(lambda c: c[0] if c[0].isprintable() else json.dumps(c[0])[1:-1], text)
