"""The end of a console script."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """End the process with this exit status, after all that is registered for its end.

    Python would then take apart what was loaded, object by object, for 30 ms of computing time. It does if threads are
    left to wait for, if an output can't be written, or under a profiler, which reports at the end.
    """
    if threading.active_count() == 1 and sys.getprofile() is None:
        try:
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except (OSError, ValueError):  # Python says what is wrong, and exits with its own status
            sys.exit(status)
        os._exit(status)
    sys.exit(status)
