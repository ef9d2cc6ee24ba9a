"""Runs a program that ends with its parent, however that ends: `python exec_with_parent.py PARENT PROGRAM ...`

Linux sends the process the signal chosen here (SIGTERM, so that the program can save its data) when the *thread* that
started it ends. On other systems the program is run without that. This is a separate file because a process with
threads must not run Python between fork and exec.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Replace this process by the program. PARENT is the parent's process id, as the parent itself sees it."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the parent is gone already")
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
