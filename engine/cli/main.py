"""The console script `yolo-engine`.

Exit status: 0 all videos done, 1 some failed or are partial, 2 wrong usage or configuration, 130 interrupted.
"""

from __future__ import annotations

from engine.cli import leaving
from engine.cli.statuses import INTERRUPTED


def main() -> None:
    """Run the console script and exit with its status. Ctrl-C ends it without a traceback from here on, so what takes
    time to import is imported here."""
    try:
        from engine.cli.group import answer

        status = answer()
    except KeyboardInterrupt:
        status = INTERRUPTED
    leaving.leave(status)


if __name__ == "__main__":
    main()
