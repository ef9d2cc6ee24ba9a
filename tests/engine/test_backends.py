"""Backends: real sessions on a little model, and what is not there named with its remedy."""

import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from engine.errors import BackendError, BackendMissing, ModelError
from engine.inference.backends import onnxruntime as ort_backend
from engine.inference.backends.fake import FakeBackend
from engine.inference.backends.onnxruntime import Binding, OnnxRuntimeBackend, installed_builds, shadowing
from engine.inference.backends.openvino import OpenVinoBackend

onnx = pytest.importorskip("onnx")


def tiny(path, shape=("n", 3, "h", "w"), dtype="FLOAT", operator="Neg"):
    """A model whose output is its input, negated."""
    element = getattr(onnx.TensorProto, dtype)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, ["images"], ["output"])],
        "tiny",
        [onnx.helper.make_tensor_value_info("images", element, shape)],
        [onnx.helper.make_tensor_value_info("output", element, shape)],
    )
    opset = onnx.helper.make_opsetid("", 13)
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("shape", "dtype", "input_dtype", "fixed_hw"),
    [
        (("n", 3, "h", "w"), "FLOAT", "float32", None),
        ((1, 3, 32, 64), "FLOAT", "float32", (32, 64)),
        (("n", 3, 32, "w"), "FLOAT", "float32", None),
        (("n", 3, "h", "w"), "FLOAT16", "float16", None),
        (("n", 3, "h", "w"), "UINT8", "uint8", None),
    ],
)
def test_what_a_model_takes(tmp_path, shape, dtype, input_dtype, fixed_hw):
    backend = OnnxRuntimeBackend(tiny(tmp_path / "m.onnx", shape, dtype, "Identity"), batch_safe=False)
    assert (backend.input_dtype, backend.fixed_hw) == (input_dtype, fixed_hw)
    assert (backend.name, backend.provider, backend.on_gpu) == ("onnxruntime", "CPUExecutionProvider", False)
    assert backend.batch_safe is False


def run_from_threads(backend):
    failures = []
    barrier = threading.Barrier(4)

    def work(seed):
        rng = np.random.default_rng(seed)
        barrier.wait(5)
        for _ in range(25):
            tensor = rng.random((1 + seed % 3, 3, 32, 32 * (1 + seed)), np.float32)
            if not np.array_equal(backend.run(tensor), -tensor):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert failures == []


def test_several_threads_at_once(tmp_path):
    backend = OnnxRuntimeBackend(tiny(tmp_path / "m.onnx"))
    run_from_threads(backend)
    backend.close()
    with pytest.raises(BackendError):
        backend.run(np.zeros((1, 3, 32, 32), np.float32))


@pytest.mark.parametrize(
    ("tensor", "part"),
    [
        (np.zeros((1, 4, 32, 32), np.float32), "(1, 4, 32, 32) float32"),
        (np.zeros((1, 3, 32, 32), np.float64), "(1, 3, 32, 32) float64"),
        (np.zeros((3, 32, 32), np.float32), "(3, 32, 32) float32"),
    ],
)
def test_a_wrong_tensor(tmp_path, tensor, part):
    with pytest.raises(BackendError) as caught:
        OnnxRuntimeBackend(tiny(tmp_path / "m.onnx")).run(tensor)
    assert str(caught.value).startswith(f"ONNX Runtime failed on a {part} tensor: ")
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_wrong_file(tmp_path, content):
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        OnnxRuntimeBackend(path)
    message = str(caught.value)
    assert message.startswith(f"{path} can't be loaded by ONNX Runtime: ")
    assert "\n" not in message


def test_an_input_that_is_no_picture(tmp_path):
    with pytest.raises(ModelError, match=r"takes \['n', 5\]; an image \(N, 3, H, W\) is needed\."):
        OnnxRuntimeBackend(tiny(tmp_path / "m.onnx", ("n", 5)))
    with pytest.raises(ModelError, match=r"takes tensor\(int64\); float32, float16 or uint8 are supported\."):
        OnnxRuntimeBackend(tiny(tmp_path / "m.onnx", dtype="INT64"))


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_no_silent_cpu_run(tmp_path, monkeypatch, device):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendMissing) as caught:
        OnnxRuntimeBackend(tiny(tmp_path / "m.onnx"), device)
    for part in (f"--device {device} was requested", "YOLO_ENGINE_ORT=gpu pip install", "or run with --device cpu."):
        assert part in str(caught.value)


def test_a_gpu_build_whose_libraries_are_missing(tmp_path, monkeypatch, capsys):
    """ONNX Runtime itself falls back to the CPU then, with a line in its log."""
    import onnxruntime

    fallen_back = SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])
    providers = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **__: fallen_back)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: sys.stdout.write("Failed to load libcudnn.so.9\n"))
    with pytest.raises(BackendMissing, match="CUDAExecutionProvider was requested and is not active") as caught:
        OnnxRuntimeBackend(tmp_path / "m.onnx", "cuda")
    assert "yolo-engine doctor" in str(caught.value)
    assert capsys.readouterr().out == ""  # it is the summary's, with --json


def test_a_binding_gives_what_the_session_gives(tmp_path):
    """As on a GPU, but in the CPU's memory: shapes come and go, and an answer is not written again."""
    import onnxruntime

    session = onnxruntime.InferenceSession(tiny(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    binding = Binding(onnxruntime, session, "images", "output", "cpu", 0)
    rng = np.random.default_rng(0)
    kept = []
    for step in range(40):
        tensor = rng.random((1 + step % 3, 3, 32, 32 * (1 + step % 5)), np.float32)
        kept.append((binding.run(tensor), -tensor))
    for got, expected in kept:
        np.testing.assert_array_equal(got, expected)


def test_a_gpu_runs_by_a_binding_of_its_thread(tmp_path, monkeypatch):
    """The session itself would copy through memory of its own."""
    backend = OnnxRuntimeBackend(tiny(tmp_path / "m.onnx"))
    made = []

    class Watched(Binding):
        def __init__(self, ort, session, entry, output, device, number):
            made.append((device, number))
            super().__init__(ort, session, entry, output, "cpu", number)

    monkeypatch.setattr(ort_backend, "Binding", Watched)
    backend.on_gpu = True
    run_from_threads(backend)
    assert made == [("cuda", 0)] * 4
    backend.close()


def test_no_onnx_runtime_at_all(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BackendMissing, match="Repair: pip install onnxruntime"):
        OnnxRuntimeBackend(tmp_path / "m.onnx")


@pytest.mark.parametrize(
    ("versions", "builds", "warns"),
    [
        ({}, [], False),
        ({"onnxruntime": "1.20"}, ["onnxruntime 1.20"], False),
        ({"onnxruntime-gpu": "1.21"}, ["onnxruntime-gpu 1.21"], False),
        ({"onnxruntime": "1.20", "onnxruntime-gpu": "1.21"}, ["onnxruntime 1.20", "onnxruntime-gpu 1.21"], True),
    ],
)
def test_shadowing(tmp_path, monkeypatch, versions, builds, warns):
    def version(name):
        if name not in versions:
            raise ort_backend.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(ort_backend.metadata, "version", version)
    assert installed_builds() == builds
    if not warns:
        assert shadowing() is None
        return
    assert shadowing().startswith("onnxruntime 1.20 and onnxruntime-gpu 1.21 are both installed and shadow each other.")
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in shadowing()
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendMissing, match="shadow each other"):
        OnnxRuntimeBackend(tmp_path / "m.onnx", "cuda")


def test_openvino_absent(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendMissing, match=r"pip install -c constraints.txt -e '\.\[openvino\]'"):
        OpenVinoBackend(tmp_path / "m.onnx", 1)


def test_openvino_present(tmp_path):
    pytest.importorskip("openvino")
    backend = OpenVinoBackend(tiny(tmp_path / "m.onnx"), 2)
    assert (backend.name, backend.provider, backend.input_dtype) == ("openvino", "CPU", "float32")
    assert backend.fixed_hw is None
    run_from_threads(backend)
    assert OpenVinoBackend(tiny(tmp_path / "f.onnx", (1, 3, 32, 64)), 1).fixed_hw == (32, 64)
    for path in (tiny(tmp_path / "r.onnx", ("n", 5)), tiny(tmp_path / "i.onnx", dtype="INT64"), tmp_path / "none.onnx"):
        with pytest.raises(ModelError):
            OpenVinoBackend(path, 1)


def test_fake_finds_the_bright_square_in_each_slot():
    tensor = np.zeros((3, 3, 32, 64), np.float32)
    tensor[0, :, 4:8, 10:30] = 1.0
    tensor[2, :2, 0:5, 0:5] = 1.0  # yellow is not white
    output = FakeBackend().run(tensor)
    np.testing.assert_allclose(output[:, 0], [[10, 4, 30, 8, 0.9, 0], [0] * 6, [0] * 6], rtol=1e-6)
    assert output.dtype == np.float32


def test_fake_fails_when_told():
    backend = FakeBackend(fail_after=2)
    tensor = np.zeros((1, 3, 32, 32), np.float32)
    backend.run(tensor)
    backend.run(tensor)
    for _ in range(2):
        with pytest.raises(BackendError, match="told to fail"):
            backend.run(tensor)
    assert backend.calls == 4
