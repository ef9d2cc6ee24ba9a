"""Numbers of things, as people say them."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return "1 clip", "2 clips", "1,000 clips"; `plural` is that of a noun that takes no s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
