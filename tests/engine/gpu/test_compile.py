"""The GPU's kernels, compiled for real cards. No GPU and no driver is needed for it."""

import ctypes
import os
import re
import struct

import pytest

from engine.errors import BackendMissing
from engine.inference.gpu import compiler as compilers
from engine.inference.gpu import heads_job, letterbox_job
from engine.inference.gpu.compiler import Nvcc, Nvrtc, compile_all, find_compiler, read_source
from engine.inference.gpu.kernels import HEADS, LETTERBOX
from engine.inference.gpu.protocol import CANDIDATE

REQUIRE = "YOLO_ENGINE_REQUIRE_RTX"
CAPABILITIES = ["7.5", "8.0", "8.6", "8.9", "9.0", "12.0"]


def compilers_here(kind):
    return [found for found in compilers.compilers_here() if isinstance(found, kind)]


@pytest.fixture(scope="module", params=[Nvrtc, Nvcc], ids=["nvrtc", "nvcc"])
def compiler(request):
    found = compilers_here(request.param)
    if not found:
        name = request.param.name
        reason = f"{name} is not here" + (": make test-trt brings it" if name == "NVRTC" else "")
        if name == "NVRTC" and os.environ.get(REQUIRE) == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found[0]


@pytest.mark.parametrize("capability", CAPABILITIES)
def test_every_card(compiler, capability):
    if compiler.name == "nvcc" and capability != "8.6":
        return  # slow: one will do
    cubins = compile_all(compiler, capability, cache=False)
    assert set(cubins) == {"letterbox", "heads"}
    for cubin in cubins.values():
        assert cubin[:4] == b"\x7fELF"
        (machine,) = struct.unpack_from("<H", cubin, 18)
        assert machine == 190  # EM_CUDA
    for name in LETTERBOX:
        assert name.encode() in cubins["letterbox"]
    for name in HEADS:
        assert name.encode() in cubins["heads"]


def test_what_is_wrong_is_said(compiler):
    with pytest.raises(BackendMissing, match=r"can't compile x.cu for compute capability 8.6: .*error"):
        compiler.compile('extern "C" __global__ void k() { undeclared(); }', "x.cu", "8.6")
    with pytest.raises(BackendMissing, match=r"can't compile x.cu for compute capability 1.0: "):
        compiler.compile('extern "C" __global__ void k() {}', "x.cu", "1.0")


def test_the_arguments_are_as_large_as_the_sources_say():
    """The sources assert the same numbers of their structures when they are compiled."""
    for name, sizes in (
        ("letterbox", {"LetterboxJob": letterbox_job.JOB}),
        ("heads", {"HeadsJob": heads_job.JOB, "HeadsCandidate": CANDIDATE}),
    ):
        said = dict(re.findall(r"static_assert\(sizeof\((\w+)\) == (\d+)", read_source(name)))
        assert said == {struct_name: str(dtype.itemsize) for struct_name, dtype in sizes.items()}


def test_every_kernel_of_the_sources_is_loaded():
    said = {
        name for source in compilers.SOURCES for name in re.findall(r"__global__ void (\w+)\(", read_source(source))
    }
    assert said == {*LETTERBOX, *HEADS}


class FakeCompiler:
    name, version = "fake", (13, 0)

    def __init__(self):
        self.compiled = []

    def compile(self, source, name, capability):
        self.compiled.append((name, capability))
        return f"{name} {capability}".encode()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "yolo-engine" / "kernels"


def test_what_was_compiled_is_kept(cache):
    fake = FakeCompiler()
    first = compile_all(fake, "8.6")
    assert compile_all(fake, "8.6") == first
    assert fake.compiled == [("letterbox.cu", "8.6"), ("heads.cu", "8.6")]
    assert sorted(path.name.split("-")[0] for path in cache.iterdir()) == ["heads", "letterbox"]


def test_another_card_compiler_or_source_is_compiled_anew(cache, monkeypatch):
    fake = FakeCompiler()
    compile_all(fake, "8.6")
    compile_all(fake, "8.9")
    fake.version = (13, 1)
    compile_all(fake, "8.9")
    monkeypatch.setattr(compilers, "read_source", lambda name: f"{name} changed")
    compile_all(fake, "8.9")
    assert len(fake.compiled) == 8


@pytest.mark.parametrize("damage", [lambda whole: whole[:-1], lambda whole: b"", lambda whole: b"x" + whole[1:]])
def test_a_damaged_file_of_the_cache_is_made_anew(cache, damage):
    fake = FakeCompiler()
    first = compile_all(fake, "8.6")
    for path in cache.iterdir():
        path.write_bytes(damage(path.read_bytes()))
    assert compile_all(fake, "8.6") == first
    assert compile_all(fake, "8.6") == first
    assert len(fake.compiled) == 4


def test_without_a_place_for_the_cache(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert set(compile_all(FakeCompiler(), "8.6")) == {"letterbox", "heads"}


def test_no_compiler_names_the_remedy(monkeypatch):
    monkeypatch.setattr(compilers, "compilers_here", lambda: iter(()))
    with pytest.raises(BackendMissing, match=r"no NVRTC and no nvcc. Repair: pip install nvidia-cuda-nvrtc \("):
        find_compiler()


def test_a_compiler_later_than_the_driver_is_not_taken(monkeypatch):
    older, later = FakeCompiler(), FakeCompiler()
    older.version = (12, 9)
    monkeypatch.setattr(compilers, "compilers_here", lambda: iter((later, older)))
    assert find_compiler() is later
    assert find_compiler(13) is later
    assert find_compiler(12) is older
    with pytest.raises(BackendMissing, match=r"fake 13.0, fake 12.9 is for a later driver than that of CUDA 11 here"):
        find_compiler(11)


def test_a_program_that_is_no_nvcc():
    with pytest.raises(OSError, match="is not nvcc"):
        Nvcc("true")


@pytest.mark.parametrize("capability", ["86", "8.6a", "", "8"])
def test_a_capability_is_two_numbers(capability):
    with pytest.raises(ValueError, match=r"capability must be a compute capability such as 8\.6"):
        compile_all(FakeCompiler(), capability)


def ptx_of(nvrtc, name):
    """What NVRTC makes of a source before it is machine code: readable."""
    program = ctypes.c_void_p()
    nvrtc.call("nvrtcCreateProgram", ctypes.byref(program), read_source(name).encode(), b"x.cu", 0, None, None)
    options = (ctypes.c_char_p * 2)(b"--gpu-architecture=compute_75", b"--std=c++17")
    nvrtc.call("nvrtcCompileProgram", program, 2, options)
    return nvrtc.bytes_of("nvrtcGetPTX", program).decode()


def test_the_letterbox_is_never_fused(compiler):
    """A product and a sum that are rounded at once would be other bits than the CPU's. With `.rn` written out, nobody
    may fuse them later."""
    if compiler.name != "NVRTC":
        pytest.skip("needs NVRTC")
    ptx = ptx_of(compiler, "letterbox")
    assert "mul.rn.f32" in ptx
    assert "add.rn.f32" in ptx
    assert not re.search(r"\bfma\.|\b(mul|add|sub)\.(ftz\.)?f32", ptx)
