"""The real PyCUDA, where it is installed: over a driver of ours that needs no card."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.assets import ROOT
from tests.engine.gpu import emulator

HERE = Path(__file__).parent / "hostdriver"
FLAGS = "-shared -fPIC -O1 -Wall -Wextra -Werror -Wl,-soname,libcuda.so.1".split()


@pytest.mark.skipif(importlib.util.find_spec("pycuda") is None, reason="PyCUDA is not installed: docs/gpu.md says how")
def test_the_backend_over_the_real_pycuda(tmp_path):
    emulator.require_compiler()
    driver, kernels = tmp_path / "libcuda.so.1", tmp_path / "kernels.so"
    subprocess.run(
        ["gcc", *FLAGS, "-o", str(driver), str(HERE / "libcuda.c"), "-ldl", "-lpthread"], check=True, timeout=60
    )
    emulator.build(kernels)
    environment = os.environ | {emulator.GIVEN: str(kernels), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.gpu.hostdriver.run", str(driver), str(kernels), str(tmp_path)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "passed\n"), done.stdout + done.stderr
    assert done.stderr == ""
