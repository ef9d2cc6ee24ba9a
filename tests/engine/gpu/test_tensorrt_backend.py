"""backends/tensorrt.py over a driver and a TensorRT without a card (fakecuda.py says what they are strict about)."""

import logging
import threading
from dataclasses import replace

import numpy as np
import pytest

from engine.errors import BackendError, BackendMissing, PlanError
from engine.inference.backends import tensorrt as backend_module
from engine.inference.backends.tensorrt import open_plan
from engine.inference.gpu.graphs import GraphError
from engine.inference.trt.profile import Profile
from engine.inference.trt.sidecar import Tensor
from tests.engine.gpu.fakecuda import FakeDriver, LaunchError, LogicError, MemoryError
from tests.engine.gpu.fakemachine import PROFILE, FakeMachine, mean_of_cells, tensor_of


@pytest.fixture(params=[True, False], ids=["rtx", "tensorrt"])
def machine(request, tmp_path):
    machine = FakeMachine(tmp_path, rtx=request.param)
    yield machine
    machine.check()


def test_what_it_says_of_itself(machine):
    backend = machine.make(batch=4, lanes=1)
    assert (backend.name, backend.on_gpu, backend.input_dtype, backend.fixed_hw) == ("tensorrt", True, "float32", None)
    assert backend.batch_safe is True
    assert backend.device == "cuda:0"
    assert backend.provider == f"{machine.flavor.info.title} 1.7.1.116, fp16 plan {machine.record.plan_sha256[:12]}"
    assert backend.takes_frames is False  # no kernels here
    backend.close()


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_answers_are_the_plans(tmp_path, dtype):
    machine = FakeMachine(tmp_path, inputs=(Tensor("images", dtype, (-1, 3, -1, -1)),))
    backend = machine.make(batch=4)
    for seed, (batch, height, width) in enumerate([(1, 64, 96), (4, 64, 96), (2, 32, 32), (3, 32, 96), (4, 64, 96)]):
        tensor = (200 * tensor_of(seed, batch, height, width)).astype(dtype)
        output = backend.run(tensor)
        np.testing.assert_array_equal(output, mean_of_cells(tensor))
        assert output.dtype == np.float32
    assert sum(backend.times_ms) > 0
    backend.close()
    machine.check()


def test_half_outputs_and_others_beside_the_first(tmp_path):
    outputs = (Tensor("output", "float16", (-1, -1, 7)), Tensor("more", "float32", (-1, -1, 7)))
    machine = FakeMachine(tmp_path, outputs=outputs)
    backend = machine.make()
    tensor = tensor_of(1)
    np.testing.assert_array_equal(backend.run(tensor), mean_of_cells(tensor).astype(np.float16))
    backend.close()
    machine.check()


@pytest.mark.parametrize("count", [1, 4, 5, 8, 9, 16])
def test_a_batch_beyond_the_plans_runs_in_pieces(machine, count):
    backend = machine.make(batch=16, lanes=1)
    tensor = tensor_of(count, count)
    np.testing.assert_array_equal(backend.run(tensor), mean_of_cells(tensor))
    assert [shape[0] for shape in machine.trt.batches] == [4] * (count // 4) + [count % 4] * (count % 4 > 0)
    backend.close()


def test_a_batch_below_the_plans_is_filled_up(tmp_path):
    machine = FakeMachine(tmp_path, profile=Profile((3, 3, 32, 32), (4, 3, 64, 64), (4, 3, 64, 96)))
    backend = machine.make(batch=1)
    tensor = tensor_of(1, 1)
    for _ in range(2):
        np.testing.assert_array_equal(backend.run(tensor), mean_of_cells(tensor))
    assert machine.trt.batches == [(3, 3, 64, 96)] * 2
    backend.close()
    machine.check()


def test_answers_are_not_written_again(machine):
    backend = machine.make(lanes=1)
    first, second = tensor_of(1), tensor_of(2)
    kept = backend.run(first)
    backend.run(second)
    np.testing.assert_array_equal(kept, mean_of_cells(first))
    backend.close()


@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_several_threads(machine, lanes):
    backend = machine.make(batch=4, lanes=lanes)
    failures = []

    def work(seed):
        for step in range(12):
            tensor = tensor_of(100 * seed + step, 1 + (seed + step) % 4, 32 * (1 + step % 2), 32 * (1 + seed % 3))
            if not np.array_equal(backend.run(tensor), mean_of_cells(tensor)):
                failures.append((seed, step))

    run_all([lambda seed=seed: work(seed) for seed in range(4)])
    assert failures == []
    backend.close()


def run_all(jobs):
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("tensor", "part"),
    [
        (np.zeros((1, 3, 64, 128), np.float32), "takes inputs from 1x3x32x32 to 4x3x64x96. Got 1x3x64x128."),
        (np.zeros((1, 4, 64, 64), np.float32), "Got 1x4x64x64."),
        (np.zeros((0, 3, 64, 64), np.float32), "Got 0x3x64x64."),
        (np.zeros((1, 3, 64, 64), np.float64), "takes (B, 3, H, W) float32. Got a (1, 3, 64, 64) float64 tensor."),
        (np.zeros((3, 64, 64), np.float32), "Got a (3, 64, 64) float32 tensor."),
    ],
)
def test_a_wrong_tensor(tmp_path, tensor, part):
    machine = FakeMachine(tmp_path)
    backend = machine.make()
    with pytest.raises(BackendError) as caught:
        backend.run(tensor)
    assert part in str(caught.value)
    backend.close()
    machine.check()


# -- loading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "part"),
    [
        ({"version": "1.6"}, "was built by TensorRT for RTX 1.6, and 1.7.1.116 is installed"),
        ({"compute_capability": "8.9"}, "was built for compute capability 8.9, and this GPU (Fake 3080) has 8.6"),
        ({"outputs": (Tensor("output", "int32", (-1, 6)),)}, "gives int32; float32 or float16 can be read"),
        ({"inputs": (Tensor("a", "int8", (-1, 3, 64, 64)),)}, "takes int8; float32, float16 or uint8 are supported"),
        ({"inputs": (Tensor("a", "float32", (-1, 3)),)}, "one image (N, 3, H, W) is needed"),
    ],
)
def test_a_plan_that_does_not_fit(tmp_path, record, part):
    machine = FakeMachine(tmp_path, **record)
    machine.trt.__version__ = "1.7.1.116"
    with pytest.raises(PlanError) as caught:
        machine.make()
    assert part in str(caught.value)
    machine.check()


def test_of_another_model(tmp_path):
    machine = FakeMachine(tmp_path)
    with pytest.raises(PlanError, match="was built from another model"):
        machine.make(onnx_sha256="b" * 64)
    with pytest.raises(PlanError, match="was built for output layout yolov5"):
        machine.make(layout="yolov8")
    machine.check()


def test_a_plan_that_tensorrt_does_not_take(tmp_path):
    machine = FakeMachine(tmp_path)
    machine.plan.write_bytes(b"nalp" + bytes(60))
    import hashlib

    from engine.inference.trt.sidecar import write_record

    write_record(machine.plan, replace(machine.record, plan_sha256=hashlib.sha256(b"nalp" + bytes(60)).hexdigest()))
    with pytest.raises(PlanError, match=r"can't load it: the plan's magic tag does not match\. Build it again: `yolo"):
        machine.make()
    machine.check()


@pytest.mark.parametrize(("device", "part"), [(1, "There is no GPU 1: CUDA sees 1 here"), (7, "no GPU 7")])
def test_no_such_gpu(tmp_path, device, part):
    machine = FakeMachine(tmp_path)
    with pytest.raises(BackendMissing, match=part):
        machine.make(device=device)
    machine.check()


def test_cuda_that_can_not_start(tmp_path):
    machine = FakeMachine(tmp_path)
    machine.driver.fail("init", LogicError("cuInit failed: no CUDA-capable device is detected"))
    with pytest.raises(BackendMissing, match="CUDA can't start on GPU 0: cuInit failed"):
        machine.make()


def test_without_pycuda(tmp_path, monkeypatch):
    import sys

    machine = FakeMachine(tmp_path)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    with pytest.raises(
        BackendMissing, match=r"PyCUDA is not installed .* Repair: pip install -c constraints.txt -e '\.\[tensorrt\]'"
    ):
        machine.make(driver=None)


# -- graphs and what TensorRT for RTX does itself -----------------------------------------------------------------


def test_a_graph_for_each_shape_that_is_met_often(tmp_path):
    machine = FakeMachine(tmp_path, rtx=False)
    backend = machine.make(batch=4, lanes=1)
    for seed in range(24):
        tensor = tensor_of(seed, 2, 32 if seed % 2 else 64)
        np.testing.assert_array_equal(backend.run(tensor), mean_of_cells(tensor))
    assert machine.graphs.launched == 24 - 2 * 3
    assert machine.driver.alive["execution"] == 3  # one a graph, and the common one
    backend.close()
    machine.check()


def test_only_a_few_shapes_have_a_graph(tmp_path):
    machine = FakeMachine(tmp_path, rtx=False)
    backend = machine.make(lanes=1)
    shapes = [(batch, height) for batch in (1, 2, 3, 4) for height in (32, 64)]
    for seed, (batch, height) in enumerate(shapes * 5):
        tensor = tensor_of(seed, batch, height)
        np.testing.assert_array_equal(backend.run(tensor), mean_of_cells(tensor))
    assert machine.driver.alive["graph"] == 4
    backend.close()
    machine.check()


@pytest.mark.parametrize("name", ["begin", "end"])
def test_what_stands_in_the_way_of_a_graph_is_no_failure(tmp_path, caplog, monkeypatch, name):
    machine = FakeMachine(tmp_path, rtx=False)

    def refuse(stream):
        stream.recording = None
        raise GraphError("cuStreamBeginCapture_v2 gave CUDA error 900")

    monkeypatch.setattr(machine.graphs, name, refuse)
    with caplog.at_level(logging.DEBUG, "engine.inference.gpu"):
        backend = machine.make(lanes=1)
        for seed in range(8):
            tensor = tensor_of(seed)
            np.testing.assert_array_equal(backend.run(tensor), mean_of_cells(tensor))
    assert caplog.text.count("no CUDA graphs, each launch is made by itself: cuStreamBeginCapture_v2 gave") == 1
    backend.close()
    machine.check()


def test_no_memory_for_a_graph_is_no_failure(tmp_path):
    machine = FakeMachine(tmp_path, rtx=False)
    backend = machine.make(lanes=1)
    machine.driver.total = sum(map(len, machine.driver.blocks.values()))
    for seed in range(5):
        tensor = tensor_of(seed)
        np.testing.assert_array_equal(backend.run(tensor), mean_of_cells(tensor))
    assert machine.graphs.launched == 0
    backend.close()
    machine.check()


def test_a_driver_without_graphs(tmp_path, caplog):
    machine = FakeMachine(tmp_path, rtx=False)

    def absent():
        raise GraphError("undefined symbol: cuGraphInstantiateWithFlags")

    with caplog.at_level(logging.DEBUG, "engine"):
        backend = machine.make(graphs=absent)
    assert "no CUDA graphs" in caplog.text
    for seed in range(5):
        assert len(backend.run(tensor_of(seed))) == 2
    backend.close()
    machine.check()


def test_tensorrt_for_rtx_captures_by_itself_and_keeps_its_kernels(tmp_path):
    machine = FakeMachine(tmp_path)
    for _ in range(2):
        backend = machine.make(lanes=1)
        for seed in range(5):
            backend.run(tensor_of(seed))
        backend.close()
    assert machine.graphs.launched == 0
    config = machine.trt.configs[0]
    assert config.cuda_graph_strategy == "whole"
    assert config.dynamic_shapes_kernel_specialization_strategy == "eager"
    assert machine.trt.kept == [b"compiled kernels"]  # read back by the second
    machine.check()


def test_an_older_tensorrt_for_rtx(tmp_path, caplog):
    machine = FakeMachine(tmp_path)
    del machine.trt.CudaGraphStrategy
    with caplog.at_level(logging.DEBUG, "engine.inference.gpu"):
        backend = machine.make()
    assert "runs without CUDA graphs" in caplog.text
    tensor = tensor_of(1)
    np.testing.assert_array_equal(backend.run(tensor), mean_of_cells(tensor))
    backend.close()
    machine.check()


# -- failures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("free", [0, 100_000, 400_000, 700_000])
def test_out_of_memory_at_load_names_the_batch_to_try(machine, free):
    machine.driver.total = free
    with pytest.raises(BackendError) as caught:
        machine.make(batch=4, lanes=4)
    message = str(caught.value)
    assert "Fake 3080 has too little memory for batches of 4 at 64x96 (" in message
    assert "Try --batch 2 or --workers 1" in message


def test_what_was_wanted_and_what_there_is(tmp_path):
    machine = FakeMachine(tmp_path, memory=200_000, profile=Profile((1, 3, 32, 32), (1, 3, 64, 96), (1, 3, 1024, 1024)))
    with pytest.raises(
        BackendError, match=r"batches of 1 at 1024x1024 \(12 MiB wanted, 191 KiB of 195 KiB free\)"
    ) as caught:
        machine.make(batch=8)
    assert "--workers 1, or a smaller model" in str(caught.value)
    machine.check()


@pytest.mark.parametrize("after", range(6))
def test_no_pinned_memory(machine, after):
    machine.driver.fail("pagelocked_empty", MemoryError("cuMemHostAlloc failed: out of memory"), after=after)
    if after >= 4:  # two lanes with two each
        machine.make(batch=4, lanes=2).close()
        return
    with pytest.raises(BackendError, match=r"can be pinned for batches of 4 at 64x96 \(.* KiB wanted\)\. Try"):
        machine.make(batch=4, lanes=2)


@pytest.mark.parametrize("name", ["memcpy_htod_async", "execute_async_v3", "memcpy_dtoh_async", "event.synchronize"])
def test_a_cuda_error_breaks_it_for_good(machine, name):
    backend = machine.make(lanes=2)
    tensor = tensor_of(1)
    backend.run(tensor)
    machine.driver.fail(name, LaunchError("cuLaunchKernel failed: an illegal memory access was encountered"))
    with pytest.raises(BackendError, match="CUDA failed while inferring: cuLaunchKernel failed") as caught:
        backend.run(tensor)
    assert isinstance(caught.value.__cause__, LaunchError)
    for _ in range(2):
        with pytest.raises(BackendError, match=r"the GPU failed before .* must be started anew"):
            backend.run(tensor)
    backend.close()
    backend.close()


def test_an_error_of_tensorrt_breaks_nothing(machine):
    backend = machine.make(lanes=1)
    tensor = tensor_of(1)
    machine.trt.refuses = "enqueueV3: some tensor is not bound"
    with pytest.raises(BackendError, match=r"TensorRT failed on a \(2, 3, 64, 96\) tensor: enqueueV3: some tensor"):
        backend.run(tensor)
    machine.trt.refuses = None
    np.testing.assert_array_equal(backend.run(tensor), mean_of_cells(tensor))
    backend.close()


def test_an_error_while_a_piece_is_under_way(machine):
    """The pieces before it are waited for: their buffers are used again."""
    backend = machine.make(batch=16, lanes=1)
    machine.driver.fail("execute_async_v3", BackendError("stop"), after=2)
    with pytest.raises(BackendError, match="stop"):
        backend.run(tensor_of(1, 16))
    tensor = tensor_of(2, 16)
    np.testing.assert_array_equal(backend.run(tensor), mean_of_cells(tensor))
    backend.close()


def test_a_context_that_can_not_be_popped_at_once(machine):
    """A thread that ends with a context on PyCUDA's stack aborts the process."""
    backend = machine.make(lanes=1)
    machine.driver.fail("pop", LogicError("cuCtxPopCurrent failed: an earlier error"))
    backend.run(tensor_of(1))
    with pytest.raises(BackendError, match="failed before"):
        backend.run(tensor_of(1))
    backend.close()


def test_an_output_whose_size_depends_on_the_picture(machine):
    machine.trt.output_shape = lambda shape, output: (shape[0], -1, 6)
    with pytest.raises(BackendError, match="has a size that depends on the image"):
        machine.make()


# -- the end ------------------------------------------------------------------------------------------------------


def test_closed(machine):
    backend = machine.make(lanes=3)
    backend.run(tensor_of(1))
    backend.close()
    machine.check()
    backend.close()
    with pytest.raises(BackendError, match="the engine is closed"):
        backend.run(tensor_of(1))
    again = machine.make()
    again.run(tensor_of(1))
    again.close()


def test_closed_while_it_runs(machine):
    """What runs is finished, what waits for a lane is told."""
    computing, go = threading.Event(), threading.Event()

    def slow(tensor):
        if tensor.any():
            computing.set()
            assert go.wait(10)
        return mean_of_cells(tensor)

    machine.trt = None
    machine.__init__(machine.plan.parent, rtx=machine.flavor.ahead_of_time, compute=slow)
    backend = machine.make(lanes=1)
    tensor = tensor_of(1)
    results = {}

    def run(name):
        try:
            results[name] = backend.run(tensor)
        except BackendError as error:
            results[name] = str(error)

    first = threading.Thread(target=run, args=("first",), daemon=True)
    first.start()
    assert computing.wait(10)
    second = threading.Thread(target=run, args=("second",), daemon=True)
    second.start()
    closer = threading.Thread(target=backend.close, daemon=True)
    closer.start()
    second.join(10)
    assert closer.is_alive()
    go.set()
    for thread in (first, closer):
        thread.join(10)
        assert not thread.is_alive()
    np.testing.assert_array_equal(results["first"], mean_of_cells(tensor))
    assert results["second"] == "the engine is closed: its model was freed"


def test_open_plan(tmp_path, monkeypatch):
    """What build-trt compares with the CPU."""
    machine = FakeMachine(tmp_path)
    made = []
    monkeypatch.setattr(
        backend_module, "TensorRtBackend", lambda plan, **given: made.append((plan, given)) or machine.make(**given)
    )
    with open_plan(machine.plan, machine.record) as backend:
        assert backend.input_dtype == "float32"
        assert len(backend.run(tensor_of(1, 4))) == 4
    assert made == [(machine.plan, {"batch": 4, "lanes": 1, "layout": "yolov5"})]
    assert PROFILE.most[0] == 4
    machine.check()


def test_the_driver_of_these_tests_sees_what_is_not_waited_for():
    """Without an event between two streams, the second has old bytes."""
    driver = FakeDriver()
    driver.init()
    context = driver.Device(0).retain_primary_context()
    context.push()
    source, got = driver.pagelocked_empty((4,), np.uint8), driver.pagelocked_empty((4,), np.uint8)
    memory = driver.mem_alloc(4)
    upload, download, event = driver.Stream(), driver.Stream(), driver.Event()
    source[:] = 7
    driver.memcpy_htod_async(int(memory), source, upload)
    driver.memcpy_dtoh_async(got, int(memory), download)
    download.synchronize()
    assert got.tolist() == [0xA5] * 4
    event.record(upload)
    download.wait_for_event(event)
    driver.memcpy_dtoh_async(got, int(memory), download)
    source[:] = 9  # too early: the copy has not run yet
    download.synchronize()
    assert got.tolist() == [9] * 4
    memory.free()
    with pytest.raises(LogicError):
        memory.free()
    with pytest.raises(LaunchError, match="illegal memory access"):
        driver.view(int(memory), 4)
    driver.Context.pop()
