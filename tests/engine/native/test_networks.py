"""Networks, one operator or pattern each and then at random, against ONNX Runtime, on both instruction sets."""

import numpy as np
import pytest
from onnx import helper

from engine.inference.native import plan as plan_module
from engine.inference.native.fuse import fuse
from engine.inference.native.graph import read_graph
from engine.inference.native.layout import Region, allocate
from engine.inference.native.ops import Concat, Conv, Elementwise
from engine.inference.native.trace import trace
from engine_ext.convnet import instruction_sets
from tests.engine.native.networks import Net, assert_close, computed, expected, picture, saved

SETS = instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the processor has no AVX2")


def first(net, channels=20):
    return net.conv("images", channels, (3, 3))


def every_channel_count(net):
    source = "images"
    for channels in (1, 5, 16, 17, 48, 80, 85, 130):
        source = net.silu(net.conv(source, channels))
    return source


def activated(kind, **attributes):
    return lambda net: net.op(kind, first(net), **attributes)


def clipped(low, high):
    def build(net):
        return net.op("Clip", first(net), *(net.const(v) if v is not None else "" for v in (low, high)))

    return build


def hard_swish_in_parts(net):
    source = first(net)
    return net.op("Mul", net.op("HardSigmoid", source, alpha=1 / 6, beta=0.5), source)


def sigmoid_used_twice(net):
    source = first(net)
    gate = net.op("Sigmoid", source)
    return net.concat(net.op("Mul", gate, source), gate)


def a_gate_of_another_tensor(net):
    source = first(net)
    return net.op("Mul", source, net.op("Sigmoid", net.conv(source, 20)))


def activation_of_a_tensor_used_before(net):
    source = first(net)
    return net.concat(net.op("Relu", source), net.conv(source, 8))


def sizes_of(net, tensor, *channels):
    """(0, *channels, H, W) for a Reshape."""
    sides = net.slice(net.op("Shape", tensor), 0, 2, 4)
    return net.op("Concat", net.const([0, *channels], np.int64), sides, axis=0)


def attention(depth=16, width=32, factor=0.25, values_first=True, scaled="Mul", scaled_first=False):
    """Two heads as in the blocks of YOLO11, with a depthwise convolution of the values beside them. `scaled_first`: the
    queries are scaled, as in later exports, not the scores."""

    def build(net):
        heads = 2
        whole = net.conv(first(net, 24), heads * (2 * depth + width))
        apart = net.op("Reshape", whole, net.const([0, heads, 2 * depth + width, -1], np.int64))
        parts = [f"part {i}" for i in range(3)]
        given = [apart, net.const([depth, depth, width], np.int64)]
        net.nodes.append(helper.make_node("Split", given, parts, name="split", axis=2))
        queries = net.op(scaled, parts[0], net.const(factor)) if scaled_first else parts[0]
        scores = net.op("MatMul", net.op("Transpose", queries, perm=[0, 1, 3, 2]), parts[1])
        scores = scores if scaled_first else net.op(scaled, scores, net.const(factor))
        chances = net.op("Softmax", scores, axis=-1)
        if values_first:
            made = net.op("MatMul", parts[2], net.op("Transpose", chances, perm=[0, 1, 3, 2]))
        else:
            made = net.op("MatMul", chances, net.op("Transpose", parts[2], perm=[0, 1, 3, 2]))
            made = net.op("Transpose", made, perm=[0, 1, 3, 2])
        shape = sizes_of(net, whole, heads * width)
        place = net.depthwise(net.op("Reshape", parts[2], shape, channels=heads * width))
        made = net.op("Reshape", made, shape, channels=heads * width)
        return net.silu(net.conv(net.op("Add", made, place), 20))

    return build


def area_attention(areas=4, depth=16):
    """Two heads as in the blocks of YOLO12: each area of the image, `areas` of them, attends to itself alone."""

    def build(net):
        heads = 2
        channels = heads * depth

        def part(shape, index):
            return net.slice(shape, 0, index, index + 1)

        def shaped(source, *sizes, **more):
            given = [net.const([size], np.int64) if isinstance(size, int) else size for size in sizes]
            return net.op("Reshape", source, net.op("Concat", *given, axis=0), **more)

        whole = net.conv(first(net, 24), 3 * channels)
        shape, number = net.op("Shape", whole), net.const([areas], np.int64)
        batch, height, width = (part(shape, i) for i in (0, 2, 3))
        folded = net.op("Mul", batch, number)
        pixels = net.op("Div", net.op("Mul", height, width), number)
        lines = net.op("Transpose", net.rows(whole), perm=[0, 2, 1])
        lines = shaped(lines, folded, pixels, 3 * channels)
        apart = net.op("Transpose", shaped(lines, folded, pixels, heads, 3 * depth), perm=[0, 2, 3, 1])
        parts = [f"part {i}" for i in range(3)]
        given = [apart, net.const([depth] * 3, np.int64)]
        net.nodes.append(helper.make_node("Split", given, parts, name="split", axis=2))
        scores = net.op("MatMul", net.op("Transpose", parts[0], perm=[0, 1, 3, 2]), parts[1])
        chances = net.op("Softmax", net.op("Mul", scores, net.const(0.25)), axis=-1)
        made = net.op("MatMul", parts[2], net.op("Transpose", chances, perm=[0, 1, 3, 2]))

        def image(source):
            lines = net.op("Transpose", source, perm=[0, 3, 1, 2])
            sizes = net.op("Shape", lines)
            unfolded = net.op("Div", part(sizes, 0), number), net.op("Mul", part(sizes, 1), number)
            lines = shaped(shaped(lines, *unfolded, channels), batch, height, width, channels)
            return net.op("Transpose", lines, perm=[0, 3, 1, 2], channels=channels)

        place = net.depthwise(image(parts[2]), (7, 7))
        return net.silu(net.conv(net.op("Add", image(made), place), 20))

    return build


def bottleneck(order=1, activate=True, depthwise=False):
    def build(net):
        source = net.silu(first(net))
        inner = net.depthwise(source) if depthwise else net.conv(source, 20, (3, 3))
        inner = net.silu(inner) if activate else inner
        return net.op("Add", *[source, inner][::order])

    return build


def residual_block(net):
    """As in ResNet: the activation comes behind the sum."""
    source = net.op("Relu", first(net))
    return net.op("Relu", net.op("Add", net.conv(source, 20, (3, 3)), source))


def sum_of_two_convolutions(net):
    source = first(net)
    return net.op("Add", net.conv(source, 24), net.silu(net.conv(source, 24)))


def sum_with_itself(net):
    source = net.silu(first(net))
    return net.op("Add", source, source)


def sum_activated_and_used_twice(net):
    source = net.silu(first(net))
    total = net.op("Add", source, net.silu(net.conv(source, 20)))
    return net.concat(net.op("Relu", total), total)


def product(net):
    source = net.silu(first(net))
    return net.op("Mul", source, net.silu(net.conv(source, 20)))


def activation_behind_a_product(net):
    source = first(net)
    return net.op("Relu", net.op("Mul", source, net.conv(source, 20)))


def three_summands(net):
    source = first(net)
    return net.op("Add", net.op("Add", net.conv(source, 20), source), net.conv(source, 20))


def joined(*channels):
    def build(net):
        source = net.silu(first(net, 16))
        return net.conv(net.concat(*(net.silu(net.conv(source, n)) for n in channels)), 18)

    return build


def joined_twice(net):
    source = first(net, 16)
    one, two = net.conv(source, 32), net.conv(source, 16)
    inner = net.concat(one, two)
    outer = net.concat(net.conv(inner, 16), inner, source)
    return net.concat(net.conv(outer, 8), net.conv(net.concat(two, one), 8))


def the_same_twice_in_a_concatenation(net):
    source = net.silu(first(net, 16))
    return net.conv(net.concat(source, source, net.conv(source, 16)), 9)


def part_used_behind_the_concatenation(net):
    """Its last block is shared with the next part, which is copied there."""
    one, two = net.silu(first(net, 24)), net.silu(first(net, 20))
    whole = net.conv(net.concat(one, two), 24)
    return net.op("Add", whole, net.depthwise(one))


def split_stage(net):
    """As in CSPDarknet."""
    source = net.silu(first(net, 32))
    left, right = net.silu(net.conv(source, 16)), net.silu(net.conv(source, 16))
    for _ in range(2):
        left = net.op("Add", net.silu(net.conv(net.silu(net.conv(left, 16)), 16, (3, 3))), left)
    return net.silu(net.conv(net.concat(left, right), 32))


def pyramid_pooling(net):
    source = net.silu(first(net, 16))
    pooled = [net.op("MaxPool", source, kernel_shape=[k, k], strides=[1, 1], pads=[k // 2] * 4) for k in (5, 9, 13)]
    return net.conv(net.concat(source, *pooled), 20)


def sliced_stage(net):
    """Halves of a tensor, as YOLOv9's blocks have them when the size of an image is open."""
    whole = net.silu(first(net, 32))
    left, right = (net.slice(whole, 1, start, start + 16, channels=16) for start in (0, 16))
    return net.silu(net.conv(net.concat(left, right, net.silu(net.conv(right, 16, (3, 3)))), 20))


def pooled(kernel, stride, pad, kind="MaxPool", **attributes):
    def build(net):
        window = {"kernel_shape": [kernel, kernel], "strides": [stride, stride], "pads": [pad] * 4}
        return net.op(kind, first(net), **window, **attributes)

    return build


def enlarged(scales=(1, 1, 2, 2), **attributes):
    def build(net):
        source = net.silu(first(net, 16))
        small = net.silu(net.conv(source, 16, (3, 3), stride=2, pads=[1, 1, 1, 1]))
        large = net.op("Resize", small, "", net.const(scales), mode="nearest", **attributes)
        return large if scales != (1, 1, 2, 2) else net.conv(net.concat(large, source), 12)

    return build


def enlarged_to_a_size(net):
    sizes = net.const([1, 20, 24, 32], np.int64)
    return net.op("Resize", first(net), "", "", sizes, mode="nearest", nearest_mode="floor",
                  coordinate_transformation_mode="asymmetric")  # fmt: skip


def normalized(before):
    def build(net):
        source = before(net)
        numbers = [net.const(net.rng.uniform(0.5, 2, net.channels[source])) for _ in range(4)]
        return net.op("Relu", net.op("BatchNormalization", source, *numbers, epsilon=1e-3))

    return build


def scaled(net):
    """Numbers, one a channel or one for all, on either side."""
    source = net.op("Mul", first(net), net.const(net.rng.normal(0, 1, (1, 20, 1, 1))))
    source = net.op("Add", net.const(net.rng.normal(0, 1, (20, 1, 1))), source)
    source = net.op("Sub", net.op("Div", net.silu(source), net.const(0.7)), net.const([0.3]))
    return net.op("Sub", net.const(1.5), source)


def normalized_picture(net):
    """Zeros that are padded behind it are no zeros of the picture."""
    source = net.op("Sub", net.op("Mul", "images", net.const(1 / 57)), net.const(net.rng.normal(0, 2, (1, 3, 1, 1))))
    return net.op("Relu", net.conv(source, 16, (3, 3), stride=2))


def normalized_by_division(net):
    source = net.op("Div", net.op("Sub", "images", net.const(0.4)), net.const(net.rng.uniform(1, 2, (3, 1, 1))))
    return net.conv(source, 16, (1, 1))


def focus(kernel=3, stride=1):
    def build(net):
        parts = []
        for column in (0, 1):
            for row in (0, 1):
                rows = net.slice("images", 2, row, 2**31, 2)
                parts.append(net.slice(rows, 3, column, 2**31, 2))
        return net.silu(net.conv(net.concat(*parts), 16, (kernel, kernel), stride=stride))

    return build


def channels_turned(net):
    """BGR out of RGB."""
    planes = [net.slice("images", 1, c, c + 1, channels=1) for c in (2, 1, 0)]
    return net.conv(net.concat(*planes), 8, (3, 3))


def groups_of_the_picture(net):
    return net.conv("images", 6, (3, 3), group=3)


def two_stems(net):
    return net.concat(net.conv("images", 16, (3, 3)), net.conv("images", 4, (5, 5)))


def without_names(net):
    return net.op("Identity", net.op("Identity", first(net)))


BUILDS = {
    "1x1": lambda net: net.conv("images", 20),
    "3x3": first,
    "every channel count": every_channel_count,
    "no bias": lambda net: net.conv(net.conv("images", 16, bias=False), 5, (3, 3), bias=False),
    "5x5 stride 2, no padding": lambda net: net.conv(first(net), 9, (5, 5), stride=2, pads=[0] * 4),
    "uneven padding": lambda net: net.conv(first(net), 9, (4, 3), stride=(3, 2), pads=[1, 0, 3, 2]),
    "uneven padding of the picture": lambda net: net.conv("images", 9, (4, 3), stride=(3, 2), pads=[1, 0, 3, 2]),
    "1x7 and 7x1": lambda net: net.conv(net.conv(first(net), 16, (1, 7)), 16, (7, 1)),
    "1x1 stride 2": lambda net: net.conv(first(net), 40, stride=2),
    "3x3, many channels": lambda net: net.conv(net.conv(first(net), 100, (3, 3)), 70, (3, 3)),
    "cells of the picture": lambda net: net.conv("images", 7, (8, 8), stride=8, pads=[0] * 4),
    "depthwise 3x3": lambda net: net.depthwise(first(net)),
    "depthwise 3x3 stride 2": lambda net: net.depthwise(first(net, 33), stride=2),
    "depthwise 5x5": lambda net: net.silu(net.depthwise(first(net), (5, 5))),
    "depthwise 5x5 stride 2": lambda net: net.depthwise(first(net), (5, 5), stride=2),
    "depthwise 7x3": lambda net: net.depthwise(first(net), (7, 3)),
    "depthwise, one channel": lambda net: net.depthwise(first(net, 1)),
    "relu": activated("Relu"),
    "leaky relu": activated("LeakyRelu", alpha=0.2),
    "leaky relu, its slope not given": activated("LeakyRelu"),
    "sigmoid": activated("Sigmoid"),
    "hard sigmoid": activated("HardSigmoid"),
    "hard swish": activated("HardSwish"),
    "hard swish in parts": hard_swish_in_parts,
    "relu 6": clipped(0, 6),
    "clip above": clipped(None, 0.5),
    "clip below": clipped(-0.25, None),
    "silu": lambda net: net.silu(first(net)),
    "silu of a depthwise convolution": lambda net: net.silu(net.depthwise(first(net))),
    "sigmoid used twice": sigmoid_used_twice,
    "a gate of another tensor": a_gate_of_another_tensor,
    "activation of a tensor used before": activation_of_a_tensor_used_before,
    "attention": attention(),
    "attention, values behind the scores": attention(values_first=False),
    "attention, scores divided": attention(factor=3.0, scaled="Div"),
    "attention, queries scaled": attention(scaled_first=True),
    "attention, queries divided": attention(factor=3.0, scaled="Div", scaled_first=True),
    "attention of wide heads": attention(depth=48, width=16),
    "attention in four areas": area_attention(),
    "attention in two areas": area_attention(depth=32, areas=2),
    "attention in one area": area_attention(1),
    "two activations": lambda net: net.op("Relu", net.op("Sigmoid", first(net))),
    "sum behind the activation": bottleneck(),
    "sum the other way round": bottleneck(-1),
    "sum without activation": bottleneck(activate=False),
    "sum of a depthwise convolution": bottleneck(depthwise=True),
    "residual block": residual_block,
    "sum of two convolutions": sum_of_two_convolutions,
    "sum with itself": sum_with_itself,
    "sum activated and used twice": sum_activated_and_used_twice,
    "three summands": three_summands,
    "product": product,
    "activation behind a product": activation_behind_a_product,
    "concatenation in place": joined(16, 32, 16),
    "concatenation, the last part uneven": joined(32, 5),
    "concatenation copied": joined(24, 16, 3),
    "concatenation of single channels": joined(1, 1, 1),
    "concatenations in each other": joined_twice,
    "the same twice in a concatenation": the_same_twice_in_a_concatenation,
    "part used behind the concatenation": part_used_behind_the_concatenation,
    "split stage": split_stage,
    "pyramid pooling": pyramid_pooling,
    "pool 2x2": pooled(2, 2, 0),
    "pool 3x3 stride 2": pooled(3, 2, 1),
    "average 2x2": pooled(2, 1, 0, "AveragePool"),
    "average 3x3 stride 2, zeros around": pooled(3, 2, 1, "AveragePool", count_include_pad=1),
    "halves of a tensor": sliced_stage,
    "upsample": enlarged(coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "upsample by half pixels": enlarged(),
    "upsample, asymmetric and rounded": enlarged(coordinate_transformation_mode="asymmetric"),
    "upsample 3x down": enlarged(
        (1, 1, 3, 1), coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "upsample to a size": enlarged_to_a_size,
    "batch normalization": normalized(first),
    "batch normalization behind an activation": normalized(lambda net: net.op("Relu", first(net))),
    "batch normalization of a depthwise convolution": normalized(lambda net: net.depthwise(first(net))),
    "scaled": scaled,
    "normalized picture": normalized_picture,
    "picture normalized by division": normalized_by_division,
    "focus": focus(),
    "focus with a kernel of 1": focus(1),
    "focus with a stride": focus(3, 2),
    "channels turned": channels_turned,
    "groups of the picture": groups_of_the_picture,
    "two stems": two_stems,
    "identities": without_names,
}  # fmt: skip


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_equals_onnx_runtime(tmp_path, instruction_set, build):
    net = Net()
    path = saved(net.model(build(net)), tmp_path)
    for size in ((12, 16), (8, 26)) if "to_a_size" not in getattr(build, "__name__", "") else ((12, 16),):
        given = picture(3, size)
        assert_close(computed(path, given, instruction_set), expected(path, given))


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 3), (5, 1), (13, 11), (3, 53)])
def test_odd_sizes(tmp_path, instruction_set, size):
    net = Net(channels=1)
    source = net.silu(net.conv("images", 20, (3, 3)))
    down = net.silu(net.conv(net.silu(net.depthwise(source, (5, 5), stride=2)), 40))
    down = net.op("MaxPool", down, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
    path = saved(net.model(net.conv(source, 6, (3, 3)), net.op("Sigmoid", net.conv(down, 6))), tmp_path)
    given = picture(1, size)
    assert_close(computed(path, given, instruction_set), expected(path, given))


# ---- the result's rows ----


def heads(net):
    """As YOLOX has them: two levels, each of three convolutions side by side, some of them activated."""
    source = net.silu(first(net, 32))
    down = net.silu(net.conv(source, 32, (3, 3), stride=2))
    found = []
    for level in (source, down):
        box, score, classes = net.conv(level, 4), net.conv(level, 1), net.conv(level, 20)
        found.append(net.concat(box, net.op("Sigmoid", score), net.op("Sigmoid", classes)))
    return net.model(*found)


def activated_columns(net):
    """As street-nano has them: the rows are cut, and a part of each goes through a sigmoid."""
    source = net.silu(first(net, 32))
    level = net.concat(net.conv(source, 4), net.conv(source, 1), net.conv(source, 6))
    turned = net.op("Transpose", net.rows(level), perm=[0, 2, 1])
    scores = net.op("Sigmoid", net.slice(turned, 2, 4, 11))
    return net.finish(net.op("Concat", net.slice(turned, 2, 0, 4), scores, axis=-1))


def one_convolution_cut(net):
    """The columns of one convolution, some of them activated: it can't write them itself."""
    turned = net.op("Transpose", net.rows(net.conv(first(net), 25)), perm=[0, 2, 1])
    scores = net.op("Sigmoid", net.slice(turned, 2, 5, 25))
    return net.finish(net.op("Concat", net.slice(turned, 2, 0, 5), scores, axis=2))


def shown_and_used(net):
    head = net.silu(first(net, 21))
    return net.model(head, net.conv(head, 21, stride=2))


def shown_twice(net):
    head = net.silu(first(net, 21))
    return net.model(head, head)


def a_residual_is_shown(net):
    source = net.silu(first(net))
    return net.model(net.op("Add", source, net.conv(source, 20)))


def depthwise_is_shown(net):
    return net.model(net.silu(net.depthwise(first(net))))


def sizes_from_the_shape(net):
    """The Reshape's target is computed from the picture's shape."""
    source = first(net)
    shape = net.op("Shape", source)
    part = [net.op("Gather", shape, net.const([i], np.int64), axis=0) for i in (0, 2, 3)]
    pixels = net.op("Mul", part[1], part[2])
    target = net.op("Concat", part[0], net.const([20], np.int64), pixels, axis=0)
    return net.finish(net.op("Transpose", net.op("Reshape", source, target), perm=[0, 2, 1]))


def shapes_with_the_batch(net):
    """As exporters write them: the batch size is moved, and comes first in a shape."""
    source = first(net)
    shape = net.op("Shape", source)
    large = net.op("Mul", net.op("Slice", shape, *(net.const([n], np.int64) for n in (2, 4))), net.const([2], np.int64))
    head = net.op("Slice", shape, *(net.const([n], np.int64) for n in (0, 2)))
    sizes = net.op("Concat", head, large, axis=0)
    source = net.op("Resize", source, "", "", sizes, mode="nearest", nearest_mode="floor",
                    coordinate_transformation_mode="asymmetric")  # fmt: skip
    number = net.op("Gather", net.op("Shape", source), net.const(0, np.int64))
    number = net.op("Unsqueeze", number, net.const([0], np.int64))
    target = net.op("Concat", number, net.const([20, -1], np.int64), axis=0)
    return net.finish(net.op("Transpose", net.op("Reshape", source, target), perm=[0, 2, 1]))


RESULTS = [heads, activated_columns, one_convolution_cut, shown_and_used, shown_twice, a_residual_is_shown,
           depthwise_is_shown, sizes_from_the_shape, shapes_with_the_batch]  # fmt: skip


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("build", RESULTS, ids=lambda build: build.__name__)
def test_results(tmp_path, instruction_set, build):
    path = saved(build(Net()), tmp_path)
    given = picture(3, (8, 12))
    assert_close(computed(path, given, instruction_set), expected(path, given))


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("longest", [95, 96])
def test_a_picture_too_large_for_one_row(tmp_path, monkeypatch, instruction_set, longest):
    monkeypatch.setattr(plan_module, "MAX_ROW", longest)
    net = Net()
    source = net.silu(net.conv(first(net), 40))
    path = saved(net.model(net.conv(source, 7, (2, 2), stride=2, pads=[0] * 4)), tmp_path)
    given = picture(3, (8, 12))
    assert_close(computed(path, given, instruction_set), expected(path, given))


@pytest.mark.parametrize("instruction_set", SETS)
def test_more_than_a_million_pixels(tmp_path, instruction_set):
    net = Net(channels=1)
    path = saved(net.model(net.conv(net.conv(net.conv("images", 2), 2), 1, (8, 8), stride=8, pads=[0] * 4)), tmp_path)
    given = picture(1, (1032, 1024))
    assert_close(computed(path, given, instruction_set), expected(path, given))


# ---- at random ----


def random_network(seed):
    rng = np.random.default_rng(seed)
    net = Net(seed=seed)
    pool = [net.silu(net.conv("images", int(rng.choice([4, 16, 24])), (3, 3)))]
    for _ in range(int(rng.integers(4, 14))):
        source = pool[rng.integers(len(pool))]
        kind = rng.choice(["conv", "conv", "depthwise", "activation", "sum", "product", "concat", "pool", "scale"])
        if kind == "conv":
            k = int(rng.choice([1, 1, 3, 5]))
            made = net.conv(source, int(rng.choice([3, 16, 17, 32, 50])), (k, k))
        elif kind == "depthwise":
            made = net.depthwise(source, (3, 3))
        elif kind == "activation":
            how = rng.choice(["Relu", "Sigmoid", "LeakyRelu", "HardSwish", "silu"])
            made = net.silu(source) if how == "silu" else net.op(str(how), source)
        elif kind in ("sum", "product"):
            made = net.op("Add" if kind == "sum" else "Mul", source, net.conv(source, net.channels[source]))
        elif kind == "concat":
            others = [pool[i] for i in rng.integers(len(pool), size=rng.integers(1, 4))]
            made = net.concat(source, *others)
        elif kind == "pool":
            made = net.op("MaxPool", source, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4)
        else:
            made = net.op("Mul", source, net.const(rng.normal(0, 1, (1, net.channels[source], 1, 1))))
        # Numbers stay near 1, however long the chain is.
        if rng.random() < 0.7 and kind != "concat":
            made = net.op(str(rng.choice(["Sigmoid", "Relu"])), made)
        pool.append(made)
    shown = [net.conv(pool[-1], 7), net.op("Sigmoid", net.conv(pool[rng.integers(len(pool))], 7))]
    return net.model(*shown)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("seed", range(40))
def test_random_networks(tmp_path, instruction_set, seed):
    path = saved(random_network(seed), tmp_path)
    given = picture(3, (9, 14), seed)
    assert_close(computed(path, given, instruction_set), expected(path, given))


# ---- where it lies ----


@pytest.mark.parametrize("seed", range(20))
def test_regions_that_live_at_once_lie_apart(seed):
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, 100, 60)
    regions = [
        Region(int(16 * rng.integers(1, 9)), int(first), int(first + rng.choice([0, 1, 3, 40]))) for first in starts
    ]
    size = allocate(regions)
    for i, one in enumerate(regions):
        assert one.at >= 0
        assert one.at + one.size <= size
        for other in regions[:i]:
            at_once = one.first <= other.last and other.first <= one.last
            assert not at_once or one.at + one.size <= other.at or other.at + other.size <= one.at
    assert size < sum(region.size for region in regions)


# ---- what is saved ----


def ops_of(model, folder, size=(16, 16)):
    network = trace(read_graph(saved(model, folder)), *size)
    fuse(network)
    return network.ops


def test_a_stage_is_convolutions_alone(tmp_path):
    """Activations, sums, scales and the rows of the result are part of them; the concatenation is where they write."""
    net = Net()
    source = split_stage(net)
    ops = ops_of(net.model(net.op("Sigmoid", net.conv(source, 5))), tmp_path)
    assert sum(isinstance(op, Conv) for op in ops) == 9
    assert sum(isinstance(op, Concat) for op in ops) == 1
    assert not any(isinstance(op, Elementwise) for op in ops)


def test_what_is_not_shown_is_not_computed(tmp_path):
    net = Net()
    source = first(net)
    net.conv(source, 99)
    assert len(ops_of(net.model(source), tmp_path)) == 1


def test_the_focus_is_one_convolution_of_the_picture(tmp_path):
    net = Net()
    (conv,) = ops_of(net.model(focus()(net)), tmp_path)
    assert (conv.weight.shape, conv.strides, conv.pads, conv.picture) == ((16, 3, 6, 6), (2, 2), (2, 2), (3, 16, 16))
