"""Precision: what a processor has, what a model and the other keys allow, and that it is told."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest

from engine import Engine, EngineConfig
from engine.choices.precision import Processor, processor
from engine.errors import BackendMissing, ConfigError
from engine.inference import in_precision as loading
from engine.inference.backends import native
from engine.resume import fingerprint
from engine_ext.convnet import bf16_instruction_sets, instruction_sets
from tests.e2e.runs import clip
from tests.models import builders
from tests.models.builders import save

XEON = "vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Processor\nflags\t\t: {}\n"
NAMES = {"layout": "yolov8", "class_names": "a,b", "device": "cpu"}


@pytest.mark.parametrize(
    ("vendor", "flags", "bf16", "int8"),
    [
        # whether it has a precision, and whether that pays
        ("GenuineIntel", "avx2", (False, False), (False, False)),
        ("GenuineIntel", "avx512_bf16 avx512_vnni", (True, False), (True, True)),
        ("GenuineIntel", "avx512_bf16 amx_bf16 amx_int8", (True, True), (True, True)),
        ("AuthenticAMD", "avx512_bf16 avx512_vnni", (True, True), (True, True)),
        ("AuthenticAMD", "avx2 avx_vnni", (False, False), (True, True)),
        ("", "", (False, False), (False, False)),
    ],
)
def test_what_a_processor_has(vendor, flags, bf16, int8):
    here = Processor("", vendor, frozenset(flags.split()))
    assert (here.lacks("f32"), here.pays("f32")) == (None, True)
    assert (here.lacks("bf16") is None, here.pays("bf16")) == bf16
    assert (here.lacks("int8") is None, here.pays("int8")) == int8


@pytest.mark.parametrize(
    ("flags", "f32", "bf16", "int8"),
    [
        ("avx2 avx512f avx512_bf16 amx_bf16 amx_int8 avx512_vnni", "AVX-512", "AMX", "AMX"),
        ("avx2 avx512f avx512_bf16 avx512_vnni", "AVX-512", "AVX-512 BF16", "AVX-512 VNNI"),
        ("avx2 avx_vnni", "AVX2", "", "AVX VNNI"),
        ("", "", "", ""),
    ],
)
def test_what_computes(flags, f32, bf16, int8):
    here = Processor("", "", frozenset(flags.split()))
    assert (here.computes("f32"), here.computes("bf16"), here.computes("int8")) == (f32, bf16, int8)


def test_the_processor_is_read(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text(2 * XEON.format("fpu avx2 amx_bf16"))
    assert processor(path) == Processor(
        "Intel(R) Xeon(R) Processor", "GenuineIntel", frozenset({"fpu", "avx2", "amx_bf16"})
    )
    assert processor(tmp_path / "none").lacks("bf16") == "AVX-512 BF16 or AMX"


@pytest.fixture
def able(monkeypatch):
    """A processor that has it all, whatever runs the tests."""
    can = Processor("Test", "AuthenticAMD", frozenset({"avx512_bf16", "avx512_vnni"}))
    monkeypatch.setattr(loading, "processor", lambda: can)


@pytest.fixture
def plain(tmp_path):
    return save(builders.yolov8(), tmp_path / "m.onnx")


@pytest.fixture
def quantized(tmp_path):
    """The same with one pair of Q/DQ nodes."""
    model = builders.yolov8()
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    scale = onnx.numpy_helper.from_array(np.float32(1 / 255), "scale")
    zero = onnx.numpy_helper.from_array(np.uint8(0), "zero")
    model.graph.initializer.extend([scale, zero])
    pair = [
        onnx.helper.make_node("QuantizeLinear", [conv.input[0], "scale", "zero"], ["q"]),
        onnx.helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
    ]
    conv.input[0] = "dq"
    nodes = [*pair, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model)
    return save(model, tmp_path / "q.onnx")


def test_what_the_processor_lacks_is_an_error(plain, monkeypatch):
    monkeypatch.setattr(loading, "processor", lambda: Processor("Old", "GenuineIntel", frozenset({"avx2"})))
    for precision, named in (("bf16", "AVX-512 BF16 or AMX"), ("int8", "VNNI or AMX")):
        with pytest.raises(BackendMissing, match=f"no {named}. Repair: --precision f32"):
            Engine(EngineConfig(model=str(plain), precision=precision, **NAMES))


def test_what_the_model_is_not_for(able, plain, quantized):
    with pytest.raises(ConfigError, match=r"is not quantized. `yolo-engine quantize .*m.onnx --calib FOLDER`"):
        Engine(EngineConfig(model=str(plain), precision="int8", **NAMES))
    with pytest.raises(ConfigError, match="its file is quantized"):
        Engine(EngineConfig(model=str(quantized), precision="bf16", **NAMES))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": "native", "precision": "int8"}, "--backend native: only openvino compute in int8"),
        ({"backend": "onnxruntime"}, "precision must be f32 with --backend onnxruntime"),
        ({"backend": "tensorrt", "device": "auto"}, "precision must be f32 on a GPU"),
        ({"device": "cuda"}, "precision must be f32 on a GPU"),
    ],
)
def test_what_another_key_speaks_against(able, plain, given, message):
    with pytest.raises(ConfigError, match=message):
        Engine(EngineConfig(**{"model": str(plain), "precision": "bf16", **NAMES, **given}))


def test_an_unknown_precision():
    with pytest.raises(ConfigError, match=r"precision must be one of 'f32', 'bf16' or 'int8'. Got 'fp16'"):
        EngineConfig(precision="fp16")


@pytest.mark.skipif(processor().lacks("bf16") is not None, reason="this processor has no bfloat16")
def test_bf16_is_told_and_is_nearly_float32(plain, tmp_path):
    pytest.importorskip("openvino")
    tensor = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    expected = onnxruntime.InferenceSession(str(plain)).run(None, {"images": tensor[:1]})[0]
    given = {"model": str(plain), **NAMES}
    with Engine(EngineConfig(precision="bf16", **given)) as engine, Engine(EngineConfig(**given)) as other:
        loaded = engine.model
        assert (loaded.precision, loaded.backend.name, loaded.backend.provider) == ("bf16", "openvino", "OpenVINO bf16")
        output = loaded.backend.run(tensor)
        np.testing.assert_array_equal(loaded.backend.run(tensor[:1])[0], output[0])  # a batch changes nothing
        away = np.abs(output[:1] - expected).max() / np.abs(expected).max()
        assert 0 < away < 0.03
        parts = [fingerprint.of_run(each.config, each.model) for each in (engine, other)]
    assert parts[0]["precision"] == "bf16"
    assert "precision" not in parts[1]
    assert fingerprint.difference(parts[1], parts[0]) == "the backend and the precision have"


@pytest.fixture
def known(tmp_path):
    """The key of a model that our executor takes, and of its file."""
    path = save(builders.yolox(), tmp_path / "known.onnx")
    return {"model": str(path), "layout": "yolox", "channel_order": "rgb", "input_scale": 1.0, "device": "cpu"}


@pytest.mark.skipif(not bf16_instruction_sets(), reason="this processor has no bfloat16")
@pytest.mark.parametrize("backend", ["auto", "native"])
def test_bf16_needs_nothing_else(known, backend, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    here = bf16_instruction_sets()[0]
    with Engine(EngineConfig(precision="bf16", backend=backend, **known)) as engine:
        loaded = engine.model
    assert (loaded.precision, loaded.backend.name) == ("bf16", "native")
    assert loaded.backend.provider in ("AMX bf16", "AVX-512 bf16")
    assert f"computes bf16 with {here}" in loaded.why


def test_bf16_that_our_executor_can_not_is_for_openvino(able, known, monkeypatch):
    monkeypatch.setattr(native, "bf16_instruction_sets", tuple)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(BackendMissing, match="--precision bf16 needs OpenVINO, which is not installed"):
        Engine(EngineConfig(precision="bf16", **known))
    with pytest.raises(BackendMissing, match=r"by --backend native in bf16: .*. Repair: --backend auto"):
        Engine(EngineConfig(precision="bf16", backend="native", **known))


@pytest.mark.skipif(processor().lacks("int8") is not None, reason="this processor has no VNNI")
def test_int8_runs_a_quantized_file(quantized):
    pytest.importorskip("openvino")
    tensor = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    expected = onnxruntime.InferenceSession(str(quantized)).run(None, {"images": tensor})[0]
    with Engine(EngineConfig(model=str(quantized), precision="int8", **NAMES)) as engine:
        assert engine.model.backend.provider == "OpenVINO int8"
        away = np.abs(engine.model.backend.run(tensor) - expected).max() / np.abs(expected).max()
    assert away < 0.02


def test_a_run_says_its_precision(tmp_path):
    with Engine(EngineConfig(backend="fake", visualize=False)) as engine:
        summary = engine.run([clip(tmp_path / "a.mp4", 3)], tmp_path / "out")
    assert summary["backend"]["precision"] == "f32"
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["config"]["precision"] == "f32"


@pytest.mark.skipif(not instruction_sets(), reason="the processor has no AVX2")
@pytest.mark.parametrize(
    ("build", "layout", "part"),
    [
        (builders.yolox, "yolox", "our executor knows all operators"),
        (builders.yolov8, "yolov8", "can't be run by --backend native"),
    ],
)
def test_what_computes_is_told(tmp_path, build, layout, part):
    path = save(build(), tmp_path / "m.onnx")
    given = NAMES | {"layout": layout, "channel_order": "rgb", "input_scale": 1.0}
    with Engine(EngineConfig(model=str(path), **given)) as engine:
        assert engine.model.why.startswith("--device cpu; ")
        assert part in engine.model.why
        assert "Repair" not in engine.model.why


def sampled(graph, picture):
    """Of an image (1, 3, 64, 64), as deformable attention samples features."""
    return graph.op("GridSample", picture, graph.const(np.zeros((1, 4, 2, 2), np.float32)))


def shuffled(graph, picture):
    """As ShuffleNet shuffles channels."""
    groups = graph.op("Reshape", graph.op("MaxPool", picture, kernel_shape=[32, 32], strides=[32, 32]),
                      graph.const(np.array([1, 3, 1, 2, 2])))  # fmt: skip
    turned = graph.op("Reshape", graph.op("Transpose", groups, perm=[0, 2, 1, 3, 4]), graph.const(np.array([1, 3, 4])))
    return graph.op("Concat", turned, turned, axis=1)


@pytest.mark.parametrize(
    ("operator", "quantized", "there", "named"),
    [
        (sampled, False, True, "deformable attention"),
        (shuffled, False, True, "shuffled channels"),
        (sampled, False, False, None),  # nothing else changes where it is not installed
        (sampled, True, True, None),
    ],
)
def test_what_openvino_computes_faster_is_its(tmp_path, monkeypatch, operator, quantized, there, named):
    if there:
        pytest.importorskip("openvino")
    else:
        monkeypatch.setitem(sys.modules, "openvino", None)
    graph = builders.Graph((1, 3, 64, 64), opset=16)
    picture = builders.dequantized(graph, "images") if quantized else "images"
    rows = graph.op("Reshape", operator(graph, picture), graph.const(np.array([1, 4, 6])))
    path = save(graph.model(rows, (1, 4, 6)), tmp_path / "m.onnx")
    given = NAMES | {"layout": "end2end", "channel_order": "rgb", "input_scale": 1.0}
    with Engine(EngineConfig(model=str(path), **given)) as engine:
        assert engine.model.backend.name == ("openvino" if named else "onnxruntime")
        assert "can't be run by --backend native" in engine.model.why
        assert f"; OpenVINO computes {named} faster" in engine.model.why or not named
        assert engine.model.backend.run(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 4, 6)
