"""Numbers with a noun, for messages."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return "1 clip", "2 clips", "1,000 clips"; `plural` is needed for irregular plurals."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
