"""Networks that do more than convolve at their end: the numbers are ONNX Runtime's, or they are refused."""

import random
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import helper

from engine.inference.backends.native import NativeBackend
from engine.inference.backends.onnxruntime import OnnxRuntimeBackend
from engine.inference.native.end import EndedGraph, EndedNet
from engine.inference.native.graph import read_graph
from engine.inference.native.ops import Unsupported
from engine.inference.native.pack import WeightStore
from engine.inference.trt.to_float32 import plain
from engine_ext.convnet import instruction_sets
from models.onnx_meta import load_onnx
from tests.assets import require_asset
from tests.engine.native.networks import Net, assert_close, expected, picture, right_or_refused, saved
from tests.engine.native.test_networks import attention

SETS = instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the processor has no AVX2")

ANCHORS, FIELDS = 3, 7
BINS, CLASSES = 16, 5


def split(net, source, sizes, axis):
    names = [f"t{len(net.nodes)}_{i}" for i in range(len(sizes))]
    given = [source, net.const(sizes, np.int64)]
    net.nodes.append(helper.make_node("Split", given, names, name=f"n{len(net.nodes)}", axis=axis))
    net.channels.update(zip(names, sizes, strict=True))
    return names


def size_of(net, tensor, axis):
    return net.op("Gather", net.op("Shape", tensor), net.const([axis], np.int64), axis=0)


def steps_along(net, count):
    """0, 1, 2, ... as floats, `count` of them, (1,) int64."""
    scalar = net.op("Reshape", count, net.const(np.zeros(0), np.int64))
    whole = net.op("Range", net.const(0, np.int64), scalar, net.const(1, np.int64))
    return net.op("Cast", whole, to=onnx.TensorProto.FLOAT)


def two_levels(net):
    source = net.silu(net.conv("images", 24, (3, 3), stride=2))
    return source, net.silu(net.conv(source, 40, (3, 3), stride=2))


def anchors_with_a_grid(net):
    """Levels of anchors as YOLOv5 decodes them: a sigmoid, a grid made of sizes, and two of seven fields changed."""
    rows = []
    for level, source in enumerate(two_levels(net)):
        head = net.conv(source, ANCHORS * FIELDS)
        sizes = [size_of(net, head, axis) for axis in (0, 2, 3)]
        shape = net.op("Concat", sizes[0], net.const([ANCHORS, FIELDS], np.int64), *sizes[1:], axis=0)
        moved = net.op("Transpose", net.op("Reshape", head, shape), perm=[0, 1, 3, 4, 2])
        place, size, rest = split(net, net.op("Sigmoid", moved), [1, 1, FIELDS - 2], 4)
        column = net.op("Reshape", steps_along(net, sizes[2]), net.const([1, 1, 1, -1, 1], np.int64))
        place = net.op("Mul", net.op("Add", place, column), net.const(8.0 * (level + 1)))
        anchors = net.const(np.arange(1, ANCHORS + 1).reshape(1, ANCHORS, 1, 1, 1))
        size = net.op("Mul", net.op("Pow", size, net.const(2.0)), anchors)
        whole = net.op("Concat", place, size, rest, axis=4)
        rows.append(net.op("Reshape", whole, net.const([0, -1, FIELDS], np.int64)))
    return net.op("Concat", *rows, axis=1)


def chances_of_bins(net, bins):
    """As YOLOv8 decodes: (1, 4, BINS, N) -> (1, BINS, 4, N)."""
    return net.op("Softmax", net.op("Transpose", bins, perm=[0, 2, 1, 3]), axis=1)


def distribution(net, *more, count=BINS, chances_of=chances_of_bins):
    """Boxes as means of a distribution, as YOLOv8 decodes them, classes beside them, columns first."""
    boxes, classes = [], []
    for source in (*more, *two_levels(net)):
        boxes.append(net.op("Reshape", net.conv(source, 4 * count), net.const([0, 4 * count, -1], np.int64)))
        classes.append(net.op("Reshape", net.conv(source, CLASSES), net.const([0, CLASSES, -1], np.int64)))
    joined = net.op("Concat", *boxes, axis=2)
    chances = chances_of(net, net.op("Reshape", joined, net.const([0, 4, count, -1], np.int64)))
    weight = net.const(np.arange(count).reshape(1, count, 1, 1))
    mean = net.op("Reshape", net.op("Conv", chances, weight), net.const([0, 4, -1], np.int64))
    near, far = (net.slice(mean, 1, first, first + 2) for first in (0, 2))
    box = net.op("Concat", net.op("Sub", far, near), net.op("Add", near, far), axis=1)
    return net.op("Concat", box, net.op("Sigmoid", net.op("Concat", *classes, axis=2)), axis=1)


def one_level_together(net):
    """Boxes and classes in one tensor, parted behind it; a sigmoid of a part is not of all."""
    head = net.conv(two_levels(net)[1], 4 + CLASSES)
    box, classes = split(net, net.op("Reshape", head, net.const([0, 4 + CLASSES, -1], np.int64)), [4, CLASSES], 1)
    return net.op("Concat", net.op("Mul", box, net.const(4.0)), net.op("Sigmoid", classes), axis=1)


def halves_of_a_convolution(net):
    """Channels that are parted in the middle of a network, as in the blocks of YOLOv8."""
    first, second = split(net, net.silu(net.conv(two_levels(net)[0], 32)), [16, 16], 1)
    third = net.op("Add", net.conv(second, 16, (3, 3)), second)
    head = net.conv(net.concat(first, second, third), 6)
    return net.op("Sqrt", net.op("Sigmoid", net.rows(head)))


def constants_of_a_channel(net):
    """A bias that an exporter left beside its convolution."""
    head = net.conv(two_levels(net)[1], 6, bias=False)
    head = net.op("Add", net.op("Mul", head, net.const(0.5)), net.const(np.arange(6).reshape(1, 6, 1, 1)))
    return net.op("Neg", net.op("Sigmoid", net.rows(head)))


def the_best(net):
    """The best cells, then the best classes among them, as YOLO26 chooses its boxes for one image."""
    rows = distribution(net)
    box, classes = split(net, net.op("Transpose", rows, perm=[0, 2, 1]), [4, CLASSES], 2)
    count = net.const([6], np.int64)
    last = net.const([-1], np.int64)
    most = net.op("ReduceMax", classes, axes=[-1], keepdims=0)
    places = f"t{len(net.nodes)}_places"
    net.nodes.append(helper.make_node("TopK", [most, count], [f"{places} values", places], name="cells", axis=-1))
    cells = net.op("Unsqueeze", places, last)
    spread = net.op("Tile", cells, net.const([1, 1, CLASSES], np.int64))
    flat = net.op("Flatten", net.op("GatherElements", classes, spread, axis=1), axis=1)
    net.nodes.append(helper.make_node("TopK", [flat, count], ["best", "which"], name="scores", axis=-1, largest=1))
    cell = net.op("Div", "which", net.const(CLASSES, np.int64))
    kind = net.op("Cast", net.op("Mod", "which", net.const(CLASSES, np.int64)), to=onnx.TensorProto.FLOAT)
    chosen = net.op("GatherElements", cells, net.op("Unsqueeze", cell, last), axis=1)
    boxes = net.op("GatherElements", box, net.op("Tile", chosen, net.const([1, 1, 4], np.int64)), axis=1)
    return net.op("Concat", boxes, net.op("Unsqueeze", "best", last), net.op("Unsqueeze", kind, last), axis=2)


def bins_behind_attention(net):
    """A distribution's mean is of the end although the network has a softmax of another kind before it."""
    return distribution(net, attention(depth=16, width=16)(net))


def softmax_in_the_middle(net):
    """As YOLO11 decodes them: the bins are last, and moved behind the softmax, too."""

    def chances(net, bins):
        last = net.op("Softmax", net.op("Transpose", bins, perm=[0, 3, 1, 2]), axis=-1)
        return net.op("Transpose", last, perm=[0, 3, 2, 1])

    return distribution(net, count=32, chances_of=chances)


def few_bins(net):
    return distribution(net, count=8)


def chances_that_are_also_read_elsewhere(net):
    rows = distribution(net)
    softmax = next(node for node in net.nodes if node.op_type == "Softmax")
    return net.op("Concat", rows, net.op("ReduceMax", softmax.output[0], axes=[1], keepdims=0), axis=1)


def softmax_over_the_sides(net):
    """Not over the bins, whose mean follows."""

    def chances(net, bins):
        return net.op("Softmax", net.op("Transpose", bins, perm=[0, 2, 1, 3]), axis=2)

    return distribution(net, chances_of=chances)


def parts_of_a_view(net):
    """Parted and joined again behind an operator whose result has the order of the rows that it reads."""
    first, second = split(net, net.op("Neg", net.conv("images", 8, (3, 3), stride=2)), [4, 4], 1)
    return net.rows(net.op("Concat", first, second, axis=1))


def means_alone(net, weight, chances_of=chances_of_bins):
    bins = net.op("Reshape", net.conv(two_levels(net)[0], 4 * BINS), net.const([0, 4, BINS, -1], np.int64))
    return net.op("Reshape", net.op("Conv", chances_of(net, bins), weight), net.const([0, 4, -1], np.int64))


def weights_that_are_a_view(net):
    return means_alone(net, net.slice(net.const(np.arange(2 * BINS).reshape(1, BINS, 1, 2)), 3, 0, 1))


ENDS = [
    anchors_with_a_grid,
    distribution,
    one_level_together,
    halves_of_a_convolution,
    constants_of_a_channel,
    the_best,
    bins_behind_attention,
    softmax_in_the_middle,
    few_bins,
    chances_that_are_also_read_elsewhere,
    softmax_over_the_sides,
    parts_of_a_view,
    weights_that_are_a_view,
]


def planned(path, size=(16, 24), instruction_set=None):
    return EndedGraph(read_graph(path)).plan(*size, WeightStore(), instruction_set or SETS[0])


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("build", ENDS)
def test_the_numbers(tmp_path, build, instruction_set):
    net = Net()
    path = saved(net.finish(build(net)), tmp_path)
    backend = NativeBackend(path, (16, 24), instruction_set=instruction_set)
    for size in ((16, 24), (32, 8)):
        pictures = np.concatenate([picture(3, size, seed) for seed in range(3)])
        together = backend.run(pictures)
        for one, rows in zip(pictures, together, strict=True):
            assert backend.run(one[None])[0].tobytes() == rows.tobytes()
            assert_close(rows, expected(path, one[None]))


@pytest.mark.parametrize(
    ("build", "fused"),
    [
        (distribution, True),
        (softmax_in_the_middle, True),
        (weights_that_are_a_view, True),
        (few_bins, False),
        (chances_that_are_also_read_elsewhere, False),
        (softmax_over_the_sides, False),
    ],
)
def test_means_are_made_of_what_a_softmax_reads(tmp_path, build, fused):
    net = Net()
    found = planned(saved(net.finish(build(net)), tmp_path))
    kinds = [step.node.op_type for step in found.end.steps]
    assert ("Softmax" not in kinds) == fused


@pytest.mark.parametrize("instruction_set", SETS)
def test_a_softmax_of_old_over_the_last_axis(tmp_path, instruction_set):
    """As PyTorch writes them before opset 13, where others are over all axes from theirs on."""
    net = Net(opset=12)

    def chances(net, bins):
        last = net.op("Softmax", net.op("Transpose", bins, perm=[0, 3, 1, 2]), axis=3)
        return net.op("Transpose", last, perm=[0, 3, 2, 1])

    rows = means_alone(net, net.const(np.arange(BINS).reshape(1, BINS, 1, 1)), chances)
    path, given = saved(net.finish(rows), tmp_path), picture(3, (16, 24))
    backend = NativeBackend(path, (16, 24), instruction_set=instruction_set)
    assert_close(backend.run(given)[0], expected(path, given))


@pytest.mark.parametrize("given", [{}, {"axis": 1}, {"axis": -3}])
def test_a_softmax_of_old_over_several_axes_is_refused(tmp_path, given):
    net = Net(opset=12)

    def chances(net, bins):
        return net.op("Softmax", net.op("Transpose", bins, perm=[0, 2, 1, 3]), **given)

    rows = means_alone(net, net.const(np.arange(BINS).reshape(1, BINS, 1, 1)), chances)
    with pytest.raises(Unsupported, match="is over several axes"):
        planned(saved(net.finish(rows), tmp_path))


def test_rounding_of_a_mean_is_no_effect_of_the_batch(tmp_path):
    """What is left of a mean beside an anchor, in pixels: digits that differ between two ways to sum."""
    net = Net()
    rows = net.op("Mul", net.op("Sub", distribution(net), net.const(BINS - 1.0)), net.const(1000.0))
    assert isinstance(planned(saved(net.finish(rows), tmp_path)), EndedNet)


@pytest.mark.parametrize(("build", "in_place"), [(anchors_with_a_grid, True), (distribution, False)])
def test_rows_are_written_where_they_stay(tmp_path, build, in_place):
    net = Net()
    found = planned(saved(net.finish(build(net)), tmp_path))
    assert isinstance(found, EndedNet)
    assert found.in_place == in_place


def batch_in_a_number(net):
    rows = net.op("Sigmoid", net.rows(net.op("Neg", net.conv("images", 4))))
    return net.op("Mul", rows, net.op("Cast", size_of(net, "images", 0), to=onnx.TensorProto.FLOAT))


def mean_over_the_batch(net):
    rows = net.rows(net.op("Neg", net.conv("images", 4)))
    return net.op("Softmax", rows, axis=0)


def two_widths(net):
    first, second = two_levels(net)
    one, other = net.rows(net.conv(first, 4)), net.rows(net.conv(second, 5))
    return net.op("Concat", net.op("Neg", one), net.op("Neg", net.slice(other, 1, 0, 4)), axis=2)


def convolved_chances(net):
    weights = net.op("Softmax", net.conv("images", 8), axis=1)
    return net.op("Neg", net.rows(net.conv(weights, 4)))


REFUSED = {
    "an operator that is not known": (lambda net: net.op("Erf", net.rows(net.conv("images", 4))), "(Erf)"),
    "computes with the batch size": (batch_in_a_number, "computes with the batch size"),
    "sums over the batch": (mean_over_the_batch, "computes with the batch size"),
    "levels of two widths": (two_widths, "in several widths"),
    "a convolution behind a softmax": (convolved_chances, "stands behind a softmax"),
    "nothing behind": (lambda net: net.conv("images", 4), "has no end"),
    "a picture": (lambda net: net.op("Neg", net.conv("images", 4)), "its output is"),
    "whole numbers": (
        lambda net: net.op("Cast", net.rows(net.conv("images", 4)), to=onnx.TensorProto.INT64), "in float32"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "part"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path, build, part):
    net = Net()
    path = tmp_path / "model.onnx"
    path.write_bytes(net.finish(build(net)).SerializeToString())
    with pytest.raises(Unsupported) as caught:
        planned(path)
    assert part in str(caught.value)


def test_damaged_ends_are_refused_or_right(tmp_path):
    """Random changes to sound files: an answer that is given is ONNX Runtime's."""
    rng = random.Random(5)
    given = picture(3, (8, 16))
    found = Counter()
    for _ in range(120):
        net = Net()
        graph_model = net.finish(rng.choice(ENDS)(net))
        graph = graph_model.graph
        node = graph.node[rng.randrange(len(graph.node))]
        how = rng.randrange(4)
        if how == 0 and node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice(graph.node).output[0]
        elif how == 1:
            tensor = rng.choice(graph.initializer)
            values = onnx.numpy_helper.to_array(tensor).copy()
            values.reshape(-1)[rng.randrange(max(1, values.size))] = rng.choice([-1, 0, 1, 2, 3])
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        elif how == 2:
            node.op_type = rng.choice(["Neg", "Sigmoid", "Add", "Mul", "Concat", "Transpose", "Softmax"])
        else:
            del node.input[-1:]
        found[right_or_refused(tmp_path / "model.onnx", graph_model, given, planned)] += 1
    assert found["right"] > 10
    assert found["refused"] > 20


@pytest.mark.slow
@pytest.mark.parametrize("file", ["yolov5n_fp16.onnx", "yolov8n_int8.onnx"])
def test_real_models_in_plain_float32(tmp_path, file):
    """Their weights as floats: what exporters write who do not quantize. As they are, of one size."""
    path = tmp_path / "model.onnx"
    onnx.save(plain(load_onnx(require_asset(f"models/{file}"))), str(path))
    native, reference = NativeBackend(path, (640, 640)), OnnxRuntimeBackend(path)
    given = np.random.default_rng(1).random((1, 3, 640, 640), np.float32)
    np.testing.assert_allclose(native.run(given), reference.run(given), rtol=1e-3, atol=5e-3)
