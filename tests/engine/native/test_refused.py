"""Models that are refused: whatever is not known to be right is left to ONNX Runtime, with a reason."""

import random
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine.inference.native import plan as plan_module
from engine.inference.native import trace as trace_module
from engine.inference.native.graph import read_graph
from engine.inference.native.ops import Unsupported
from engine.inference.native.pack import WeightStore
from engine.inference.native.plan import plan
from engine_ext.convnet import instruction_sets
from models.errors import OnnxFileError
from tests.engine.native.networks import Net, picture, right_or_refused, saved
from tests.engine.native.test_networks import RESULTS, area_attention, first, random_network

SETS = instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the processor has no AVX2")


def planned(path, size=(16, 16)):
    return plan(read_graph(path), *size, WeightStore(), SETS[0])


def shown(build, **given):
    """A network that shows what `build` makes."""

    def make():
        net = Net(**given)
        return net.model(build(net))

    return make


def conv_with(**attributes):
    return shown(lambda net: net.conv(first(net), 16, (3, 3), **attributes))


def pool_with(**attributes):
    return shown(lambda net: net.op("MaxPool", first(net), kernel_shape=[2, 2], strides=[2, 2], **attributes))


def resized(scales, **attributes):
    return shown(lambda net: net.op("Resize", first(net), "", net.const(scales), **attributes))


def changed(change, build=None):
    """A sound network, then `change`d."""

    def make():
        net = Net()
        model = net.model((build or first)(net))
        change(model.graph)
        return model

    return make


def drop_weights(graph):
    del graph.initializer[0]


def turn_around(graph):
    nodes = list(graph.node)[::-1]
    del graph.node[:]
    graph.node.extend(nodes)


def drop_attribute(kind, name):
    def change(graph):
        for node in graph.node:
            if node.op_type == kind:
                kept = [attribute for attribute in node.attribute if attribute.name != name]
                del node.attribute[:]
                node.attribute.extend(kept)

    return changed(change)


def foreign_operator(graph):
    graph.node[0].domain = "com.example"


def half_weights(graph):
    weight = onnx.numpy_helper.to_array(graph.initializer[0]).astype(np.float16)
    graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, graph.initializer[0].name))


def flat_weights(graph):
    weight = onnx.numpy_helper.to_array(graph.initializer[0]).reshape(20, -1)
    graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, graph.initializer[0].name))


def negative_weights(graph):
    graph.initializer[0].dims[0] *= -1


def outside_weights(graph):
    tensor = graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def constant_outside(location):
    """A Constant whose value is in a second file: one that is there, or not."""

    def change(graph):
        tensor = onnx.numpy_helper.from_array(np.ones((20, 3, 3, 3), np.float32))
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)
        node = helper.make_node("Constant", [], ["outside"], value=tensor)
        graph.node[0].input[1] = "outside"
        graph.node.insert(0, node)

    return changed(change)


def with_attribute(kind, name, value, build=None):
    """A network with an attribute that does not belong there, or is of the wrong kind."""

    def change(graph):
        node = next(node for node in graph.node if node.op_type == kind)
        kept = [attribute for attribute in node.attribute if attribute.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return changed(change, build)


def leaky(net):
    return net.op("LeakyRelu", first(net))


def normalized(net):
    return net.op("BatchNormalization", first(net), *(net.const(np.ones(20)) for _ in range(4)))


def twice_as_large(net):
    return net.op("Resize", first(net), "", net.const([1, 1, 2, 2]), coordinate_transformation_mode="asymmetric",
                  nearest_mode="floor", mode="nearest")  # fmt: skip


def grown(net):
    """A constant larger than any weight, which nothing reads."""
    net.op("Add", net.const(np.ones((40000, 1))), net.const(np.ones((1, 40000))))
    return first(net)


def grown_by_indices(net):
    net.op("Gather", net.const(np.ones((1, 40000))), net.const(np.zeros(40000), np.int64))
    return first(net)


def doubled_picture(net):
    source = "images"
    for _ in range(7):
        source = net.concat(source, source)
    return first(net)


def doubled_result(net):
    result = net.rows(first(net))
    for _ in range(9):
        result = net.op("Concat", result, result, axis=2)
    return net.op("Transpose", result, perm=[0, 2, 1])


def many_parts(net):
    source = first(net, 4)
    return net.concat(*[source] * 257)


def sampled(net, channels=3):
    """Every eighth row and column."""
    rows = net.slice("images", 2, 0, 2**31, 8, channels=channels)
    return net.slice(rows, 3, 0, 2**31, 8, channels=channels)


def spread_kernel(net):
    return net.op("Conv", sampled(net), net.const(np.zeros((64, 3, 48, 48))), channels=64, pads=[47] * 4)


def many_groups(net):
    view = net.concat(*[sampled(net)] * 64)
    weight = net.const(np.zeros((192, 1, 32, 32)))
    return net.op("Conv", view, weight, channels=192, pads=[31] * 4, group=192)


def many_weights(net):
    """One weight of 2^22 numbers, used 65 times."""
    source, weight = net.conv("images", 2048), net.const(np.zeros((2048, 2048, 1, 1)))
    for _ in range(65):
        source = net.op("Conv", source, weight)
    return source


def number_of_pictures(net):
    return net.op("Gather", net.op("Shape", first(net)), net.const(0, np.int64))


def computes_with_the_batch(net):
    number = net.op("Cast", number_of_pictures(net), to=TensorProto.FLOAT)
    return net.op("Mul", first(net), number)


def a_shape_of_batch_sizes(net):
    number = net.op("Unsqueeze", number_of_pictures(net), net.const([0], np.int64))
    more = net.op("Mul", number, net.const([20], np.int64))
    shape = net.op("Concat", number, more, net.const([-1], np.int64), axis=0)
    return net.op("Transpose", net.op("Reshape", first(net), shape), perm=[0, 2, 1])


def two_inputs(graph):
    graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, (1,)))


def output_of(build):
    """A network whose output is what `build` makes, not rows."""

    def make():
        net = Net()
        return net.finish(build(net))

    return make


def many_bytes(net):
    return net.op("Conv", first(net), net.const(np.zeros((1, 20, 65, 1))), channels=1, pads=[32, 0, 32, 0])


def a_gap(net):
    """Two heads of different widths can't be one result."""
    one, two = net.rows(net.conv("images", 4)), net.rows(net.conv("images", 5))
    return net.op("Transpose", net.op("Concat", one, two, axis=2), perm=[0, 2, 1])


REFUSED = {
    "dilations": (conv_with(dilations=[2, 2]), "is dilated"),
    "auto_pad": (conv_with(auto_pad="SAME_UPPER", pads=[0] * 4), "has auto_pad SAME_UPPER"),
    "groups": (conv_with(group=4), "has 4 groups for 20 -> 16 channels"),
    "channel multiplier": (shown(lambda net: net.conv(first(net), 40, (3, 3), group=20)), "has 20 groups for 20 -> 40"),
    "padding as large as the kernel": (conv_with(pads=[3, 0, 0, 0]), "with pads of"),
    "negative padding": (conv_with(pads=[-1, 0, 0, 0]), "with pads of"),
    "stride 0": (conv_with(stride=0), "strides of"),
    "one stride": (conv_with(stride=[1]), "strides of"),
    "a window larger than the picture": (
        shown(lambda net: net.conv(first(net), 4, (33, 1), pads=[0] * 4)), "larger than what it slides over"),
    "a very large kernel": (shown(many_bytes), "a window of"),
    "kernel_shape": (conv_with(kernel_shape=[5, 5]), "weights that do not fit together"),
    "1-D convolution": (changed(flat_weights), "weights of 2 dimensions"),
    "half weights": (changed(half_weights), "not float32 constants"),
    "a negative dimension": (changed(negative_weights), "c0 has dimensions [-20, 3, 3, 3]"),
    "weights outside": (changed(outside_weights), "in a second file"),
    "a constant outside": (constant_outside("pyproject.toml"), "in a second file"),
    "a constant outside that is not there": (constant_outside("not there"), "in a second file"),
    "float strides": (with_attribute("Conv", "strides", [1.0, 1.0]), "an attribute strides (FLOATS)"),
    "float pads": (with_attribute("Conv", "pads", [1.5] * 4), "an attribute pads (FLOATS)"),
    "a float group": (with_attribute("Conv", "group", 1.0), "an attribute group (FLOAT)"),
    "a word for a group": (with_attribute("Conv", "group", "ab"), "an attribute group (STRING)"),
    "one dilation": (with_attribute("Conv", "dilations", 1), "an attribute dilations (INT)"),
    "a whole alpha": (with_attribute("LeakyRelu", "alpha", 1, leaky), "an attribute alpha (INT)"),
    "many alphas": (with_attribute("LeakyRelu", "alpha", [1.0], leaky), "an attribute alpha (FLOATS)"),
    "a word for epsilon": (
        with_attribute("BatchNormalization", "epsilon", "x", normalized), "an attribute epsilon (STRING)"),
    "a tensor for pads": (
        with_attribute("Conv", "pads", onnx.numpy_helper.from_array(np.zeros(4))), "an attribute pads (TENSOR)"),
    "an attribute that is not known": (with_attribute("Conv", "fused", 1), "an attribute fused (INT)"),
    "an attribute where there is none": (with_attribute("Transpose", "axis", 1), "an attribute axis (INT)"),
    "keeps the aspect ratio": (
        with_attribute("Resize", "keep_aspect_ratio_policy", "not_larger", twice_as_large),
        "keep_aspect_ratio_policy = not_larger (STRING)"),
    "antialias": (with_attribute("Resize", "antialias", 1, twice_as_large), "an attribute antialias = 1 (INT)"),
    "some axes": (with_attribute("Resize", "axes", [2, 3], twice_as_large), "an attribute axes (INTS)"),
    "missing weights": (changed(drop_weights), "reads 'c0', which nothing before it makes"),
    "nodes in disorder": (changed(turn_around), "which nothing before it makes"),
    "foreign operator": (changed(foreign_operator), "uses Conv of com.example"),
    "unknown operator": (shown(lambda net: net.op("Softplus", first(net))), "(Softplus) is not supported"),
    "no attribute": (drop_attribute("Transpose", "perm"), "(Transpose) is not supported here"),
    "two inputs": (changed(two_inputs), "does not have one float32 input"),
    "batch of 4": (shown(first, batch=4), "is not an image (N, C, H, W) with the batch dynamic or 1"),
    "channels free": (lambda: free_channels(), "is not an image"),
    "old opset": (shown(first, opset=10), "opset 10; 11 is the oldest"),
    "ceil_mode": (pool_with(ceil_mode=1), "attributes that are not supported"),
    "average without the padding": (
        shown(lambda net: net.op("AveragePool", first(net), kernel_shape=[3, 3], pads=[1, 1, 1, 1])),
        "attributes that are not supported"),
    "dilated pool": (pool_with(dilations=[2, 2]), "is dilated"),
    "pool of the picture": (
        shown(lambda net: net.op("MaxPool", "images", kernel_shape=[2, 2])), "(MaxPool) is not supported here"),
    "linear": (resized([1, 1, 2, 2], mode="linear"), "only nearest"),
    "1.5 times": (resized([1, 1, 1.5, 1.5], mode="nearest"), "a whole number of times"),
    "2.01 times": (resized([1, 1, 2.01, 2.01], mode="nearest"), "a whole number of times"),
    "2.01 times, whole sizes": (
        resized([1, 1, 2.01, 2.01], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
        "a whole number of times"),
    "no number of times": (resized([1, 1, np.nan, 2], mode="nearest"), "a whole number of times"),
    "infinitely large": (resized([1, 1, np.inf, 2], mode="nearest"), "a whole number of times"),
    "1e30 times": (resized([1, 1, 1e30, 2], mode="nearest"), "a whole number of times"),
    "a million times": (resized([1, 1, 1e6, 2], mode="nearest"), "a tensor would be"),
    "half the size": (resized([1, 1, 0.5, 0.5], mode="nearest"), "a whole number of times"),
    "more channels": (resized([1, 2, 1, 1], mode="nearest"), "(Resize) is not supported"),
    "align_corners": (
        resized([1, 1, 2, 2], mode="nearest", coordinate_transformation_mode="align_corners"), "whole number of times"),
    "rounded up": (
        resized([1, 1, 2, 2], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="ceil"),
        "whole number of times"),
    "sum of two shapes": (
        shown(lambda net: net.op("Add", first(net), net.conv(first(net), 1))), "is not supported on (1, 20, 16, 16)"),
    "a number a pixel": (
        shown(lambda net: net.op("Mul", first(net), net.const(np.ones((1, 1, 16, 16))))), "nor one a channel"),
    "division by a tensor": (
        shown(lambda net: net.op("Div", net.const(1.0), first(net))), "divides by what is not a constant"),
    "whole numbers": (
        shown(lambda net: net.op("Add", first(net), net.const(1, np.int64))), "has an operand of int64"),
    "every second channel": (
        shown(lambda net: net.slice(first(net), 1, 0, 16, 2, channels=8)), "(Slice) is not supported"),
    "rows of a tensor": (shown(lambda net: net.slice(first(net), 2, 0, 8, channels=20)), "(Slice) is not supported"),
    "no channel": (shown(lambda net: net.slice(first(net), 1, 8, 8, channels=1)), "(Slice) is not supported"),
    "part of the picture": (
        shown(lambda net: net.conv(net.slice("images", 2, 0, 8), 4)), "cuts a part out of the picture"),
    "every ninth row": (
        shown(lambda net: net.conv(net.slice("images", 2, 0, 2**31, 9), 4)), "takes every 9th pixel"),
    "backwards": (shown(lambda net: net.conv(net.slice("images", 2, -1, -99, -1), 4)), "slices backwards"),
    "concatenation of rows": (shown(lambda net: net.op("Concat", first(net), first(net), axis=2)), "is not supported"),
    "an output that is no result": (output_of(first), "its output is not (N, cells, columns)"),
    "columns first": (output_of(lambda net: net.rows(first(net))), "its output is not"),
    "a constant output": (output_of(lambda net: net.op("Identity", net.const([1.0]))), "its output is not"),
    "the picture as output": (output_of(lambda net: net.op("Identity", "images")), "its output is not"),
    "heads of several widths": (output_of(a_gap), "joins results of several sizes"),
    "a reshape into something else": (
        output_of(lambda net: net.op("Reshape", first(net), net.const([1, 10, -1], np.int64))), "turns (1, 20, 16"),
    "a reshape that does not fit": (
        output_of(lambda net: net.op("Reshape", first(net), net.const([1, 20, 7], np.int64))), "does not fit"),
    "areas that do not divide the pixels": (shown(area_attention(3)), "(Reshape) does not fit"),
    "a large constant": (shown(grown), "makes a constant of 1600000000 elements"),
    "a large choice": (shown(grown_by_indices), "(Gather) makes a constant of 1600000000 elements"),
    "a picture doubled": (shown(doubled_picture), "joins 384 samples of the picture"),
    "a result doubled": (output_of(doubled_result), "makes a result of 512 parts"),
    "a result of many parts": (shown(many_parts), "makes a result of 257 parts"),
    "a kernel spread over the picture": (shown(spread_kernel), "would have 28311552 weights, most of them 0"),
    "many groups over the picture": (shown(many_groups), "would have 37748736 weights, most of them 0"),
    "many weights": (shown(many_weights), "it has 268441600 weights"),
    "computes with the batch size": (shown(computes_with_the_batch), "(Mul) computes with the batch size"),
    "a shape of batch sizes": (output_of(a_shape_of_batch_sizes), "(Reshape) computes with the batch size"),
    "a picture as large as a disk": (lambda: huge_channels(), "a tensor would be"),
}  # fmt: skip


def free_channels():
    net = Net()
    model = net.model(first(net))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "c"
    return model


def huge_channels():
    net = Net()
    source = first(net, 4)
    for _ in range(3):
        source = net.concat(*[source] * 32)
    return net.model(source)


@pytest.mark.parametrize(("make", "part"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path, make, part):
    path = tmp_path / "model.onnx"
    path.write_bytes(make().SerializeToString())
    with pytest.raises(Unsupported) as caught:
        planned(path)
    assert part in str(caught.value)


@pytest.mark.parametrize("size", [(0, 16), (16, -1), (1 << 20, 1 << 20), (1 << 40, 1)])
def test_absurd_sizes(tmp_path, size):
    net = Net()
    with pytest.raises(Unsupported, match="its input would be"):
        planned(saved(net.model(first(net)), tmp_path), size)


def test_a_workspace_beyond_all_bounds(tmp_path):
    net = Net()
    source = net.conv("images", 4096)
    path = saved(net.model(net.conv(net.op("Add", source, net.conv(source, 4096)), 4)), tmp_path)
    with pytest.raises(Unsupported, match=r"it needs \d+ MiB a thread"):
        planned(path, (1024, 1024))


def test_an_odd_picture_under_a_focus(tmp_path):
    net = Net()
    halves = [net.slice("images", 2, row, 2**31, 2) for row in (0, 1)]
    path = saved(net.model(net.conv(net.concat(*halves), 4)), tmp_path)
    planned(path, (16, 15))
    with pytest.raises(Unsupported):
        planned(path, (15, 16))


def test_more_nodes_than_any_detector_has(tmp_path):
    def chain(length):
        net = Net()
        source = first(net)
        for _ in range(length):
            source = net.op("Sigmoid", source)
        return saved(net.model(source), tmp_path)

    planned(chain(4000))
    with pytest.raises(Unsupported, match="it has 5003 nodes; 4096 are the most"):
        planned(chain(5000))


def test_many_constants(tmp_path, monkeypatch):
    monkeypatch.setattr(trace_module, "MAX_CONSTANTS", 100)
    net = Net()
    for _ in range(6):
        net.op("Add", net.const(np.ones((4, 1))), net.const(np.ones((1, 5))))
    with pytest.raises(Unsupported, match="it computes 120 constants"):
        planned(saved(net.model(first(net)), tmp_path))


def test_out_of_memory(tmp_path, monkeypatch):
    def full(*given, **named):
        raise MemoryError

    path = saved(shown(first)(), tmp_path)
    monkeypatch.setattr(plan_module, "pack_conv", full)
    with pytest.raises(Unsupported, match="it needs more memory than there is"):
        planned(path)


def test_what_is_no_model(tmp_path):
    path = tmp_path / "model.onnx"
    for content in (b"", b"no model"):
        path.write_bytes(content)
        with pytest.raises(OnnxFileError):
            read_graph(path)


def test_damaged_models_are_refused_or_right(tmp_path):
    """Random changes to sound files: an answer that is given is ONNX Runtime's."""
    rng = random.Random(7)
    given = picture(3, (8, 12))
    found = Counter()
    for round_ in range(150):
        build = rng.choice(RESULTS)
        model = build(Net()) if round_ % 2 else random_network(round_)
        graph = model.graph
        node = graph.node[rng.randrange(len(graph.node))]
        how = rng.randrange(5)
        if how == 0:
            node.input[rng.randrange(len(node.input))] = rng.choice(graph.node).output[0]
        elif how == 1 and node.attribute:
            attribute = rng.choice(node.attribute)
            if attribute.ints:
                attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice([-1, 0, 1, 2, 3, 7, 1 << 40])
            elif attribute.type == onnx.AttributeProto.INT:
                attribute.i = rng.choice([-1, 0, 1, 2, 1 << 40])
        elif how == 2:
            tensor = rng.choice(graph.initializer)
            if tensor.dims:
                tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice([0, 1, 2, 5, 1 << 31])
        elif how == 3:
            node.op_type = rng.choice(["Conv", "Add", "Concat", "Relu", "Reshape", "Transpose", "MaxPool", "Slice"])
        else:
            del node.input[-1]
        found[right_or_refused(tmp_path / "model.onnx", model, given, planned)] += 1
    assert found["right"] > 10
    assert found["refused"] > 50
