"""The doctor never dies of what it examines."""

import builtins
import hashlib
import importlib
import io
import socket
from importlib import metadata
from types import SimpleNamespace

import pytest
from rich.console import Console

from engine.cli import doctor
from engine.errors import BackendMissing
from engine.inference.backends import onnxruntime as ort_backend
from engine.inference.gpu import compiler, decode
from engine.inference.gpu.decode import HardwareDecoding
from engine.inference.trt.sidecar import write_plan
from models import registry
from models.files import cache_dir
from orchestrator.settings import settings
from tests.assets import ROOT
from tests.engine.trt.conftest import RECORD

CHECKS = "machine kernels decoding encoding native onnxruntime openvino tensorrt tensorrt_rtx models broker".split()
CHECKS += ["NVIDIA GPU", "GPU decoding", "GPU kernels", "PyCUDA", "plans"]


@pytest.fixture(autouse=True)
def no_broker(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CELERY_BROKER_URL", f"redis://user:secret@127.0.0.1:{unused.getsockname()[1]}/0")
        settings.cache_clear()
        yield unused
    settings.cache_clear()


def finding(what):
    (found,) = [found for found in doctor.examine() if found.what == what]
    return found


def test_every_kernel_is_tried():
    tried = set(finding("kernels").detail.split(", "))
    assert tried == {path.stem for path in (ROOT / "engine_ext").glob("*.pyx")}


def refuse_import(monkeypatch, name, error):
    plain, load = builtins.__import__, importlib.import_module

    def fake_import(module, *args, **kwargs):
        if module == name:
            raise error
        return plain(module, *args, **kwargs)

    def fake_load(module, *args):
        if module == name:
            raise error
        return load(module, *args)

    monkeypatch.setattr(builtins, "__import__", fake_import)
    monkeypatch.setattr(importlib, "import_module", fake_load)


def test_everything_is_looked_at_and_what_is_needed_works():
    findings = doctor.examine()
    assert {found.what for found in findings} == set(CHECKS)
    states = {found.what: found.state for found in findings}
    needed = ("machine", "kernels", "decoding", "encoding", "onnxruntime")
    assert [states[what] for what in needed] == ["ok"] * len(needed)
    assert states["models"] == "ok"


def test_it_never_raises():
    def die():
        raise RuntimeError("boom")

    findings = doctor.examine(dict.fromkeys(doctor.all_checks(), die))
    assert {found.what for found in findings} == set(CHECKS)
    assert {(found.state, found.detail) for found in findings} == {("broken", "RuntimeError: boom")}


@pytest.mark.parametrize(
    ("module", "error", "what", "state", "parts"),
    [
        ("engine_ext.nms", ImportError("undefined symbol: x"), "kernels", "broken",
         ["engine_ext.nms can't be loaded: undefined symbol: x", "make build"]),
        ("onnxruntime", ImportError("no libonnx"), "onnxruntime", "broken", ["no libonnx", "pip install onnxruntime"]),
        ("openvino", ImportError("none"), "openvino", "absent", ["pip install ", " '.[openvino]' in a clone"]),
        ("tensorrt", ImportError("none"), "tensorrt", "absent", ["pip install ", " '.[tensorrt]' in a clone"]),
        ("tensorrt_rtx", ImportError("none"), "tensorrt_rtx", "absent", ["pip install ", " '.[rtx]' in a clone"]),
        ("tensorrt", OSError("libcudart.so.12"), "tensorrt", "broken", ["OSError: libcudart.so.12"]),  # half there
    ],
)  # fmt: skip
def test_what_can_t_be_loaded(monkeypatch, module, error, what, state, parts):
    refuse_import(monkeypatch, module, error)
    found = finding(what)
    assert found.state == state
    for part in parts:
        assert part in found.detail


def test_pycuda(monkeypatch):
    from engine.inference.gpu import context

    def refuse(error):
        def load():
            raise BackendMissing("PyCUDA is installed and can't be loaded: libcuda.so.1.") from error

        return load

    monkeypatch.setattr(context, "load_driver", refuse(ModuleNotFoundError("pycuda")))
    assert finding("PyCUDA").detail.startswith("pip install -c constraints.txt -e '.[tensorrt]' in a clone")
    monkeypatch.setattr(context, "load_driver", refuse(ImportError("libcuda.so.1")))
    assert (finding("PyCUDA").state, "libcuda.so.1" in finding("PyCUDA").detail) == ("absent", True)
    driver = SimpleNamespace(get_version=lambda: (12, 9, 0), get_driver_version=lambda: 13010)
    monkeypatch.setattr(context, "load_driver", lambda: driver)
    assert finding("PyCUDA").detail == "built for CUDA 12.9.0, on a driver for CUDA 13.1"


def test_plans_in_the_cache(tmp_path):
    assert finding("plans").state == "absent"
    write_plan(cache_dir("plans") / "a.plan", b"plan", RECORD)
    assert (finding("plans").state, finding("plans").detail) == ("ok", "yolox-nano (rtx 1.7.1.116, 8.6, fp16)")


def test_gpu_decoding_says_what_is_there_and_what_is_used(monkeypatch):
    found = finding("GPU decoding")
    assert "PyAV's FFmpeg knows " in found.detail
    assert "frames are decoded on the CPU" in found.detail
    opens = HardwareDecoding(("cuda", "qsv"), ("h264", "hevc"), None)
    monkeypatch.setattr(decode, "hardware_decoding", lambda: opens)
    found = finding("GPU decoding")
    assert (found.state, "cuda opens, for h264, hevc" in found.detail) == ("ok", True)


def test_gpu_kernels(monkeypatch):
    def no_compiler():
        raise BackendMissing("there is no NVRTC.")

    monkeypatch.setattr(compiler, "find_compiler", no_compiler)
    found = finding("GPU kernels")
    assert (found.state, found.detail) == ("absent", "there is no NVRTC. Only needed with a GPU")


def test_two_builds_of_onnx_runtime(monkeypatch):
    monkeypatch.setattr(ort_backend.metadata, "version", lambda name: "1.2.3")
    found = finding("onnxruntime")
    assert found.state == "broken"
    assert found.detail == ort_backend.shadowing()


def test_the_broker_is_asked_by_the_job_system(no_broker):
    """Found by its entry point; tests/orchestrator/test_health.py has the rest."""
    port = no_broker.getsockname()[1]
    absent = finding("broker")
    assert absent.detail == f"redis://***@127.0.0.1:{port}/0: refused: nothing listens there; " + (
        "only needed for jobs, not for `run`"
    )
    assert absent.state == "absent"


def test_a_check_of_another_package_that_can_not_be_loaded(monkeypatch):
    entry = metadata.EntryPoint("mine", "no.such.module:check", "yolo_engine.checks")
    monkeypatch.setattr(metadata, "entry_points", lambda group: [entry])
    assert finding("mine") == doctor.Finding("mine", "broken", "ModuleNotFoundError: No module named 'no'")


def test_models(own_cache, tmp_path, monkeypatch):
    assert finding("models").detail == "street-nano; for better results: `yolo-engine models pull yolox-s`"
    manifest = registry.get_manifest("yolox-nano")._replace(sha256=hashlib.sha256(b"it").hexdigest())
    zoo = {"street-nano": registry.get_manifest("street-nano"), "yolox-nano": manifest}
    monkeypatch.setattr(registry, "zoo", lambda: zoo)
    own_cache.mkdir(parents=True)
    (own_cache / manifest.file).write_bytes(b"it")
    assert (finding("models").state, finding("models").detail) == ("ok", "street-nano, yolox-nano")
    monkeypatch.setattr(registry, "WEIGHTS", tmp_path)
    assert finding("models").state == "broken"
    assert "--force-reinstall" in finding("models").detail


def test_a_damaged_model(own_cache):
    own_cache.mkdir(parents=True)
    (own_cache / registry.get_manifest("yolox-nano").file).write_bytes(b"damaged")
    found = finding("models")
    assert found.state == "broken"
    assert "yolox_nano.onnx" in found.detail


@pytest.mark.parametrize("width", [40, 80, 140])
def test_print(width):
    console = Console(file=io.StringIO(), width=width)
    doctor.print_findings(
        console,
        [doctor.Finding("kernels", "broken", "pip install 'x[y]' " + "long " * 30), doctor.Finding("gpu", "ok", "[/]")],
    )
    text = console.file.getvalue()
    assert "x[y]" in text  # brackets are no markup
    assert "[/]" in text
    assert max(map(len, text.splitlines())) <= width
