"""The end of a console script: all that is registered for it is done, and every word of the output arrives."""

import subprocess
import sys

LEAVE = "import atexit, sys, threading\nfrom engine.cli.leaving import leave\n"


def ended(program, **options):
    return subprocess.run([sys.executable, "-c", LEAVE + program], capture_output=True, text=True, **options)


def test_what_is_registered_is_done_and_the_output_arrives():
    done = ended("atexit.register(print, 'closed')\nprint('out')\nprint('err', file=sys.stderr)\nleave(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\nclosed\n", "err\n")


def test_threads_are_waited_for():
    """The thread has work to do until all others have ended."""
    done = ended(
        "go = threading.Event()\nthreading._register_atexit(go.set)\n"
        "threading.Thread(target=lambda: (go.wait(), print('worked'))).start()\nleave(0)"
    )
    assert (done.returncode, done.stdout) == (0, "worked\n")


def test_an_output_that_cannot_be_written_is_told(monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", LEAVE + "print('out')\nleave(0)"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 120
    assert "No space left" in done.stderr


def test_a_profiler_reports():
    done = ended("sys.setprofile(lambda *_: None)\ntry:\n    leave(5)\nexcept SystemExit as end:\n    print(end.code)")
    assert done.stdout == "5\n"
