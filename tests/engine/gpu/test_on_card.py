"""On a real card, with the real PyCUDA and TensorRT: `pytest -m gpu`. Skipped, with the reason, where there is none."""

import contextlib
import importlib.util
import threading

import numpy as np
import pytest

from engine import Engine, EngineConfig
from engine.errors import BackendError, BackendMissing
from engine.inference.backends.tensorrt import TensorRtBackend, open_plan
from engine.inference.gpu.context import load_driver
from engine.inference.model import load_model
from engine.inference.trt.build import BuildOptions, build_plan
from engine.inference.trt.flavors import FLAVORS
from engine.inference.trt.gpu import find_gpu
from engine.inference.trt.parity import MAX_ERROR, MAX_USUAL
from engine.records import FrameBatch
from engine.stages.preprocess import Preprocess
from engine.stages.preprocess_gpu import PreprocessOnGpu
from engine.verification.verify import verify_invariance
from models.registry import DEFAULT_MODEL, get_manifest
from tests.engine.conftest import write_clip

pytestmark = pytest.mark.gpu
HW = (256, 416)


@pytest.fixture(scope="module", params=["tensorrt", "rtx"])
def flavor(request):
    gpu = find_gpu()
    if gpu is None:
        pytest.skip("no NVIDIA GPU was found")
    try:
        load_driver()
    except BackendMissing as error:
        pytest.skip(str(error))
    if importlib.util.find_spec(FLAVORS[request.param].module) is None:
        pytest.skip(f"{FLAVORS[request.param].title} is not installed")
    if request.param == "rtx" and gpu.capability not in ("7.5", "8.0", "8.6", "8.9", "12.0"):
        pytest.skip(f"TensorRT for RTX does not know {gpu.name} ({gpu.capability})")
    return request.param


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def built(request, flavor, tmp_path_factory):
    """A plan of the default model, compared with the CPU by its own build: every slot at every batch."""
    plan = tmp_path_factory.mktemp("plans") / f"{flavor}-{request.param}.plan"
    options = BuildOptions(DEFAULT_MODEL, plan, flavor=flavor, precision=request.param, max_batch=8)
    return build_plan(options, runner=open_plan)


def test_the_build_was_compared_with_the_cpu(built):
    checked = built.record.checked
    assert checked is not None
    assert checked.worst <= MAX_ERROR[built.record.precision]
    assert checked.most <= MAX_USUAL[built.record.precision]
    assert len(checked.shapes) >= 2


def some_frames(tmp_path, count=8):
    import av

    from tests.engine.conftest import make_frame

    with av.open(str(write_clip(tmp_path / "some.mp4", frames=count, size_wh=(640, 360)))) as container:
        return [make_frame(index, image=image) for index, image in enumerate(container.decode(video=0))]


def test_frames_letterboxed_there_answer_as_tensors_made_here(built, tmp_path):
    backend = TensorRtBackend(built.plan, batch=8, lanes=1)
    if not backend.takes_frames:
        backend.close()
        pytest.skip("nothing compiles the kernels here")
    spec = get_manifest(DEFAULT_MODEL).input
    record = FrameBatch(some_frames(tmp_path), HW)
    expected = backend.run(Preprocess(spec, backend.input_dtype).process(record).tensor)
    got = np.stack(backend.run_frames(PreprocessOnGpu(spec, backend.input_dtype).process(record).tensor))
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-2)
    backend.close()


def test_several_threads_and_shapes(built):
    backend = TensorRtBackend(built.plan, batch=8, lanes=2)
    rng = np.random.default_rng(0)
    shapes = [(1, 3, *HW), (8, 3, *HW), (3, 3, 416, 416), (8, 3, 416, 416)]
    tensors = [rng.random(shape).astype(backend.input_dtype) for shape in shapes]
    expected = [backend.run(tensor) for tensor in tensors]
    failures = []

    def work(seed):
        for step in range(20):  # beyond the runs after which a graph is made
            which = (seed + step // 5) % len(tensors)
            if not np.allclose(backend.run(tensors[which]), expected[which], rtol=1e-3, atol=1e-2):
                failures.append((seed, step))

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert failures == []
    assert min(backend.times_ms) > 0
    backend.close()


def test_all_memory_comes_back(built):
    driver = load_driver()

    def free():
        context = driver.Device(0).retain_primary_context()
        context.push()
        try:
            return driver.mem_get_info()[0]
        finally:
            driver.Context.pop()
            context.push()
            context.detach()

    TensorRtBackend(built.plan, lanes=2).close()
    before = free()
    for _ in range(3):
        backend = TensorRtBackend(built.plan, lanes=2)
        backend.run(np.zeros((8, 3, *HW), backend.input_dtype))
        backend.close()
    assert before - free() < 64 << 20


def test_out_of_memory_names_the_batch_to_try(built):
    driver = load_driver()
    backend = TensorRtBackend(built.plan, lanes=1)
    hogs = []
    with backend._context.current(), contextlib.suppress(driver.MemoryError):
        while True:
            hogs.append(driver.mem_alloc(64 << 20))
    try:
        with pytest.raises(BackendError, match=r"too little memory for batches of 8 at \d+x\d+ .*Try --batch 4"):
            TensorRtBackend(built.plan, lanes=64)
        assert len(backend.run(np.zeros((1, 3, *HW), backend.input_dtype))) == 1
    finally:
        with backend._context.current():
            for hog in hogs:
                hog.free()
        backend.close()


def test_verify(built, tmp_path):
    """Batch size, workers and other videos change nothing."""
    clips = [write_clip(tmp_path / f"{name}.mp4", frames=30, size_wh=(640, 360)) for name in "ab"]
    config = EngineConfig(model=str(built.plan), backend="tensorrt", visualize=False, conf=0.05)
    said = []
    assert verify_invariance(config, str(clips[0]), [str(clips[1])], said.append), said


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-tensorrt"])
def test_onnx_runtimes_providers(backend, tmp_path):
    if find_gpu() is None:
        pytest.skip("no NVIDIA GPU was found")
    rng = np.random.default_rng(0)
    tensor = rng.random((4, 3, *HW), np.float32) * 255
    cpu = load_model(EngineConfig(device="cpu"), 1).backend
    try:
        model = load_model(EngineConfig(backend=backend, device="cuda", batch=4), 1)
    except BackendMissing as error:
        pytest.skip(str(error))
    assert model.device == "cuda:0"
    expected, got = cpu.run(tensor), model.backend.run(tensor)
    np.testing.assert_allclose(got, expected, rtol=1e-2, atol=1e-2)


def test_auto_takes_the_plan(built, monkeypatch, tmp_path):
    from engine.inference.trt.sidecar import write_plan
    from models.files import cache_dir

    write_plan(cache_dir("plans") / "a.plan", built.plan.read_bytes(), built.record)
    with Engine(EngineConfig(visualize=False)) as engine:
        assert engine.model.backend.name == "tensorrt"
        assert engine.model.device == "cuda:0"
        summary = engine.run([write_clip(tmp_path / "a.mp4")], output=tmp_path / "out")
    assert summary["success"] is True
    assert summary["backend"]["gpu_s"]["compute"] >= 0
