"""Cleans up after a program that is killed: `python reaper.py FOLDER LOCK`, with instructions on standard input.

A line `worker PID` names the leader of a process group, `then [...]` a command as JSON; `done` means that nothing is
left to do. If the input ends without `done`, the program is gone: the group is terminated, then killed, the command is
run, and the folder is removed once nobody holds the lock. This is a separate file that imports next to nothing, because
the process waits as long as a job takes.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time

ASKED_S, COMMAND_S, LOCKED_S = 10.0, 60.0, 10.0


def main() -> None:
    """Wait for the end of the input, then clean up unless everything is done."""
    folder, lock = sys.argv[1:3]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # signals to the program may be delivered to us, too
    group, command = 0, []
    for line in sys.stdin:
        word, _, value = line.strip().partition(" ")
        if word == "done":
            return
        if word == "worker":
            group = int(value)
        else:
            command = json.loads(value)
    if group:
        end_group(group, ASKED_S)
    if command:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, stdin=subprocess.DEVNULL, timeout=COMMAND_S, check=False)
    deadline = time.monotonic() + LOCKED_S
    while held(lock) and time.monotonic() < deadline:
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def end_group(leader: int, patience_s: float) -> None:
    """Terminate the leader of a group, wait at most `patience_s` for it, and kill the rest of the group."""
    deadline = time.monotonic() + patience_s
    with contextlib.suppress(ProcessLookupError):
        os.kill(leader, signal.SIGTERM)
        while time.monotonic() < deadline:
            os.kill(leader, 0)
            time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def held(lock: str) -> bool:
    """Return whether a process holds the lock of a file."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


if __name__ == "__main__":
    main()
