"""The command line `yolo-submit`: says that this version has no job system yet."""

from __future__ import annotations

import sys

from orchestrator.server_cli import not_yet


def main() -> None:
    """Entry point of the console script."""
    sys.exit(not_yet("yolo-submit"))
