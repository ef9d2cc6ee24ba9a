"""`make` on a machine that lacks something: one sentence and the line that mends it, before anything is downloaded."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.assets import ROOT

# The tree of `make test-debug` has no setup of its own.
pytestmark = pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="no clone")

NO_HEADERS = """
import sysconfig
path = sysconfig.get_path
sysconfig.get_path = lambda name, *rest: "/nonexistent" if name == "include" else path(name, *rest)
"""
APT = "sudo apt-get install gcc libc6-dev python3"


@pytest.fixture
def make(tmp_path):
    """Runs `make build` into a new environment, with programs of its own first on the path, and no index to ask."""
    programs = tmp_path / "bin"
    programs.mkdir()

    def run(python=sys.executable, **environment):
        command = ["make", "-s", "-f", str(ROOT / "Makefile"), "build", f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PIP_NO_INDEX": "1",
            **environment,
        }
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)

    run.programs = programs
    run.venv = tmp_path / "venv"
    return run


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def python_that(tmp_path: Path, before: str) -> Path:
    """An interpreter in which `before` was run."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(before)
    return program(tmp_path / "python", f'PYTHONPATH={tmp_path}/site exec {sys.executable} "$@"')


def refused(make, said: str, **settings) -> None:
    done = make(**settings)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert lines[0].startswith("Missing: ")
    assert said in lines[0]
    assert lines[1].strip().startswith(APT)
    assert len(lines) == 3  # the last one is make's own
    assert not make.venv.exists()


def test_no_compiler(make):
    refused(make, "a C compiler that works (no-such-compiler)", CC="no-such-compiler")


def test_a_compiler_without_its_library(make):
    refused(make, "a C compiler that works", CC=str(program(make.programs / "broken-cc", "exit 1")))


def test_no_headers_of_python(make, tmp_path):
    refused(make, "the headers of Python (Python.h)", python=python_that(tmp_path, NO_HEADERS))


def test_no_headers_of_python_for_pip(tmp_path):
    """A build without make says it too."""
    command = [python_that(tmp_path, NO_HEADERS), "setup.py", "-q", "build_ext", "--build-lib", tmp_path / "lib"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Missing: the headers of Python" in done.stderr
    assert APT in done.stderr


def test_no_venv(make, tmp_path):
    python = python_that(
        tmp_path,
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name: None if name == 'ensurepip' else find(name)",
    )
    refused(make, "the module venv", python=python)


def test_too_old_a_python(make, tmp_path):
    done = make(python=python_that(tmp_path, "import sys\nsys.version_info = (3, 10, 4)"))
    assert done.returncode == 2
    assert "Python 3.11 or later is needed" in done.stderr
    assert not make.venv.exists()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no compiler here")
def test_a_machine_that_has_it_all_goes_on(make):
    """As far as the index, which is not there."""
    done = make()
    assert "Missing" not in done.stderr
    assert make.venv.exists()
