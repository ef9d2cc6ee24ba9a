"""The ONNX that TensorRT is given: each conversion against the original, run by ONNX Runtime on the CPU."""

import collections

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from engine.errors import PlanError
from engine.inference.trt.calibrate import calibrate
from engine.inference.trt.graph import opset_of
from engine.inference.trt.quantize import quantizable, quantize, refuse_quantized, with_channel_scales
from engine.inference.trt.to_float32 import plain
from engine.inference.trt.to_half import narrow
from models.batching import batch_safe
from models.onnx_meta import load_onnx, meta_of
from tests.assets import require_asset
from tests.models import builders

FULL, HALF, BRAIN = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16


def answer(model, picture):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    dtype = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}[entry.type]
    return session.run(None, {entry.name: picture.astype(dtype)})[0]


def noise(size=(64, 64), count=1):
    return np.random.default_rng(1).random((count, 3, *size), np.float32)


def operators(model):
    return collections.Counter(node.op_type for node in model.graph.node)


def backbone(opset=13, groups=1, dtype=FULL):
    """Four convolutions in a row between picture and head, the second with `groups`, then a yolox head."""
    graph = builders.Graph((1, 3, 64, 64), dtype, opset)
    np_dtype = onnx.helper.tensor_dtype_to_np_dtype(dtype)
    x = graph.op("Relu", graph.conv("images", 3, 8, 8))
    weight = graph.const(graph.rng.normal(0, 0.3, (8, 8 // groups, 1, 1)).astype(np_dtype))
    x = graph.op("Relu", graph.op("Conv", x, weight, group=groups))
    x = graph.op("Relu", graph.conv(x, 8, 8, 1))
    head = graph.conv(x, 8, 7, 1)
    flat = graph.op("Reshape", head, graph.const(np.array([1, 7, 64])))
    return graph.model(graph.op("Transpose", flat, perm=[0, 2, 1]), (1, 64, 7))


def dynamically_quantized(*, matmul=False, per_channel=False, turned=False):
    """What ONNX Runtime's quantize_dynamic makes of a convolution (or a matrix product) with a bias. `turned`: what is
    quantized is transposed before it is multiplied."""
    graph = builders.Graph((1, 3, 64, 64))
    source = "images"
    if matmul:
        source = graph.op("Reshape", "images", graph.const(np.array([1, 192, 64] if turned else [1, 64, 192])))
    whole, scale, zero = graph.op("DynamicQuantizeLinear", source, outputs=3)
    if turned:
        whole = graph.op("Transpose", whole, perm=[0, 2, 1])
    shape = (192, 7) if matmul else (7, 3, 8, 8)
    channels = 7 if per_channel else 1
    weight = graph.const(graph.rng.integers(0, 255, shape).astype(np.uint8))
    zeros = np.full(channels, 128, np.uint8) if per_channel and matmul else np.uint8(128)
    scales = graph.rng.random(channels).astype(np.float32) / 500 + 1e-3
    if not matmul and per_channel:
        scales = scales.reshape(1, 7, 1, 1)
    attributes = {} if matmul else {"kernel_shape": [8, 8], "strides": [8, 8]}
    product = graph.op(
        "MatMulInteger" if matmul else "ConvInteger", whole, weight, zero, graph.const(zeros), **attributes
    )
    factor = graph.op("Mul", scale, graph.const(scales))
    real = graph.op("Mul", graph.op("Cast", product, to=FULL), factor)
    bias = graph.rng.normal(0, 0.1, 7 if matmul else (1, 7, 1, 1)).astype(np.float32)
    real = graph.op("Add", real, graph.const(bias))
    if matmul:
        return graph.model(real, (1, 64, 7))
    flat = graph.op("Reshape", real, graph.const(np.array([1, 7, 64])))
    return graph.model(graph.op("Transpose", flat, perm=[0, 2, 1]), (1, 64, 7))


@pytest.mark.parametrize("make", [builders.yolox, builders.yolov5, builders.yolov8, builders.end2end, backbone])
def test_plain_float32_stays_to_the_bit(make):
    model = make()
    np.testing.assert_array_equal(answer(plain(model), noise()), answer(model, noise()))


def test_halves_are_widened_exactly():
    model = backbone(dtype=HALF)
    wide = plain(model)
    assert {tensor.data_type for tensor in wide.graph.initializer} <= {FULL, TensorProto.INT64}
    assert (meta_of(wide).inputs[0].dtype, meta_of(wide).outputs[0].dtype) == ("float32", "float32")
    np.testing.assert_allclose(answer(wide, noise()), answer(model, noise()), atol=5e-3)
    onnx.checker.check_model(wide, full_check=True)


@pytest.mark.parametrize(("matmul", "turned"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_dynamic_quantization_is_undone(matmul, turned, per_channel):
    """Within the rounding of the activations to 255 steps; and the pictures of a batch no longer mix."""
    model = dynamically_quantized(matmul=matmul, per_channel=per_channel, turned=turned)
    assert not batch_safe(model)
    undone = plain(model)
    assert batch_safe(undone)
    assert not {"DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "Cast"} & set(operators(undone))
    expected = answer(model, noise())
    np.testing.assert_allclose(answer(undone, noise()), expected, atol=0.02 * np.abs(expected).max())
    onnx.checker.check_model(undone, full_check=True)


def test_whole_numbers_that_something_else_reads_are_refused():
    model = dynamically_quantized(matmul=True, turned=True)
    moved = next(node for node in model.graph.node if node.op_type == "Transpose")
    model.graph.node.append(onnx.helper.make_node("Cast", list(moved.output), ["other"], to=FULL))
    with pytest.raises(PlanError, match="can't be undone"):
        plain(model)


def test_the_real_quantized_model_is_undone():
    undone = plain(load_onnx(require_asset("models/yolov8n_int8.onnx")))
    assert operators(undone)["Conv"] == 64
    assert not {"DynamicQuantizeLinear", "ConvInteger"} & set(operators(undone))


def test_quantization_of_another_kind_is_named():
    with pytest.raises(PlanError, match=r"DynamicQuantizeLinear|DequantizeLinear.*can't be undone"):
        plain(builders.quantized())


def test_a_graph_in_a_graph_is_refused():
    graph = builders.Graph()
    inner = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["images"], ["inner"])], "i", [],
        [onnx.helper.make_tensor_value_info("inner", FULL, (1, 3, 64, 64))],
    )  # fmt: skip
    model = graph.model(
        graph.op("If", graph.const(np.array(True)), then_branch=inner, else_branch=inner), (1, 3, 64, 64)
    )
    with pytest.raises(PlanError, match=r"\(If\) holds a graph of its own"):
        plain(model)


@pytest.mark.parametrize(
    "make", [builders.yolox, builders.yolov5, builders.yolov8, builders.end2end, builders.attention]
)
def test_half_answers_as_full(make):
    model = plain(make())
    half = narrow(model, "float16")
    onnx.checker.check_model(half, full_check=True)
    assert (meta_of(half).inputs[0].dtype, meta_of(half).outputs[0].dtype) == ("float16", "float32")
    expected = answer(model, noise())
    np.testing.assert_allclose(answer(half, noise()), expected, atol=4e-3 * np.abs(expected).max())


def types_at(model, op_type):
    """Element types of the weights and constants that operators of a type read."""
    weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    return {weights[n] for node in model.graph.node if node.op_type == op_type for n in node.input if n in weights}


def test_pixels_stay_full_behind_the_last_convolution():
    """YOLOv8's anchors and strides are 32 bits: a half has steps of 0.5 from 512 pixels on."""
    half = narrow(plain(builders.yolov8()), "float16")
    assert types_at(half, "Conv") == {HALF}
    assert types_at(half, "Mul") == types_at(half, "Add") == {FULL}


def test_a_weight_read_on_both_sides_has_both_types():
    graph = builders.Graph()
    two = graph.const(np.float32(1.0009765))  # no half
    head = graph.conv(graph.op("Mul", "images", two), 3, 7, 32)
    flat = graph.op("Mul", graph.op("Reshape", head, graph.const(np.array([1, 4, 7]))), two)
    half = narrow(plain(graph.model(flat, (1, 4, 7))), "float16")
    assert types_at(half, "Mul") == {HALF, FULL}


def test_an_output_of_a_convolution_is_given_out_full():
    graph = builders.Graph()
    model = graph.model(graph.conv("images", 3, 7, 32), (1, 7, 2, 2))
    model.graph.node.remove(model.graph.node[-1])  # the Identity
    model.graph.node[0].output[0] = "output"
    half = narrow(plain(model), "float16")
    assert [node.op_type for node in half.graph.node] == ["Conv", "Cast"]
    assert answer(half, noise()).dtype == np.float32


def test_a_picture_also_read_in_full_stays_full():
    graph = builders.Graph()
    mean = graph.op("ReduceMean", "images", axes=[2, 3], keepdims=1)
    head = graph.op("Reshape", graph.conv("images", 3, 3, 32), graph.const(np.array([1, 3, 4])))
    model = graph.model(graph.op("Add", head, graph.op("Reshape", mean, graph.const(np.array([1, 3, 1])))), (1, 3, 4))
    assert meta_of(narrow(plain(model), "float16")).inputs[0].dtype == "float32"


def test_a_weight_too_large_for_a_half_is_named():
    model = backbone()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((8, 3, 8, 8), 1e5, np.float32), "c0"))
    with pytest.raises(PlanError, match=r"constant c0 reaches 1e\+05, which no float16 holds. Use --precision bf16."):
        narrow(plain(model), "float16")
    assert types_at(narrow(plain(model), "bfloat16"), "Conv") == {BRAIN}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (1.0, 1.0),
        (-2.5, -2.5),
        (1.00390625, 1.0),  # half a step: to the even one below
        (1.01171875, 1.015625),  # half a step: to the even one above
        (3.0e38, 3.004e38),  # far beyond a half
    ],
)
def test_bfloat16_rounds_to_the_nearest(value, kept):
    from engine.inference.trt.to_half import bits_of

    (bits,) = bits_of(np.array([value], np.float32), "bfloat16")
    assert np.uint32(int(bits) << 16).view(np.float32) == pytest.approx(kept, rel=1e-3)
    assert abs(float(np.uint32(int(bits) << 16).view(np.float32)) - kept) <= abs(kept) * 1e-3


def test_resize_keeps_its_scales():
    model = plain(builders.attention())
    np.testing.assert_allclose(answer(narrow(model, "float16"), noise()), answer(model, noise()), atol=2e-3)


def thresholds(model):
    return calibrate(model, [noise(), noise() * 0.5])


def test_int8_is_explicit_and_answers_alike():
    model = plain(backbone())
    whole = quantize(model, thresholds(model))
    onnx.checker.check_model(whole, full_check=True)
    assert operators(whole)["QuantizeLinear"] == 2
    assert operators(whole)["DequantizeLinear"] == 4  # two activations, two weights
    weights = {tensor.name: tensor for tensor in whole.graph.initializer}
    stored = [t for t in weights.values() if t.data_type == TensorProto.INT8 and t.dims]
    assert {len(t.dims) for t in stored} == {1, 4}  # zero points, weights
    expected = answer(model, noise())
    np.testing.assert_allclose(answer(whole, noise()), expected, atol=0.03 * np.abs(expected).max())


def test_first_last_and_depthwise_convolutions_stay_full():
    assert len(quantizable(plain(backbone()))) == 2
    assert len(quantizable(plain(backbone(groups=8)))) == 1
    assert quantizable(plain(builders.yolox())) == []  # its convolutions are first and last at once


def test_an_old_opset_is_raised_for_the_scales_of_channels():
    model = plain(backbone(opset=11))
    newer = with_channel_scales(model)
    assert (opset_of(model), opset_of(newer)) == (11, 13)
    np.testing.assert_array_equal(answer(newer, noise()), answer(model, noise()))
    onnx.checker.check_model(quantize(newer, thresholds(newer)), full_check=True)


def test_what_is_quantized_is_not_quantized_again():
    model = plain(backbone())
    with pytest.raises(PlanError, match="quantized already"):
        refuse_quantized(quantize(model, thresholds(model)))
