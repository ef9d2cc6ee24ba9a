"""Which TensorRT builds, and for what: all without one installed."""

import ctypes
import importlib
from types import SimpleNamespace

import pytest

from engine.errors import BackendMissing, ConfigError
from engine.inference.trt import gpu as gpu_module
from engine.inference.trt.flavors import FLAVORS, Flavor, check_capability, choose_flavor, load_flavor
from engine.inference.trt.gpu import Gpu, find_gpu

A10 = Gpu("NVIDIA A10", "8.6")
H100 = Gpu("NVIDIA H100", "9.0")
CAPABILITIES = {"NONE": 0, "CURRENT": 1, "SM75": 2, "SM86": 3, "SM120": 4}
RTX = Flavor(
    FLAVORS["rtx"],
    SimpleNamespace(__version__="1.7", ComputeCapability=SimpleNamespace(__members__=CAPABILITIES)),
)
TENSORRT = Flavor(FLAVORS["tensorrt"], SimpleNamespace(__version__="11.4"))


def test_what_rtx_builds_for_is_asked_of_it():
    assert RTX.capabilities() == {"7.5": 2, "8.6": 3, "12.0": 4}
    assert TENSORRT.capabilities() == {}


@pytest.mark.parametrize(
    ("flavor", "asked", "gpu", "target"),
    [
        (RTX, "8.6", None, "8.6"),
        (RTX, "12.0", A10, "12.0"),  # for another machine
        (RTX, None, A10, "8.6"),
        (TENSORRT, None, A10, "8.6"),
        (TENSORRT, "9.0", H100, "9.0"),
    ],
)
def test_target(flavor, asked, gpu, target):
    assert flavor.target(asked, gpu) == target


@pytest.mark.parametrize(
    ("flavor", "asked", "gpu", "kind", "part"),
    [
        (RTX, None, None, ConfigError, "must be given where there is no NVIDIA GPU to ask: one of 7.5, 8.6, 12.0"),
        (
            RTX,
            "9.9",
            None,
            ConfigError,
            "must be one of 7.5, 8.6, 12.0: TensorRT for RTX 1.7 knows no others. For other cards build on the card "
            "with --flavor tensorrt. Got '9.9'",
        ),
        (RTX, None, H100, ConfigError, "this GPU (NVIDIA H100) is none of them. For other cards build on the"),
        (TENSORRT, "8.6", None, BackendMissing, "--flavor rtx --compute-capability 8.6"),
        (TENSORRT, "8.9", A10, ConfigError, "must be that of this GPU, 8.6 (NVIDIA A10)"),
    ],
)
def test_no_target(flavor, asked, gpu, kind, part):
    with pytest.raises(kind) as caught:
        flavor.target(asked, gpu)
    assert part in str(caught.value)


def installed(monkeypatch, *modules, error=None):
    def load(name):
        if name not in modules:
            raise error or ModuleNotFoundError(f"No module named {name!r}")
        return SimpleNamespace(__version__="1")

    monkeypatch.setattr(importlib, "import_module", load)


@pytest.mark.parametrize(
    ("asked", "gpu", "capability", "modules", "chosen"),
    [
        ("auto", A10, None, ("tensorrt", "tensorrt_rtx"), "tensorrt"),
        ("auto", A10, "8.6", ("tensorrt", "tensorrt_rtx"), "tensorrt"),
        ("auto", A10, "8.9", ("tensorrt", "tensorrt_rtx"), "rtx"),  # for another card
        ("auto", A10, None, ("tensorrt_rtx",), "rtx"),
        ("auto", None, None, ("tensorrt", "tensorrt_rtx"), "rtx"),
        ("auto", None, None, ("tensorrt",), "tensorrt"),  # which then says that it needs a GPU
        ("rtx", A10, None, ("tensorrt", "tensorrt_rtx"), "rtx"),
    ],
)
def test_choice(monkeypatch, asked, gpu, capability, modules, chosen):
    installed(monkeypatch, *modules)
    assert choose_flavor(asked, gpu, capability).name == chosen


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("86", " Did you mean 8.6?"),
        ("120", " Did you mean 12.0?"),
        ("sm_86", " Did you mean 8.6?"),
        ("SM120", " Did you mean 12.0?"),
        ("8,6", ""),
        ("8", ""),
        ("8.60", ""),
        ("8.x", ""),
        ("", ""),
    ],
)
def test_the_form_of_a_compute_capability(asked, hint):
    with pytest.raises(ConfigError) as caught:
        check_capability(asked)
    assert str(caught.value) == f"--compute-capability must be two numbers, such as 8.6. Got {asked!r}.{hint}"


def test_compute_capabilities():
    for asked in ("7.5", "8.6", "9.0", "12.0"):
        check_capability(asked)


def test_none_is_installed(monkeypatch):
    installed(monkeypatch)
    with pytest.raises(BackendMissing, match=r"Neither flavour.*'\.\[tensorrt\]'.*'\.\[rtx\]'"):
        choose_flavor("auto", None)
    with pytest.raises(BackendMissing, match=r"^TensorRT for RTX is not installed"):  # no other builds for other cards
        choose_flavor("auto", None, "8.6")
    with pytest.raises(
        BackendMissing, match=r"TensorRT for RTX is not installed.*pip install -c constraints.txt -e '\.\[rtx\]'"
    ):
        load_flavor("rtx")


@pytest.mark.parametrize("error", [ImportError("libcudart.so.13"), OSError("libnvinfer.so.11")])
def test_half_installed(monkeypatch, error):
    installed(monkeypatch, error=error)
    with pytest.raises(BackendMissing, match=r"TensorRT is installed and can't be loaded: lib\w+\.so.*doctor"):
        load_flavor("tensorrt")


class Driver:
    """libcuda, as far as it is asked."""

    def __init__(self, fails=None):
        self.fails = fails

    def _result(self, name):
        return 100 if name == self.fails else 0

    def cuInit(self, flags):
        return self._result("cuInit")

    def cuDeviceGet(self, handle, number):
        return self._result("cuDeviceGet") or int(number > 0)

    def cuDeviceGetName(self, name, size, handle):
        name.value = b"NVIDIA A10"
        return self._result("cuDeviceGetName")

    def cuDeviceGetAttribute(self, number, attribute, handle):
        ctypes.cast(number, ctypes.POINTER(ctypes.c_int))[0] = {75: 8, 76: 6}[attribute]
        return self._result("cuDeviceGetAttribute")


def test_the_gpu_is_asked_of_its_driver(monkeypatch):
    monkeypatch.setattr(gpu_module.ctypes, "CDLL", lambda name: Driver())
    assert find_gpu() == A10
    assert find_gpu(1) is None


@pytest.mark.parametrize("fails", ["cuInit", "cuDeviceGet", "cuDeviceGetName", "cuDeviceGetAttribute"])
def test_a_driver_without_a_gpu(monkeypatch, fails):
    monkeypatch.setattr(gpu_module.ctypes, "CDLL", lambda name: Driver(fails))
    assert find_gpu() is None


def test_no_driver(monkeypatch):
    def refuse(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(gpu_module.ctypes, "CDLL", refuse)
    assert find_gpu() is None
