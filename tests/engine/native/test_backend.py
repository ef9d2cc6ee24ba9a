"""The backend: what it takes, what it refuses, threads, batches, and the choice of `auto`."""

import logging
import re
import threading

import numpy as np
import pytest

from engine.config import EngineConfig
from engine.errors import BackendError, BackendMissing, ModelError
from engine.inference.backends import native
from engine.inference.backends.native import NativeBackend
from engine.inference.model import load_model
from engine.inference.native import plan as plan_module
from engine.inference.native.graph import read_graph
from engine.inference.native.pack import WeightStore
from engine_ext.convnet import FIELDS, KINDS, instruction_sets
from models.registry import DEFAULT_MODEL
from tests.assets import require_asset
from tests.engine.native.networks import Net, assert_close, expected, picture, saved
from tests.engine_ext.bf16_sets import each_bf16_set

SETS = instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the processor has no AVX2")


def small(folder, **given):
    net = Net(**given)
    source = net.silu(net.conv("images", 20, (3, 3), stride=2))
    return saved(net.model(net.conv(source, 7), net.op("Sigmoid", net.conv(source, 7, stride=2))), folder)


def dense(folder):
    """Dense 3x3 convolutions that Winograd suits, with channels that fill no block."""
    net = Net()
    source = net.silu(net.conv("images", 33, (3, 3), stride=2))
    for _ in range(2):
        source = net.silu(net.conv(source, 40, (3, 3)))
    return saved(net.model(net.conv(source, 7)), folder)


def unknown(folder):
    net = Net()
    return saved(net.model(net.op("Softplus", net.conv("images", 4))), folder)


@pytest.mark.parametrize("instruction_set", [None, *SETS])
def test_what_it_says_of_itself(tmp_path, instruction_set):
    backend = NativeBackend(small(tmp_path), (32, 32), instruction_set=instruction_set)
    assert (backend.name, backend.provider, backend.on_gpu) == ("native", instruction_set or SETS[0], False)
    assert (backend.input_dtype, backend.batch_safe, backend.fixed_hw) == ("float32", True, None)


def test_any_size_in_any_batch(tmp_path):
    path = small(tmp_path)
    backend = NativeBackend(path, (32, 32))
    for size in ((32, 32), (8, 24), (40, 12), (32, 32)):
        pictures = np.concatenate([picture(3, size, seed) for seed in range(5)])
        together = backend.run(pictures)
        assert together.dtype == np.float32
        for one, rows in zip(pictures, together, strict=True):
            assert backend.run(one[None])[0].tobytes() == rows.tobytes()
            assert_close(rows, expected(path, one[None]))
    assert backend.run(np.zeros((0, 3, 8, 8), np.float32)).shape == (0, 16 + 4, 7)


def nearly_float32(path, backend):
    """In several sizes, and the same bits in a batch as alone."""
    for size in ((32, 32), (8, 72), (40, 12)):
        pictures = np.concatenate([picture(3, size, seed) for seed in range(3)])
        together = backend.run(pictures)
        for one, rows in zip(pictures, together, strict=True):
            assert backend.run(one[None])[0].tobytes() == rows.tobytes()
            wanted = expected(path, one[None])
            away = np.abs(rows - wanted).max() / np.abs(wanted).max()
            assert 0 < away < 0.02


@each_bf16_set
def test_bf16_is_nearly_float32_in_any_batch(tmp_path, instruction_set):
    path = small(tmp_path)
    backend = NativeBackend(path, (32, 32), instruction_set=instruction_set, precision="bf16")
    assert (backend.name, backend.provider) == ("native", f"{instruction_set.removesuffix(' BF16')} bf16")
    nearly_float32(path, backend)


@pytest.mark.parametrize(
    ("instruction_set", "kinds"),
    [
        ("AVX-512", ["conv", "winograd", "winograd", "conv"]),
        ("AVX-512 BF16", ["picture_bf16", "winograd_bf16", "winograd_bf16", "conv_bf16"]),
        ("AMX", ["picture_bf16", "conv_bf16", "conv_bf16", "conv_bf16"]),
    ],
)
def test_dense_convolutions_of_each_set(tmp_path, monkeypatch, instruction_set, kinds):
    tables = []
    with monkeypatch.context() as patched:
        patched.setattr(plan_module, "ConvNet", lambda table, *_: tables.append(table))
        plan_module.plan(read_graph(dense(tmp_path)), 24, 40, WeightStore(), instruction_set)
    column = FIELDS.index("kind")
    assert [KINDS[row[column]] for row in tables[0]] == kinds


@each_bf16_set
def test_dense_convolutions_in_bf16_are_nearly_float32(tmp_path, instruction_set):
    path = dense(tmp_path)
    nearly_float32(path, NativeBackend(path, (32, 32), instruction_set=instruction_set, precision="bf16"))


def test_a_tensor_of_another_layout_in_memory(tmp_path):
    backend = NativeBackend(small(tmp_path), (32, 32))
    pictures = picture(3, (16, 24))
    turned = np.asfortranarray(pictures)
    assert backend.run(turned).tobytes() == backend.run(pictures).tobytes()


def test_a_fixed_size(tmp_path):
    backend = NativeBackend(small(tmp_path, batch=1, size=(16, 24)), (32, 32))
    assert backend.fixed_hw == (16, 24)
    assert backend.run(picture(3, (16, 24))).shape == (1, 96 + 24, 7)
    with pytest.raises(BackendError, match="the model takes 16 rows or columns here, not 24"):
        backend.run(picture(3, (24, 16)))
    half = NativeBackend(small(tmp_path, size=(16, "w")), (16, 32))
    assert half.fixed_hw is None
    half.run(picture(3, (16, 40)))
    with pytest.raises(BackendError, match="the model takes 16 rows"):
        half.run(picture(3, (32, 40)))


def test_threads_and_sizes_at_once(tmp_path):
    """Each thread has sizes of its own and shares others; all plan at the same time."""
    backend = NativeBackend(small(tmp_path), (8, 8))
    sizes = [(8, 8), (16, 24), (24, 16), (40, 40)]
    alone = NativeBackend(small(tmp_path), (8, 8))
    wanted = {size: alone.run(picture(3, size)).tobytes() for size in sizes}
    failures, barrier = [], threading.Barrier(6)

    def work(seed):
        rng = np.random.default_rng(seed)
        barrier.wait(10)
        for _ in range(60):
            size = sizes[rng.integers(len(sizes))]
            given = picture(3, size).repeat(1 + seed % 3, 0)
            if any(rows.tobytes() != wanted[size] for rows in backend.run(given)):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert failures == []
    assert len(backend._workspaces) <= 6


def test_sizes_share_their_weights(tmp_path):
    backend = NativeBackend(small(tmp_path), (8, 8))
    weights = backend._store.whole()
    backend.run(picture(3, (24, 40)))
    assert backend._store.whole() is weights


@pytest.mark.parametrize(
    ("tensor", "part"),
    [
        (np.zeros((1, 4, 32, 32), np.float32), "(1, 4, 32, 32) float32"),
        (np.zeros((1, 3, 32, 32), np.float64), "(1, 3, 32, 32) float64"),
        (np.zeros((3, 32, 32), np.float32), "(3, 32, 32) float32"),
        (np.zeros((1, 3, 0, 32), np.float32), "(1, 3, 0, 32) float32"),
    ],
)
def test_a_wrong_tensor(tmp_path, tensor, part):
    with pytest.raises(BackendError) as caught:
        NativeBackend(small(tmp_path), (32, 32)).run(tensor)
    assert str(caught.value).startswith(f"the native backend failed on a {part} tensor: ")


def test_out_of_memory_for_another_size(tmp_path, monkeypatch):
    backend = NativeBackend(small(tmp_path), (32, 32))

    def full(regions):
        raise MemoryError

    monkeypatch.setattr(plan_module, "allocate", full)
    with pytest.raises(BackendError, match=r"failed on a \(1, 3, 16, 16\) float32 tensor: it needs more memory than"):
        backend.run(picture(3, (16, 16)))
    with pytest.raises(BackendMissing, match="it needs more memory than there is"):
        NativeBackend(small(tmp_path), (32, 32))
    monkeypatch.undo()
    assert backend.run(picture(3, (16, 16))).shape == (1, 64 + 16, 7)


def test_closed(tmp_path):
    backend = NativeBackend(small(tmp_path), (32, 32))
    backend.close()
    with pytest.raises(BackendError, match="its model was freed"):
        backend.run(picture(3, (32, 32)))


def test_no_processor_for_it(tmp_path, monkeypatch):
    with pytest.raises(BackendMissing, match="this processor has no SSE9"):
        NativeBackend(small(tmp_path), (32, 32), instruction_set="SSE9")
    monkeypatch.setattr(native, "instruction_sets", lambda: ())
    with pytest.raises(BackendMissing, match="needs a processor with AVX2 and FMA"):
        NativeBackend(small(tmp_path), (32, 32))


def test_a_model_it_does_not_know(tmp_path):
    path = unknown(tmp_path)
    with pytest.raises(BackendMissing) as caught:
        NativeBackend(path, (32, 32))
    assert str(caught.value) == (
        f"{path} can't be run by --backend native: n1 (Softplus) is not supported. "
        "Repair: --backend onnxruntime, or auto"
    )


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_wrong_file(tmp_path, content):
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.onnx: "):
        NativeBackend(path, (32, 32))


# ---- which one `auto` takes ----


def loaded(**given):
    return load_model(EngineConfig(**given), 1).backend


@pytest.mark.parametrize(
    ("asked", "device", "name"),
    [("auto", "auto", "native"), ("auto", "cpu", "native"), ("native", "auto", "native"), ("native", "cpu", "native"),
     ("onnxruntime", "cpu", "onnxruntime")],
)  # fmt: skip
def test_the_bundled_model(asked, device, name):
    assert loaded(model=DEFAULT_MODEL, backend=asked, device=device).name == name


def test_auto_without_the_processor(monkeypatch, caplog):
    monkeypatch.setattr(native, "instruction_sets", lambda: ())
    with caplog.at_level(logging.INFO, logger="engine"):
        assert loaded(model=DEFAULT_MODEL).name == "onnxruntime"
    assert "ONNX Runtime computes: --backend native needs a processor with AVX2" in caplog.text
    with pytest.raises(BackendMissing, match="AVX2"):
        loaded(model=DEFAULT_MODEL, backend="native")


@pytest.mark.parametrize("file", ["yolov5n_fp16.onnx", "yolov8n_int8.onnx"])
def test_auto_with_a_model_it_does_not_know(file):
    model = str(require_asset(f"models/{file}"))
    assert loaded(model=model).name == "onnxruntime"
    # The user's file is named, not the one with free shapes in the cache.
    with pytest.raises(BackendMissing, match=f"^{re.escape(model)} can't be run by --backend native: "):
        loaded(model=model, backend="native")
