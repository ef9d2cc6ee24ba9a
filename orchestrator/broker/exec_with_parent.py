"""Run a program that ends when its parent does, however that ends: `python exec_with_parent.py PARENT PROGRAM ...`

Linux sends a process the signal it chose here (SIGTERM, so that the program can put its data down) when the *thread*
that started it has ended. Elsewhere the program is run all the same. A file of its own because a process with
threads must not run Python between fork and exec.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Become the program. PARENT is the parent's process id, as the parent itself knows it."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the parent is gone already")
    os.execv(program[0], program)


if __name__ == "__main__":
    main()
