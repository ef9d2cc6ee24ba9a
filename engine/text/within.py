"""Change the texts within JSON values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def with_texts(value: Any, change: Callable[[str], str], *, keys: bool = False) -> Any:
    """Return a copy of JSON values with each text changed; with `keys`, those of tables as well. Raises
    RecursionError."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key) if keys else key: with_texts(each, change, keys=keys) for key, each in value.items()}
    return [with_texts(each, change, keys=keys) for each in value] if isinstance(value, list | tuple) else value
