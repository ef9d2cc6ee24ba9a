"""The process in which cases are tried: reads a path a line, does to it what the target does, answers in a line.

python -m tests.fuzz.child TARGET FOLDER
"""

from __future__ import annotations

import json
import logging
import os
import resource
import shutil
import sys
import traceback
from pathlib import Path

from tests.fuzz.harness import load

_ADDRESS_SPACE = 16 << 30


def main() -> None:
    """Entry point of the process."""
    target, folder = load(sys.argv[1]), Path(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.disable(logging.CRITICAL)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    _tell(answers, None)
    for line in sys.stdin:
        path, work = Path(line.rstrip("\n")), folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        _forget_peak()
        error = None
        try:
            target.attempt(path, work)
        except BaseException as raised:  # noqa: BLE001 - whatever it is, it is what we are looking for
            where = traceback.extract_tb(raised.__traceback__)[-1]
            error = f"{type(raised).__name__}: {str(raised)[:300]} ({Path(where.filename).name}:{where.lineno})"
        _tell(answers, error)


def _tell(answers: object, error: str | None) -> None:
    print(json.dumps({"error": error, "peak": _peak()}), file=answers, flush=True)  # type: ignore[call-overload]


def _forget_peak() -> None:
    """The kernel begins to measure anew: the peak is that of one case."""
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    return 0


if __name__ == "__main__":
    main()
