"""quantize: a file that says all of itself, runs everywhere, and keeps in float32 what costs most."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest

from engine import EngineConfig
from engine.choices.precision import processor
from engine.cli.group import commands
from engine.errors import ConfigError, ModelError
from engine.inference.backends.onnxruntime import OnnxRuntimeBackend
from engine.inference.backends.openvino import OpenVinoBackend
from engine.inference.trt.quantize import signed
from engine.records import Detections
from engine.verification.agreement import Agreement
from engine.verification.quantize import quantize_model
from models.resolution import resolve
from tests.models.builders import STRIDES, Graph, cell_count, save


def detections(*rows):
    """(x1, y1, x2, y2, score, class) each."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(np.ascontiguousarray(table[:, :4]), table[:, 4], table[:, 5].astype(np.int32))


BOX, NEAR, FAR = (0, 0, 10, 10), (0, 0, 10, 9), (0, 0, 10, 7)


@pytest.mark.parametrize(
    ("one", "other", "f1"),
    [
        ([], [], 1.0),
        ([(*BOX, 0.9, 0)], [], 0.0),
        ([(*BOX, 0.9, 0)], [(*NEAR, 0.5, 0)], 1.0),
        ([(*BOX, 0.9, 0)], [(*FAR, 0.9, 0)], 0.0),
        ([(*BOX, 0.9, 0)], [(*BOX, 0.9, 1)], 0.0),  # another class
        ([(*BOX, 0.9, 0), (*NEAR, 0.8, 0)], [(*BOX, 0.9, 0)], 2 / 3),  # each with one other at most
    ],
)
def test_agreement(one, other, f1):
    agreement = Agreement()
    agreement.add(detections(*one), detections(*other))
    assert agreement.f1 == pytest.approx(f1)


def chain(classes=2, size=(64, 64)):
    """A raw yolox grid behind four convolutions, of which the middle ones may be quantized."""
    graph = Graph((1, 3, *size))
    x = graph.op("Relu", graph.conv("images", 3, 8, 2))
    for _ in range(3):
        x = graph.op("Relu", graph.conv(x, 8, 8, 1))
    flat = []
    for stride in STRIDES:
        head = graph.conv(x, 8, 5 + classes, stride // 2)
        flat.append(graph.op("Reshape", head, graph.const(np.array([1, 5 + classes, -1]))))
    rows = graph.op("Sigmoid", graph.op("Transpose", graph.op("Concat", *flat, axis=2), perm=[0, 2, 1]))
    return graph.model(rows, (1, cell_count(*size), 5 + classes))


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "calib"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        small = rng.integers(0, 255, (6, 8, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(small, (80, 60), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture
def config(tmp_path):
    return EngineConfig(
        model=str(save(chain(), tmp_path / "m.onnx")),
        layout="yolox",
        class_names=["person", 'a "b", ä'],
        channel_order="bgr",
        input_scale=(0.1, 0.2, 0.3),
        input_mean=(1, 2, 3),
    )


def test_the_file_says_all_of_itself_and_runs(tmp_path, config, pictures):
    target = tmp_path / "q.onnx"
    said = []
    made = quantize_model(config, pictures, target, aim=0.0, say=said.append)
    assert (made.path, made.convolutions, made.in_float, made.images) == (target, 3, (), 2)
    assert said == ["Calibrating with 6 images, comparing on 2 others."]
    before, after = resolve(config.model, layout="yolox", classes=config.class_names, channel_order="bgr",
                            scale=(0.1, 0.2, 0.3), mean=(1, 2, 3)).manifest, resolve(target).manifest  # fmt: skip
    assert (after.layout, after.classes, after.input) == (before.layout, before.classes, before.input)
    model = onnx.load(target)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QuantizeLinear") == 3
    calibration = cv2.imread(str(pictures / "0.png"))[:48, :64].transpose(2, 0, 1).astype(np.float32)
    tensor = np.zeros((1, 3, 64, 64), np.float32)
    tensor[0, :, :48] = (calibration - np.array([1, 2, 3])[:, None, None]) * np.array([0.1, 0.2, 0.3])[:, None, None]
    one, other = (
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"images": tensor})[0]
        for path in (config.model, str(target))
    )
    assert 0 < np.abs(one - other).max() < 0.1


@pytest.mark.skipif(processor().lacks("int8") is not None, reason="this processor has no VNNI")
def test_openvino_and_onnx_runtime_compute_the_file_alike(tmp_path, config, pictures):
    pytest.importorskip("openvino")
    target = tmp_path / "q.onnx"
    quantize_model(config, pictures, target, aim=0.0, say=[].append)
    tensor = np.random.default_rng(0).random((1, 3, 64, 64), np.float32) * 25
    one, other = OpenVinoBackend(target, 1, precision="int8").run(tensor), OnnxRuntimeBackend(target).run(tensor)
    original = OnnxRuntimeBackend(Path(config.model)).run(tensor)
    assert np.abs(one - other).max() < 0.02
    assert np.abs(one - original).max() > 0


def test_tensorrt_gets_signed_numbers_that_are_the_same(tmp_path, config, pictures):
    target = tmp_path / "q.onnx"
    quantize_model(config, pictures, target, aim=0.0, say=print)
    model = onnx.load(target)
    weights = {tensor.name: tensor.data_type for tensor in signed(model).graph.initializer}
    zeros = {node.input[2] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert {weights[name] for name in zeros} == {onnx.TensorProto.INT8}
    tensor = {"images": np.random.default_rng(1).random((1, 3, 64, 64), np.float32) * 255}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    one, other = (
        onnxruntime.InferenceSession(each.SerializeToString(), options).run(None, tensor)[0]
        for each in (model, signed(model))
    )
    np.testing.assert_array_equal(one, other)


def test_what_loses_too_much_is_refused_and_nothing_is_written(tmp_path, config, pictures, monkeypatch):
    monkeypatch.setattr("engine.verification.agreement.Agreement.f1", 0.5)
    said = []
    with pytest.raises(ModelError, match=r"agrees by only 0\.500, below the aim of 0\.9 .* --aim 0\.5 accepts that"):
        quantize_model(config, pictures, tmp_path / "q.onnx", aim=0.9, say=said.append)
    assert said[-1] == "Agreement is 0.500, below the aim of 0.9: ranking 3 convolutions."
    assert not (tmp_path / "q.onnx").exists()


def test_the_costliest_stay_in_float32(tmp_path, config, pictures, monkeypatch):
    answers = iter([0.5, 0.95])
    monkeypatch.setattr("engine.verification.agreement.Agreement.f1", property(lambda self: next(answers)))
    made = quantize_model(config, pictures, tmp_path / "q.onnx", aim=0.9, say=print)
    assert (made.convolutions, len(made.in_float)) == (2, 1)
    model = onnx.load(tmp_path / "q.onnx")
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == 2


def test_a_quantized_file_is_compared_with_its_float_form(tmp_path, config, pictures, monkeypatch):
    different = chain()
    for weight in different.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT:
            weight.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(weight), weight.name))
    monkeypatch.setattr("engine.verification.quantize.plain", lambda _: different)
    monkeypatch.setattr("engine.verification.quantize.quantize", lambda model, *_, **__: model)
    made = quantize_model(config.updated(conf=0.05), pictures, tmp_path / "q.onnx", aim=0, say=print)
    assert made.f1 == 1.0


def test_a_model_is_never_replaced_by_what_is_made_of_it(tmp_path, config, pictures):
    model = tmp_path / "m.onnx"
    model.write_bytes(b"a model")
    with pytest.raises(ConfigError, match="is the model itself, and would be overwritten"):
        quantize_model(config.updated(model=str(model)), pictures, tmp_path / "." / "m.onnx", say=print)
    assert model.read_bytes() == b"a model"


@pytest.mark.parametrize(
    ("change", "target", "error", "message"),
    [
        ({}, "q.plan", ConfigError, r"--output must name an ONNX file, such as q\.onnx"),
        ({"model": "yolox-nano-quantised"}, "q.onnx", ModelError, "neither a model of the zoo nor a file"),
    ],
)
def test_what_can_t_be_made(tmp_path, config, pictures, change, target, error, message):
    with pytest.raises(error, match=message):
        quantize_model(config.updated(**change), pictures, tmp_path / target, say=print)


def test_a_quantized_model_is_refused(tmp_path, config, pictures):
    quantize_model(config, pictures, tmp_path / "q.onnx", aim=0.0, say=print)
    with pytest.raises(ModelError, match="quantized already"):
        quantize_model(EngineConfig(model=str(tmp_path / "q.onnx")), pictures, tmp_path / "r.onnx", say=print)


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_a_folder_that_is_of_no_use(tmp_path, config, content):
    folder = tmp_path / "calib"
    folder.mkdir()
    if content is not None:
        (folder / "a.jpg").write_bytes(content)
    with pytest.raises(ConfigError, match="--calib"):
        quantize_model(config, folder, tmp_path / "q.onnx", say=print)


def test_the_command_says_what_it_made(tmp_path, config, pictures, capsys):
    target = tmp_path / "q.onnx"
    commands(
        ["quantize", config.model, "--calib", str(pictures), "-o", str(target), "--aim", "0", "--layout", "yolox",
         "--channel-order", "bgr", "--input-scale", "1"],
        standalone_mode=False,
    )  # fmt: skip
    out = capsys.readouterr().out
    assert out.startswith(f"{target}: 3 convolutions in 8-bit integers. On 2 images it agrees with the float model by ")
    assert out.endswith(f"Run it with --model {target} --precision int8\n")
