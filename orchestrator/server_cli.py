"""The command line `yolo-server`: says that this version has no job system yet."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script."""
    sys.exit(not_yet("yolo-server"))


def not_yet(command: str) -> int:
    """Prints what works instead; the exit status is that of wrong usage."""
    print(  # noqa: T201
        f"{command}: this version has no job system yet. `yolo-engine run FOLDER` processes a folder here and now.",
        file=sys.stderr,
    )
    return 2
