"""Suggestions for names that do not exist."""

import difflib
from collections.abc import Iterable
from pathlib import Path

_MAX_NAMES = 20


def near(path: Path, *, folders_only: bool = False) -> Path | None:
    """Return the entry of the same folder with the most similar name; None if none is similar or the folder can't be
    read."""
    try:
        names = sorted(entry.name for entry in path.absolute().parent.iterdir() if not folders_only or entry.is_dir())
    except OSError:
        return None
    close = difflib.get_close_matches(path.name, names, n=1)
    return path.with_name(close[0]) if close else None


def there_is(name: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name: the most similar known name, and a list of the known ones."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {close[0]!r}? " if close else ""
    more = f" and {len(names) - _MAX_NAMES:,} more" if len(names) > _MAX_NAMES else ""
    return f"{hint}There is: {', '.join(names[:_MAX_NAMES]) or 'none'}{more}."
