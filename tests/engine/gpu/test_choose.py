"""What computes: a plan, ONNX Runtime's TensorRT or CUDA provider, or the CPU; and that it is said which and why."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine import Engine, EngineConfig
from engine.errors import BackendError, BackendMissing, ConfigError, PlanError
from engine.inference import select as choose
from engine.inference.backends import onnxruntime as ort_backend
from engine.inference.backends import tensorrt as trt_backend
from engine.inference.backends.fake import FakeBackend
from engine.inference.trt.flavors import FLAVORS, Flavor
from engine.inference.trt.gpu import Gpu
from engine.inference.trt.profile import Profile
from engine.inference.trt.sidecar import write_plan
from models.files import cache_dir, sha256_of
from models.registry import DEFAULT_MODEL, get_manifest
from models.registry import find as find_model
from tests.engine.trt.conftest import record_with

GPU = Gpu("Fake 3080", "8.6")
PROFILE = Profile((1, 3, 32, 32), (8, 3, 256, 416), (8, 3, 416, 416))
DATA = b"plan"


class Made(FakeBackend):
    """Stands for a backend and says how it was made."""

    def __init__(self, *given, name="onnxruntime", provider="", **options):
        super().__init__()
        self.given, self.options = given, options
        self.name, self.provider = name, provider
        self.on_gpu = True


@pytest.fixture
def machine(monkeypatch):
    """With one GPU, TensorRT for RTX, PyCUDA and an ONNX Runtime for CUDA. `lacks` takes one of them away."""
    lacks = set()

    def plan_backend(plan, **options):
        if "pycuda" in lacks:
            raise BackendMissing("PyCUDA is not installed.")
        if "memory" in lacks:
            raise BackendError("Fake 3080 has too little memory for batches of 8.")
        return Made(plan, name="tensorrt", provider="a plan", **options)

    def ort(path, device="cpu", **options):
        wanted = "TensorRT" if options.get("tensorrt") else "CUDA" if device.startswith("cuda") else "CPU"
        if wanted != "CPU" and "ort-gpu" in lacks:
            raise BackendMissing(f"--device {device} was requested, but the build has no {wanted} provider.")
        return Made(path, device, provider=wanted, **options)

    flavor = Flavor(FLAVORS["rtx"], SimpleNamespace(__version__="1.7.1.116"))
    monkeypatch.setattr(trt_backend, "TensorRtBackend", plan_backend)
    monkeypatch.setattr(ort_backend, "OnnxRuntimeBackend", ort)
    monkeypatch.setattr(trt_backend, "load_flavor", lambda name: flavor)
    monkeypatch.setattr(choose, "find_gpu", lambda number=0: None if "gpu" in lacks or number > 1 else GPU)
    return lacks


def write(folder=None, name="a.plan", **changes):
    """A plan of the default model."""
    record = record_with(
        model=DEFAULT_MODEL,
        layout=get_manifest(DEFAULT_MODEL).layout,
        onnx_sha256=default_sha(),
        plan_sha256=hashlib.sha256(DATA).hexdigest(),
        plan_bytes=len(DATA),
        profile=PROFILE,
    )
    plan = (folder or cache_dir("plans")) / name
    write_plan(plan, DATA, replace(record, **changes))
    return plan


def engine_of(**values):
    return Engine(EngineConfig(**values))


def engines(monkeypatch):
    """The cache of the TensorRT provider has one of this model."""
    folder = ort_backend.engine_cache(default_sha(), GPU.name)
    folder.mkdir(parents=True)
    (folder / "TensorrtExecutionProvider_1.engine").write_bytes(b"engine")


def default_sha():
    return sha256_of(find_model(DEFAULT_MODEL))


@pytest.mark.parametrize(
    ("lacks", "plan", "cached", "expected", "why"),
    [
        ("", True, True, ("tensorrt", "cuda:0"), "is for this GPU (Fake 3080)"),
        ("", False, True, ("TensorRT", "cuda:0"), "not a TensorRT plan: there is no TensorRT plan of street-nano"),
        ("", False, False, ("CUDA", "cuda:0"), "not ONNX Runtime's TensorRT provider: its cache has no engine"),
        ("pycuda", True, False, ("CUDA", "cuda:0"), "not a TensorRT plan: PyCUDA is not installed"),
        ("ort-gpu", True, True, ("tensorrt", "cuda:0"), "is for this GPU"),
        ("ort-gpu", False, True, ("CPU", "cpu"), "not ONNX Runtime's CUDA provider: --device cuda was requested"),
        ("gpu", True, True, ("CPU", "cpu"), "no NVIDIA GPU was found"),
    ],
)
def test_auto_takes_the_first_that_can_be_used(machine, monkeypatch, caplog, lacks, plan, cached, expected, why):
    machine |= {lacks}
    if plan:
        write()
    if cached:
        engines(monkeypatch)
    with caplog.at_level(logging.INFO, "engine.inference.select"):
        engine = engine_of()
    model = engine.model
    named = model.backend.name if model.backend.name == "tensorrt" else model.backend.provider
    named = "CPU" if model.backend.name == "native" else named  # where this processor has what it needs
    assert (named, model.device) == expected
    assert why in model.why
    assert f"computes on {model.device}: {model.why}" in caplog.text
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert bool(warned) == (expected[1] == "cpu" and lacks != "gpu")


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1"])
def test_a_gpu_that_was_asked_for_is_not_replaced_by_the_cpu(machine, device):
    machine |= {"ort-gpu"}
    with pytest.raises(BackendMissing) as caught:
        engine_of(device=device)
    message = str(caught.value)
    assert message.startswith(f"--device {device} was requested, but the build has no CUDA provider.")
    assert "And not a TensorRT plan: there is no TensorRT plan of street-nano for this GPU" in message
    machine |= {"gpu"}
    with pytest.raises(BackendMissing, match=f"--device {device} was requested"):
        engine_of(device=device)


@pytest.mark.parametrize(("device", "number"), [("cuda:1", 1), ("cuda", 0), ("auto", 0)])
def test_the_plan_runs_on_the_gpu_that_was_named(machine, device, number):
    plan = write()
    backend = engine_of(device=device, batch=4, workers=3).model.backend
    assert backend.given == (plan,)
    assert (backend.options["device"], backend.options["batch"], backend.options["lanes"]) == (number, 4, 3)
    assert backend.options["onnx_sha256"] == default_sha()


def test_a_gpu_gets_fewer_workers_and_larger_batches(machine):
    write()
    engine = engine_of()
    assert (engine.workers, engine.batch) == (2, 8)
    assert engine.model.backend.options["lanes"] == 2
    assert engine_of(workers=5).workers == 5


@pytest.mark.parametrize("backend", ["onnxruntime", "auto"])
def test_device_cpu_asks_no_gpu(machine, monkeypatch, backend):
    write()
    monkeypatch.setattr(choose, "find_gpu", None)
    model = engine_of(device="cpu", backend=backend).model
    assert (model.device, model.why.partition("; ")[0]) == ("cpu", "--device cpu")


def test_onnxruntime_stays_onnxruntime(machine, monkeypatch):
    write()
    engines(monkeypatch)
    model = engine_of(backend="onnxruntime").model
    assert (model.backend.provider, model.device) == ("CUDA", "cuda:0")


def test_tensorrt_without_a_plan_is_an_error_with_the_command(machine):
    with pytest.raises(PlanError) as caught:
        engine_of(backend="tensorrt")
    assert str(caught.value) == (
        "there is no TensorRT plan of street-nano for this GPU (Fake 3080, 8.6), and none is built unasked. "
        "Build it: `yolo-engine build-trt street-nano`."
    )


def test_tensorrt_without_a_gpu(machine):
    machine |= {"gpu"}
    with pytest.raises(BackendMissing, match=r"--backend tensorrt was requested, but no NVIDIA GPU was found\. `yolo"):
        engine_of(backend="tensorrt")
    with pytest.raises(BackendMissing, match="was found as number 3"):
        engine_of(backend="tensorrt", device="cuda:3")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"version": "1.6.0"}, "was built by TensorRT for RTX 1.6.0, and 1.7.1.116 is installed"),
        ({"compute_capability": "8.9"}, "was built for compute capability 8.9, and this GPU (Fake 3080) has 8.6"),
        ({"plan_bytes": 9}, "is truncated"),
    ],
)
def test_a_plan_that_does_not_fit_is_told(machine, changes, part):
    write(**changes)
    with pytest.raises(PlanError) as caught:
        engine_of(backend="tensorrt")
    assert part in str(caught.value)
    assert part in engine_of().model.why  # and auto says why it was not taken


def test_the_newest_plan_that_fits(machine):
    write(name="old.plan", built_at="2026-01-01T00:00:00+00:00")
    newer = write(name="newer.plan", built_at="2026-02-01T00:00:00+00:00")
    write(name="newest.plan", built_at="2026-03-01T00:00:00+00:00", compute_capability="8.9")
    assert engine_of(backend="tensorrt").model.backend.given == (newer,)


@pytest.mark.parametrize("backend", ["auto", "tensorrt"])
def test_a_plan_as_the_model(machine, tmp_path, backend):
    write()
    plan = write(tmp_path, "mine.plan")
    model = engine_of(model=str(plan), backend=backend).model
    assert model.backend.given == (plan,)
    assert model.manifest.name == DEFAULT_MODEL
    with pytest.raises(ConfigError, match=r"backend must be tensorrt, or auto, to run the plan .*mine\.plan"):
        engine_of(model=str(plan), backend="onnxruntime")
    with pytest.raises(BackendMissing, match=r"a TensorRT plan .* name the plan's model, --model street-nano, which"):
        engine_of(model=str(plan), device="cpu")
    machine |= {"gpu"}
    with pytest.raises(BackendMissing, match="no NVIDIA GPU was found"):
        engine_of(model=str(plan), backend=backend)


def test_a_plan_for_one_size(machine, monkeypatch):
    write(profile=Profile((1, 3, 256, 416), (8, 3, 256, 416), (8, 3, 256, 416)))
    monkeypatch.setattr(Made, "fixed_hw", (256, 416))
    shape = engine_of().model.shape
    assert (shape((1920, 1080)), shape((100, 1000))) == ((256, 416), (256, 416))
    with pytest.raises(ConfigError, match=r"shape must be square for .*: it was built for 256x416. Got 'rect'"):
        engine_of(shape="rect")


def test_a_plan_that_has_no_room_is_no_reason_for_the_cpu(machine):
    write()
    machine |= {"memory"}
    with pytest.raises(BackendError, match="too little memory"):
        engine_of()


def test_the_tensorrt_provider_when_it_is_asked_for(machine):
    backend = engine_of(backend="onnxruntime-tensorrt", device="cuda:1", batch=4).model.backend
    assert backend.provider == "TensorRT"
    assert backend.given[1] == "cuda:1"
    assert backend.options["engines"] == ort_backend.engine_cache(default_sha(), GPU.name)
    least, opt, most = backend.options["shapes"]
    assert (least[0], opt[0], most[0]) == (1, 4, 4)
    assert least[2] < most[2]


def test_options_of_the_tensorrt_provider(tmp_path):
    folder = tmp_path / "engines"
    options = ort_backend.engine_options(
        Path(find_model(DEFAULT_MODEL)), folder, ((1, 3, 32, 32), (8, 3, 416, 416), (8, 3, 416, 416))
    )
    assert folder.is_dir()
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(folder)
    assert options["trt_engine_cache_enable"] is options["trt_timing_cache_enable"] is True
    name, _, shape = options["trt_profile_min_shapes"].partition(":")
    assert (name, shape) == ("images", "1x3x32x32")
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendMissing, match="can't be written"):
        ort_backend.engine_options(tmp_path / "m.onnx", tmp_path / "file" / "engines", None)
