"""Real plans by TensorRT for RTX, built without a GPU: every layout, the shared models, and what interrupts a build."""

import os
import resource
import signal
import time

import numpy as np
import onnx
import pytest
from onnx import helper

from engine.errors import ConfigError, OutputError, PlanError
from engine.inference.trt import build as build_module
from engine.inference.trt.build import BuildOptions, build_plan
from engine.inference.trt.flavors import FLAVORS, Flavor
from engine.inference.trt.gpu import Gpu
from engine.inference.trt.network import make_builder, make_logger
from engine.inference.trt.progress import CallingWatcher
from engine.inference.trt.sidecar import Tensor, check_plan, sidecar_of
from models.files import sha256_of
from tests.assets import require_asset
from tests.engine.trt.test_conversions import backbone, dynamically_quantized
from tests.models import builders

AHEAD = {"flavor": "rtx", "compute_capability": "8.6"}
FED = {"channel_order": "rgb", "input_scale": 1 / 255, "class_names": ("a", "b")}
UNNAMED = {key: value for key, value in FED.items() if key != "class_names"}


@pytest.fixture(autouse=True)
def installed(rtx):
    return rtx


def plans_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".onnx" and path.name != "cache")


def listed(tensors):
    return [(each.name, each.dtype, each.shape) for each in tensors]


@pytest.fixture
def freed_once(tmp_path_factory, monkeypatch):
    """The real models' shapes are freed once for all tests: that takes longer than the build."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "freed-once"))


REAL = {
    "yolox": ("models/yolox_nano.onnx", 416, "images", "output", (-1, -1, 85)),
    "yolov5": ("models/yolov5n_fp16.onnx", 640, "images", "output0", (-1, -1, 85)),
    "yolov8": ("models/yolov8n_int8.onnx", 640, "images", "output0", (-1, 84, -1)),
}


@pytest.mark.parametrize("capability", ["8.6", "8.9"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("layout", REAL)
def test_the_shared_models(tmp_path, rtx, freed_once, layout, precision, capability):
    """The int8 file of YOLOv8 loses its dynamic quantization, the fp16 file of YOLOv5 is widened for fp32."""
    asset, size, entry, output, shape = REAL[layout]
    path = require_asset(asset)
    built = build_plan(
        BuildOptions(str(path), tmp_path / "m.plan", precision=precision, flavor="rtx", compute_capability=capability)
    )
    record = check_plan(built.plan, onnx_sha256=sha256_of(path), layout=layout, flavor=rtx, gpu=Gpu("any", capability))
    assert record == built.record
    assert (record.precision, record.compute_capability, record.gpu) == (precision, capability, None)
    assert (record.flavor, record.version, record.batch_safe) == ("rtx", rtx.version, True)
    dtype = "float32" if precision == "fp32" else "float16"
    assert listed(record.inputs) == [(entry, dtype, (-1, 3, -1, -1))]
    assert listed(record.outputs) == [(output, "float32", shape)]
    assert record.profile.most == (8, 3, size, size)
    assert built.plan.stat().st_size == record.plan_bytes > 3_000_000
    assert plans_in(tmp_path) == ["m.plan", "m.plan.json"]


@pytest.mark.parametrize("capability", ["8.6", "8.9"])
def test_int8_of_yolox_nano(tmp_path, freed_once, pictures, capability):
    path = require_asset("models/yolox_nano.onnx")
    options = BuildOptions(
        str(path), tmp_path / "m.plan", "rtx", capability, precision="int8", calib=pictures, shape="square"
    )
    record = check_plan(build_plan(options).plan)
    assert listed(record.inputs) == [("images", "float32", (-1, 3, -1, -1))]
    assert listed(record.outputs) == [("output", "float32", (-1, -1, 85))]
    assert record.calibration.pictures == 4
    assert record.profile.fixed_hw == (416, 416)


@pytest.mark.parametrize(
    ("capability", "precision"),
    [("7.5", "fp16"), ("7.5", "bf16"), ("8.0", "bf16"), ("8.6", "fp32"), ("8.9", "bf16"), ("12.0", "fp16")],
)
def test_the_bundled_model_for_every_capability(tmp_path, capability, precision):
    options = BuildOptions("street-nano", tmp_path / "m.plan", "rtx", capability, precision=precision, max_batch=4)
    if (capability, precision) == ("7.5", "bf16"):
        with pytest.raises(ConfigError, match=r"bf16 needs compute capability 8.0 or later. Got 7.5: use fp16\."):
            build_plan(options)
        assert plans_in(tmp_path) == []
        return
    record = check_plan(build_plan(options).plan)
    assert (record.layout, record.compute_capability, record.profile.most) == ("yolox", capability, (4, 3, 416, 416))


@pytest.mark.parametrize("layout", ["yolox", "yolov5", "yolov8", "end2end"])
def test_every_layout(tmp_path, layout):
    path = builders.save(getattr(builders, layout)(), tmp_path / "m.onnx")
    record = build_plan(BuildOptions(str(path), tmp_path / "m.plan", layout=layout, **FED, **AHEAD)).record
    assert record.layout == layout
    assert [each.name for each in record.outputs] == ["output"]


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("matmul", [False, True])
def test_dynamically_quantized_models(tmp_path, matmul, per_channel):
    model = dynamically_quantized(matmul=matmul, per_channel=per_channel)
    path = builders.save(model, tmp_path / "m.onnx")
    options = BuildOptions(
        str(path), tmp_path / "m.plan", layout="yolov5", max_batch=1, shape="square", **UNNAMED, **AHEAD
    )
    assert build_plan(options).record.batch_safe


def test_int8_of_a_model_from_an_old_opset(tmp_path, pictures):
    path = builders.save(backbone(opset=11), tmp_path / "m.onnx")
    made = build_plan(
        BuildOptions(
            str(path), tmp_path / "m.plan", layout="yolov5", precision="int8", calib=pictures, **UNNAMED, **AHEAD
        )
    )
    assert made.record.precision == "int8"


@pytest.fixture
def small(tmp_path):
    """A model that builds in a tenth of a second."""
    return str(builders.save(builders.yolov8(), tmp_path / "small.onnx"))


def test_the_very_same_plan_is_not_built_again(tmp_path, small):
    options = BuildOptions(small, tmp_path / "m.plan", layout="yolov8", **AHEAD)
    first = build_plan(options)
    again = build_plan(options)
    assert (first.fresh, again.fresh) == (True, False)
    assert again.record == first.record
    other = build_plan(BuildOptions(small, tmp_path / "m.plan", layout="yolov8", precision="fp32", **AHEAD))
    assert other.fresh  # -o was requested: what stood there is replaced
    other.plan.write_bytes(other.plan.read_bytes()[:-1])
    assert build_plan(BuildOptions(small, tmp_path / "m.plan", layout="yolov8", precision="fp32", **AHEAD)).fresh


def test_the_cache_is_keyed_by_everything(tmp_path, small, own_cache, pictures):
    base = {"layout": "yolov8", **AHEAD}
    cases = [
        {}, {"precision": "fp32"}, {"compute_capability": "8.9"}, {"max_batch": 2}, {"opt_batch": 2},
        {"min_batch": 2}, {"shape": "square"}, {"shape": "32x64"}, {"workspace_mib": 64},
    ]  # fmt: skip
    built = [build_plan(BuildOptions(small, **{**base, **case})) for case in cases]
    assert len({each.plan for each in built}) == len(cases)
    assert all(each.fresh for each in built)
    assert {each.plan.parent for each in built} == {own_cache.parent / "plans"}
    assert built[0].plan.name.startswith("small-rtx-8.6-fp16-")
    assert not build_plan(BuildOptions(small, **base)).fresh


def test_progress_is_told(tmp_path, small):
    seen = []
    watcher = CallingWatcher(lambda name, done, steps: seen.append((name, done, steps)))
    build_plan(BuildOptions(small, tmp_path / "m.plan", layout="yolov8", **AHEAD), watcher)
    names = [name for name, _, _ in seen]
    assert names[0] == "Building engine"
    assert len(set(names)) > 3
    assert seen[-1][1] >= seen[-1][2] - 1 > 1


def test_a_display_that_fails_is_no_reason_to_lose_a_build(tmp_path, small):
    def fail(*_):
        raise RuntimeError("no terminal")

    assert build_plan(BuildOptions(small, tmp_path / "m.plan", layout="yolov8", **AHEAD), CallingWatcher(fail)).fresh


@pytest.fixture
def interruptible():
    """A process that a shell put into the background ignores SIGINT, and Python leaves it so."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.parametrize("how", ["Ctrl-C", "stopped"])
@pytest.mark.usefixtures("interruptible")
def test_interrupted(tmp_path, how):
    """The signal comes while TensorRT is at work on a thread of its own. No half plan stays, and it ends at once."""
    path = require_asset("models/yolox_nano.onnx")
    at = []

    def stop(name, done, steps):
        if name == "Optimizing graph" and not at:
            at.append(time.monotonic())
            if how == "Ctrl-C":
                os.kill(os.getpid(), signal.SIGINT)
            else:
                watcher.stopped.set()

    watcher = CallingWatcher(stop)
    with pytest.raises(KeyboardInterrupt):
        build_plan(BuildOptions(str(path), tmp_path / "m.plan", **AHEAD), watcher)
    assert at
    assert time.monotonic() - at[0] < 2
    assert plans_in(tmp_path) == []


def test_a_disk_without_room(tmp_path, small):
    """A real limit on the size of files stands for it: half of the plan fits."""
    whole = build_plan(BuildOptions(small, tmp_path / "whole.plan", layout="yolov8", **AHEAD)).record.plan_bytes
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (whole // 2, previous[1]))
    try:
        with pytest.raises(OutputError, match=r"m.plan can't be written: .*Nothing was kept"):
            build_plan(BuildOptions(small, tmp_path / "m.plan", layout="yolov8", **AHEAD))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, previous)
        signal.signal(signal.SIGXFSZ, handler)
    assert plans_in(tmp_path) == ["whole.plan", "whole.plan.json"]


def test_what_can_t_be_written_is_told_before_the_work(tmp_path, small, monkeypatch):
    monkeypatch.setattr(build_module, "prepare", lambda *_: pytest.fail("it went to work"))
    for output, part in (
        (tmp_path, "is a folder. -o names the plan itself."),
        (tmp_path / "small.onnx" / "m.plan", "can't be written|cannot be written"),
    ):
        with pytest.raises(OutputError, match=part):
            build_plan(BuildOptions(small, output, layout="yolov8", **AHEAD))
    assert plans_in(tmp_path) == []


def test_an_operator_that_tensorrt_does_not_know_is_named(tmp_path):
    model = builders.end2end()
    model.graph.node.insert(1, helper.make_node("Bernoulli", [model.graph.node[0].output[0]], ["odd"], name="coin"))
    model.graph.node[2].input[0] = "odd"
    model.opset_import[0].version = 15
    onnx.checker.check_model(model)
    path = builders.save(model, tmp_path / "m.onnx")
    with pytest.raises(PlanError, match=r"can't read .*m.onnx: coin \(Bernoulli\)") as caught:
        build_plan(BuildOptions(str(path), tmp_path / "m.plan", layout="end2end", **FED, **AHEAD))
    assert "\n" not in str(caught.value)
    assert plans_in(tmp_path) == []


def test_a_model_that_mixes_its_pictures_is_built_for_one(tmp_path):
    model = builders.yolov8()
    mean = helper.make_node("ReduceMean", ["images"], ["mean"], axes=[0, 1, 2, 3], keepdims=1)
    model.graph.node.insert(0, mean)
    model.graph.node.insert(1, helper.make_node("Sub", ["images", "mean"], ["centred"]))
    for node in list(model.graph.node)[2:]:
        node.input[:] = ["centred" if name == "images" else name for name in node.input]
    path = builders.save(model, tmp_path / "m.onnx")
    with pytest.raises(ConfigError, match=r"computes over the whole batch.*Repair: --max-batch 1"):
        build_plan(BuildOptions(str(path), tmp_path / "m.plan", layout="yolov8", **AHEAD))
    built = build_plan(BuildOptions(str(path), tmp_path / "m.plan", layout="yolov8", max_batch=1, **AHEAD))
    assert not built.record.batch_safe


def test_what_tensorrt_says_is_heard(tmp_path, small):
    said = []
    build_plan(BuildOptions(small, tmp_path / "m.plan", layout="yolov8", **AHEAD), say=said.append)
    assert any(line.startswith("info: ") for line in said)


def test_it_is_checked_on_its_gpu_by_the_runner_given(tmp_path, small, monkeypatch):
    """As on a machine with a GPU, but for the runner, which is ONNX Runtime."""
    import contextlib

    from tests.engine.trt.test_parity import FakeRunner, fades

    monkeypatch.setattr(build_module, "find_gpu", lambda: Gpu("NVIDIA A10", "8.6"))
    options = BuildOptions(small, tmp_path / "m.plan", flavor="rtx", layout="yolov8")

    def runner(spoil):
        def opened(plan, record):
            assert check_plan(plan) == record
            return contextlib.nullcontext(FakeRunner(spoil))

        return opened

    with pytest.raises(PlanError, match="It was not kept"):
        build_plan(options, runner=runner(fades))
    assert plans_in(tmp_path) == []
    built = build_plan(options, runner=runner(lambda answers: answers))
    assert (built.record.gpu, built.record.compute_capability) == ("NVIDIA A10", "8.6")
    assert built.record.checked.worst < 1e-2
    again = check_plan(built.plan)
    assert again.checked.slots == 0.0
    assert "--compute-capability" not in again.command


@pytest.mark.parametrize(
    ("flavor", "capability", "gpu"),
    [
        ("rtx", None, "NVIDIA A10"),
        ("rtx", "8.6", None),
        ("tensorrt", None, "NVIDIA A10"),
        ("tensorrt", "8.6", "NVIDIA A10"),
    ],
)
def test_built_on_a_gpu_or_ahead_of_time(tmp_path, small, rtx, monkeypatch, flavor, capability, gpu):
    """The builder itself is left out: what stands in the record, and whether the plan is then taken on that GPU."""
    card, chosen = Gpu("NVIDIA A10", "8.6"), Flavor(FLAVORS[flavor], rtx.trt)
    tensor = Tensor("images", "float16", (-1, 3, -1, -1))
    monkeypatch.setattr(build_module, "find_gpu", lambda: card)
    monkeypatch.setattr(build_module, "choose_flavor", lambda *_: chosen)
    monkeypatch.setattr(build_module, "compile_network", lambda *_: (b"plan", (tensor,), (tensor,)))
    options = BuildOptions(small, tmp_path / "m.plan", flavor, capability, layout="yolov8", min_batch=12)
    built = build_plan(options)
    assert (built.record.gpu, built.record.compute_capability) == (gpu, "8.6")
    assert built.record.profile.most[0] == 12
    assert check_plan(built.plan, gpu=card, flavor=chosen) == built.record


def test_a_truncated_plan_is_no_plan_for_tensorrt_either(tmp_path, small, rtx):
    """What our check refuses would fail in TensorRT with an error that names nothing."""
    built = build_plan(BuildOptions(small, tmp_path / "m.plan", layout="yolov8", **AHEAD))
    built.plan.write_bytes(built.plan.read_bytes()[:1000])
    with pytest.raises(PlanError, match="is truncated: 1,000 bytes"):
        check_plan(built.plan, flavor=rtx)
    assert sidecar_of(built.plan).exists()


def test_the_builder_takes_what_we_give_it(rtx):
    """Names that the code relies on, so that a new release that drops one is noticed here."""
    builder = make_builder(rtx, make_logger(rtx.trt))
    config = builder.create_builder_config()
    for name in ("set_memory_pool_limit", "clear_flag", "progress_monitor", "num_compute_capabilities"):
        assert hasattr(config, name)
    assert {"7.5", "8.0", "8.6", "8.9", "12.0"} <= set(rtx.capabilities())
    assert np.isfinite(rtx.trt.BuilderFlag.TF32.value)
