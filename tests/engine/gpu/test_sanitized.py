"""The kernels' tests once more, built so that reading or writing outside of what was allocated ends the process."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.assets import ROOT
from tests.engine.gpu.emulator import GIVEN, build, require_compiler

FILES = ["tests/engine/gpu/test_letterbox_kernel.py", "tests/engine/gpu/test_heads_kernel.py"]
SANITIZERS = "-g -fsanitize=address,undefined -fno-sanitize-recover=all".split()


def library(name):
    """The path of one of the compiler's own; None where it has it not."""
    said = subprocess.run([require_compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = said.stdout.strip()
    return os.path.realpath(path) if os.path.isabs(path) else None


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """Runs Python with the sanitizers' kernels."""
    runtimes = [library("libasan.so"), library("libubsan.so"), library("libstdc++.so.6")]
    if os.environ.get(GIVEN) or None in runtimes:
        pytest.skip("this is that run, or this compiler has no sanitizers")
    built = tmp_path_factory.mktemp("kernels") / "kernels.so"
    build(built, *SANITIZERS)
    environment = {
        **os.environ,
        GIVEN: str(built),
        "LD_PRELOAD": " ".join(runtimes),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(ROOT),
        "PYTHONMALLOC": "malloc",
    }

    # With addresses as random as some kernels make them, AddressSanitizer finds no room for its own.
    fixed = ["setarch", "-R"] if shutil.which("setarch") else []
    if fixed and subprocess.run([*fixed, "true"], capture_output=True, check=False).returncode:
        fixed = []

    def run(*arguments):
        command = [*fixed, sys.executable, *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
        )

    return run


def test_nothing_outside_is_touched(sanitized):
    run = sanitized("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "not colours and not card", *FILES)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert " passed" in run.stdout


BEYOND = """
import numpy as np
from engine.inference.gpu.kernels import CudaKernels
from engine.inference.letterbox import LetterboxSpec
from tests.engine.gpu.emulator import EmulatedDriver, Stream
kernel = CudaKernels(EmulatedDriver(), {"letterbox": b"", "heads": b""}).letterbox(
    LetterboxSpec((16, 16), (16, 16), "gray", "uint8"))
plane, out = np.zeros(16 * 16 - 1, np.uint8), np.zeros((3, 16, 16), np.uint8)
kernel.launch([plane.ctypes.data], [16], out.ctypes.data, Stream())
"""


def test_it_would_be_noticed(sanitized):
    """A plane that is one byte too short."""
    run = sanitized("-c", BEYOND)
    assert run.returncode != 0
    assert "heap-buffer-overflow" in run.stderr
