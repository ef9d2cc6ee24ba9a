"""No CUDA before a fork: nothing of it at import time, and a context of the parent is refused in the child."""

import os
import subprocess
import sys
import textwrap

import pytest

from engine.errors import BackendError
from engine.inference.gpu import process
from tests.assets import ROOT


def python(code):
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_touches_no_cuda():
    """A worker imports all of this, and forks afterwards."""
    said = python("""
        import sys
        import engine, engine.inference.backends.tensorrt, engine.inference.select, engine.inference.model
        import engine.cli.main, engine.cli.doctor
        import engine.inference.gpu.kernels, engine.inference.gpu.lane, engine.inference.trt.build
        import orchestrator.application, orchestrator.worker.tasks, orchestrator.worker.keeper
        print([name for name in sys.modules if name.partition(".")[0] in ("pycuda", "tensorrt", "tensorrt_rtx")])
        print([line for line in open("/proc/self/maps") if "libcuda" in line or "libnvinfer" in line])
        from engine.inference.gpu import process
        print(process.owner)
    """)
    assert said == "[]\n[]\nNone\n"


def test_a_backend_of_the_parent_is_refused_in_a_fork():
    said = python("""
        import os, sys, tempfile
        from pathlib import Path
        from engine.errors import BackendError
        from tests.engine.gpu.fakemachine import FakeMachine, tensor_of

        with tempfile.TemporaryDirectory() as folder:
            machine = FakeMachine(Path(folder))
            backend = machine.make()
            backend.run(tensor_of(1))
            calls = len(machine.driver.calls)
            child = os.fork()
            if not child:
                for use in (lambda: backend.run(tensor_of(1)), machine.make):
                    try:
                        use()
                    except BackendError as error:
                        print(str(error).replace(str(os.getppid()), "P").replace(str(os.getpid()), "C"))
                backend.close()
                print(len(machine.driver.calls) - calls, "calls")
                sys.stdout.flush()
                os._exit(0)
            os.waitpid(child, 0)
            backend.run(tensor_of(1))
            backend.close()
            print(machine.driver.leaks())
    """)
    refused = (
        "CUDA was started in process P, from which this process (C) was forked, and can't be used here. "
        "Start the engine in the process that runs it, or start processes with `spawn`.\n"
    )
    assert said == refused * 2 + "0 calls\n[]\n"


def test_the_first_use_claims_cuda_for_the_process(monkeypatch):
    monkeypatch.setattr(process, "owner", None)
    process.claim()
    process.claim()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(BackendError, match=r"this process \(-1\) was forked"):
        process.claim()
