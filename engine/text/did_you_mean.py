"""A name that was meant, where a path does not exist."""

import difflib
from pathlib import Path


def near(path: Path, *, folders_only: bool = False) -> Path | None:
    """Return what has nearly this name in the same folder; None where nothing has, or the folder can't be read."""
    try:
        names = sorted(entry.name for entry in path.absolute().parent.iterdir() if not folders_only or entry.is_dir())
    except OSError:
        return None
    close = difflib.get_close_matches(path.name, names, n=1)
    return path.with_name(close[0]) if close else None
