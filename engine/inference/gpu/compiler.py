"""Compiles the .cu files of this folder for one GPU, with NVRTC (available as a wheel) or nvcc.

The result is machine code for that compute capability (cubin), not PTX: no driver compiles it again, and a driver older
than the compiler accepts it within the same major version of CUDA. It is cached under a name with a hash over the
source, the compute capability and the compiler.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from engine.errors import BackendMissing
from models.errors import ModelError
from models.files import atomic_write, cache_dir

SOURCES = ("letterbox", "heads")
FOLDER = Path(__file__).parent
INSTALL = "pip install nvidia-cuda-nvrtc (for a driver of CUDA 12: nvidia-cuda-nvrtc-cu12)"

_STANDARD = "c++17"
_DIGEST = hashlib.sha256().digest_size
_NVCC_TIMEOUT_S = 300


class Compiler(Protocol):
    """`version` is (major, minor) of CUDA."""

    name: str
    version: tuple[int, int]

    def compile(self, source: str, name: str, capability: str) -> bytes:
        """Compile CUDA C++ to a cubin for a compute capability such as "8.6". Raises BackendMissing with the compiler's
        message."""
        ...


class Nvrtc:
    """NVRTC through ctypes. Loading it does not use the driver."""

    name = "NVRTC"

    def __init__(self, library: str) -> None:
        """Load the library. Raises OSError if it does not exist."""
        self._nvrtc = ctypes.CDLL(library)
        self._nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self.call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        self.version = (major.value, minor.value)

    def compile(self, source: str, name: str, capability: str) -> bytes:
        program = ctypes.c_void_p()
        self.call("nvrtcCreateProgram", ctypes.byref(program), source.encode(), name.encode(), 0, None, None)
        try:
            options = [f"--gpu-architecture={_architecture(capability)}".encode(), f"--std={_STANDARD}".encode()]
            status = self._nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * 2)(*options))
            if status:
                said = self._text(program).strip() or self._error(status)
                raise BackendMissing(_refused(self, name, capability, said))
            return self.bytes_of("nvrtcGetCUBIN", program)
        finally:
            self._nvrtc.nvrtcDestroyProgram(ctypes.byref(program))

    def _text(self, program: ctypes.c_void_p) -> str:
        return self.bytes_of("nvrtcGetProgramLog", program).rstrip(b"\0").decode(errors="replace")

    def bytes_of(self, getter: str, program: ctypes.c_void_p) -> bytes:
        """Return the result of one of NVRTC's getters for a program: its log, PTX or CUBIN."""
        size = ctypes.c_size_t()
        self.call(f"{getter}Size", program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        self.call(getter, program, buffer)
        return buffer.raw

    def call(self, function: str, *arguments: object) -> None:
        """Call a function of NVRTC. Raises BackendMissing with the remedy if it fails."""
        if status := getattr(self._nvrtc, function)(*arguments):
            raise BackendMissing(f"NVRTC can't be used: {function}: {self._error(status)}. Repair: {INSTALL}.")

    def _error(self, status: int) -> str:
        return bytes(self._nvrtc.nvrtcGetErrorString(status)).decode(errors="replace")


class Nvcc:
    """The program nvcc of a CUDA toolkit."""

    name = "nvcc"

    def __init__(self, program: str) -> None:
        """Find out its version. Raises OSError if it can't be started or is not nvcc."""
        self._program = program
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=False).stdout
        found = re.search(r"release (\d+)\.(\d+)", said)
        if found is None:
            raise OSError(f"{program} is not nvcc")
        self.version = (int(found[1]), int(found[2]))

    def compile(self, source: str, name: str, capability: str) -> bytes:
        with tempfile.TemporaryDirectory(prefix="yolo-engine-") as folder:
            target = Path(folder) / "kernel.cubin"
            (Path(folder) / name).write_text(source, encoding="utf-8")
            command = [self._program, "-cubin", f"-std={_STANDARD}", f"-arch={_architecture(capability)}"]
            command += ["-o", str(target), str(Path(folder) / name)]
            try:
                run = subprocess.run(command, capture_output=True, text=True, timeout=_NVCC_TIMEOUT_S, check=False)
            except (OSError, subprocess.TimeoutExpired) as error:
                raise BackendMissing(_refused(self, name, capability, str(error))) from error
            if run.returncode or not target.exists():
                raise BackendMissing(_refused(self, name, capability, (run.stderr or run.stdout).strip()))
            return target.read_bytes()


def find_compiler(most_major: int | None = None) -> Compiler:
    """Find NVRTC if it is installed, otherwise nvcc. `most_major` is the driver's major version of CUDA, on which code
    of a later compiler would not run. Raises BackendMissing with the remedy."""
    later: list[str] = []
    for found in compilers_here():
        if most_major is None or found.version[0] <= most_major:
            return found
        later.append(f"{found.name} {'.'.join(map(str, found.version))}")
    if later:
        raise BackendMissing(
            f"The GPU's kernels can't be compiled: {', '.join(later)} is for a later driver than that of CUDA "
            f"{most_major} here. Repair: {INSTALL}."
        )
    raise BackendMissing(f"The GPU's kernels can't be compiled: there is no NVRTC and no nvcc. Repair: {INSTALL}.")


def read_source(name: str) -> str:
    """Return the text of NAME.cu."""
    return (FOLDER / f"{name}.cu").read_text(encoding="utf-8")


def compile_all(compiler: Compiler, capability: str, *, cache: bool = True) -> Mapping[str, bytes]:
    """Return the cubin of each of SOURCES, from the user's cache if possible."""
    return {name: _cached(compiler, name, capability, cache=cache) for name in SOURCES}


def _cached(compiler: Compiler, name: str, capability: str, *, cache: bool) -> bytes:
    source = read_source(name)
    about = f"{compiler.name} {compiler.version} {_STANDARD} {_architecture(capability)}\n{source}"
    key = hashlib.sha256(about.encode()).hexdigest()[:16]
    path = cache_dir("kernels") / f"{name}-{_architecture(capability)}-{key}.cubin"
    if cache and (kept := _read(path)) is not None:
        return kept
    cubin = compiler.compile(source, f"{name}.cu", capability)
    if cache:
        with contextlib.suppress(OSError, ModelError), atomic_write(path) as stream:  # compiled again next time
            stream.write(hashlib.sha256(cubin).digest() + cubin)
    return cubin


def _read(path: Path) -> bytes | None:
    """Return the content after the hash in a cached file; None if it does not exist or is damaged."""
    try:
        whole = path.read_bytes()
    except OSError:
        return None
    digest, cubin = whole[:_DIGEST], whole[_DIGEST:]
    return cubin if cubin and hashlib.sha256(cubin).digest() == digest else None


def compilers_here() -> Iterator[Compiler]:
    """Yield the compilers that can be loaded here, the best first."""
    for library in _nvrtc_libraries():
        with contextlib.suppress(OSError, BackendMissing):
            yield Nvrtc(library)
    program = shutil.which("nvcc")
    if program is not None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            yield Nvcc(program)


def _nvrtc_libraries() -> Iterator[str]:
    """Yield the libraries of the wheels, the latest first, then what the system's loader finds."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec is not None else []
    found = [library for folder in folders for library in folder.glob("*/lib/libnvrtc.so.*")]
    yield from (str(library) for library in sorted(found, key=_major, reverse=True))
    there = {library.name for library in found}
    yield from (name for name in ("libnvrtc.so.13", "libnvrtc.so.12") if name not in there)


def _major(library: Path) -> int:
    number = library.suffix[1:]
    return int(number) if number.isdigit() else 0


def _architecture(capability: str) -> str:
    """ "8.6" -> "sm_86"."""
    if not re.fullmatch(r"\d+\.\d", capability):
        raise ValueError(f"capability must be a compute capability such as 8.6. Got {capability!r}.")
    return f"sm_{capability.replace('.', '')}"


def _refused(compiler: Compiler, name: str, capability: str, said: str) -> str:
    version = ".".join(map(str, compiler.version))
    first = next((line for line in said.splitlines() if "error" in line.lower()), said.splitlines()[0] if said else "?")
    return f"{compiler.name} {version} can't compile {name} for compute capability {capability}: {first.strip()}"
