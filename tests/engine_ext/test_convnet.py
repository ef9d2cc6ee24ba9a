"""Each kind of step alone against its NumPy twin, on both instruction sets; and tables that lead out of a buffer."""

import threading

import numpy as np
import pytest

from engine.inference.native.layout import Region, allocate
from engine.inference.native.pack import (
    pack_bf16,
    pack_bf16_planar,
    pack_bias,
    pack_conv,
    pack_depthwise,
    pack_winograd,
    pack_winograd_bf16,
)
from engine_ext import convnet
from engine_ext.convnet import ConvNet, aligned
from tests.engine_ext.bf16_sets import each_bf16_set
from tests.reference import convnet as reference

SETS = convnet.instruction_sets()
COLUMN = {name: i for i, name in enumerate(convnet.FIELDS)}
CANARY = np.float32(1234567.0)
NUMBERS = {"leaky_relu": (0.1, 0), "clip": (-0.5, 0.75), "hard_sigmoid": (0.2, 0.5), "hard_swish": (1 / 6, 0.5)}

pytestmark = pytest.mark.skipif(not SETS, reason="the processor has no AVX2")
each_set = pytest.mark.parametrize("instruction_set", SETS)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def guarded(size, value=np.nan):
    """An aligned array of `size` floats, and all of the memory around it, which holds canaries."""
    whole = aligned(size + 2048)
    whole[:] = CANARY
    whole[1024 : 1024 + size] = value
    return whole[1024 : 1024 + size], whole


class Bench:
    """One step with its buffers: tensors are put into the workspace, weights into the weights."""

    def __init__(self, kind, instruction_set):
        self.set = instruction_set
        self.fields = {"kind": convnet.KINDS.index(kind), "affine_at": -1, "scratch_at": -1, "group": 1, "chunk": 1}
        self.fields |= {f"{what}_{side}": 1 for what in ("kernel", "stride") for side in ("height", "width")}
        self.workspace, self.weights = [], [np.zeros(16, np.float32)]
        self.picture = np.zeros((1, 1, 1), np.float32)

    def put(self, array, where):
        parts = getattr(self, where)
        at = sum(part.size for part in parts)
        parts.append(np.pad(array.reshape(-1), (0, -array.size % 16), constant_values=np.nan))
        return at

    def tensor(self, name, tensor, block):
        self.fields |= {f"{name}_at": self.put(reference.to_blocks(tensor, block), "workspace"), f"{name}_block": block}

    def shape(self, prefix, channels, height, width):
        self.fields |= {f"{prefix}_channels": channels, f"{prefix}_height": height, f"{prefix}_width": width}

    def room(self, name, floats):
        self.fields[name] = self.put(np.full(floats, np.nan, np.float32), "workspace")

    def table(self, **changed):
        table = np.zeros((1, len(COLUMN)), np.int64)
        for name, value in (self.fields | changed).items():
            table[0, COLUMN[name]] = value
        return table

    def run(self, picture=None, output_shape=(1, 1), **changed):
        """The workspace and the output after the step; nothing around them has changed."""
        picture = self.picture if picture is None else picture
        content = np.concatenate(self.workspace)
        workspace, around = guarded(content.size)
        workspace[:] = content
        output, around_output = guarded(output_shape[0] * output_shape[1])
        network = ConvNet(
            self.table(**changed), np.concatenate(self.weights), picture.shape, output_shape, content.size, self.set
        )
        network.run(picture, output.reshape(output_shape), workspace)
        for whole in (around, around_output):
            assert (whole[:1024] == CANARY).all()
            assert (whole[-1024:] == CANARY).all()
        return workspace, output.reshape(output_shape)


def result(bench, expected, **given):
    """The tensor that a step writes, as large as what is expected."""
    workspace, _ = bench.run(**given)
    return reference.from_blocks(workspace[bench.fields["out_at"] :], *expected.shape, bench.fields["out_block"])


def out_size(size, kernel, strides, pads):
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, strides, pads, strict=True))


def conv_bench(instruction_set, case, group=4, rows=False):
    channels, (height, width), out, kernel, strides, pads, planar = case
    group = group if instruction_set == "AVX-512" else 1
    size = out_size((height, width), kernel, strides, pads)
    source, weight, bias = random(channels, height, width), random(out, channels, *kernel, seed=1), random(out, seed=2)
    bench = Bench("conv", instruction_set)
    block = height * width if planar else (height * width + 1) * 16
    bench.shape("in", channels, height, width)
    bench.shape("out", out, *size)
    if planar:
        bench.fields |= {"planar": 1, "in_block": block}
    else:
        bench.tensor("in", source, block)
    out_block = (size[0] * size[1] + 3) * 16
    bench.fields |= dict(zip(("kernel_height", "kernel_width"), kernel, strict=True))
    bench.fields |= dict(zip(("stride_height", "stride_width"), strides, strict=True))
    bench.fields |= {"pad_top": pads[0], "pad_left": pads[1], "group": group, "chunk": 7, "out_block": out_block}
    bench.fields["weights_at"] = bench.put(pack_conv(weight, group, planar=planar), "weights")
    bench.fields["bias_at"] = bench.put(pack_bias(bias), "weights")
    parts, unit = (channels, 1) if planar else (-(-channels // 16), 16)
    bench.room("segments_at", kernel[0] * parts * kernel[1] * 4)
    if any(pads):
        bench.room("scratch_at", kernel[0] * parts * ((size[1] - 1) * strides[1] + kernel[1]) * unit)
    if rows:
        bench.fields |= {"row_length": out + 3, "out_at": 2 * (out + 3) + 1}
    else:
        bench.room("out_at", -(-out // 16) * out_block)
    return bench, source, reference.conv(source, weight, bias, strides, pads, size)


CONVS = {
    "one pixel": (16, (1, 1), 16, (1, 1), (1, 1), (0, 0), False),
    "one pixel of one channel": (1, (1, 1), 1, (1, 1), (1, 1), (0, 0), False),
    "1x1, whole tiles": (32, (4, 6), 64, (1, 1), (1, 1), (0, 0), False),
    "1x1, channels that fill no block": (17, (5, 7), 85, (1, 1), (1, 1), (0, 0), False),
    "1x1, five output blocks": (24, (3, 13), 80, (1, 1), (1, 1), (0, 0), False),
    "1x1, every second pixel": (20, (7, 9), 40, (1, 1), (2, 2), (0, 0), False),
    "3x3 with borders": (19, (5, 11), 33, (3, 3), (1, 1), (1, 1), False),
    "3x3 stride 2": (16, (8, 26), 24, (3, 3), (2, 2), (1, 1), False),
    "3x3 stride 2, odd": (16, (7, 25), 48, (3, 3), (2, 2), (1, 1), False),
    "3x3 without borders": (8, (5, 9), 16, (3, 3), (1, 1), (0, 0), False),
    "a kernel larger than the picture": (5, (2, 1), 7, (5, 5), (1, 1), (2, 2), False),
    "wide": (3, (1, 40), 16, (1, 7), (1, 1), (0, 3), False),
    "stride larger than the kernel": (3, (9, 11), 4, (2, 2), (4, 3), (0, 0), False),
    "the picture, stride 2": (3, (16, 30), 16, (6, 6), (2, 2), (2, 2), True),
    "the picture, odd": (3, (9, 11), 20, (3, 3), (2, 2), (1, 1), True),
    "the picture, stride 1": (1, (5, 29), 70, (3, 5), (1, 1), (1, 2), True),
    "the picture in cells": (3, (16, 24), 7, (8, 8), (8, 8), (0, 0), True),
}


@each_set
@pytest.mark.parametrize("case", CONVS.values(), ids=CONVS)
def test_conv(instruction_set, case):
    bench, source, expected = conv_bench(instruction_set, case)
    found = result(bench, expected, picture=source)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@each_set
@pytest.mark.parametrize("group", [1, 2, 3, 4])
@pytest.mark.parametrize("pixels", range(1, 27))
def test_every_tile(instruction_set, group, pixels):
    """Of 1 to 4 blocks, and all the numbers of pixels that are left over at the end."""
    bench, source, expected = conv_bench(instruction_set, (18, (1, pixels), 90, (1, 1), (1, 1), (0, 0), False), group)
    found = result(bench, expected, picture=source, chunk=100)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_tiles_and_groups_do_not_change_a_bit():
    case = (37, (5, 13), 90, (3, 3), (1, 1), (1, 1), False)
    found = []
    for instruction_set, group, chunk in [(s, g, c) for s in SETS for g in (1, 2, 3, 4) for c in (1, 5, 100)]:
        bench, source, expected = conv_bench(instruction_set, case, group)
        found.append(result(bench, expected, picture=source, chunk=chunk).tobytes())
    assert len(set(found)) == 1


@each_set
@pytest.mark.parametrize("out", [1, 4, 15, 16, 17, 80])
def test_conv_into_rows(instruction_set, out):
    """One pixel a row, in some of its columns; what lies beside them stays."""
    case = (20, (3, 5), out, (1, 1), (1, 1), (0, 0), False)
    bench, source, expected = conv_bench(instruction_set, case, rows=True)
    columns = out + 3
    _, output = bench.run(
        picture=source, output_shape=(2 + 15 + 1, columns), activation=convnet.ACTIVATIONS.index("sigmoid")
    )
    wanted = np.full(output.shape, np.nan)
    wanted[2:17, 1 : 1 + out] = reference.sigmoid(expected.reshape(out, -1).T)
    np.testing.assert_allclose(output, wanted, rtol=1e-5, atol=1e-6)


@each_set
def test_the_picture_is_scaled_but_not_its_border(instruction_set):
    case = (3, (6, 10), 5, (3, 3), (1, 1), (1, 1), True)
    bench, source, _ = conv_bench(instruction_set, case)
    factor, summand = np.float32([0.5, 2, 3]), np.float32([-1, 0, 4])
    at = bench.put(np.concatenate([factor, summand]), "weights")
    workspace, _ = bench.run(picture=source, affine_at=at)
    scaled = source * factor[:, None, None] + summand[:, None, None]
    weight, bias = random(5, 3, 3, 3, seed=1), random(5, seed=2)
    expected = reference.conv(scaled, weight, bias, (1, 1), (1, 1), (6, 10))
    found = reference.from_blocks(workspace[bench.fields["out_at"] :], 5, 6, 10, bench.fields["out_block"])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def winograd_bench(instruction_set, channels, size_in, out, pads=(1, 1), group=4, chunk=7):
    group = group if instruction_set == "AVX-512" else 1
    case = (channels, size_in, out, (3, 3), (1, 1), pads, False)
    bench, _, expected = conv_bench(instruction_set, case, group)
    weight = random(out, channels, 3, 3, seed=1)
    bench.fields |= {"kind": convnet.KINDS.index("winograd"), "chunk": chunk}
    bench.fields["weights_at"] = bench.put(pack_winograd(weight, group), "weights")
    numbers = (16 * (-(-channels // 16) + group) + 4 * group) * chunk
    bench.room("scratch_at", (4 * (2 * chunk + 2) + numbers) * 16)
    return bench, expected


WINOGRADS = {
    "one pixel": (16, (1, 1), 16),
    "one tile": (16, (2, 2), 16),
    "odd, channels that fill no block": (19, (5, 11), 33),
    "even, five output blocks": (32, (6, 20), 80),
    "narrow": (33, (9, 1), 20),
    "without borders": (20, (6, 9), 17, (0, 0)),
    "border above": (20, (6, 9), 17, (1, 0)),
    "wide border": (20, (3, 4), 17, (2, 2)),
}


@each_set
@pytest.mark.parametrize("case", WINOGRADS.values(), ids=WINOGRADS)
def test_winograd(instruction_set, case):
    bench, expected = winograd_bench(instruction_set, *case)
    found = result(bench, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def activated_and_added(bench, expected):
    """What a step gives with a second tensor, and what it is to give."""
    other = random(*expected.shape, seed=3)
    bench.tensor("other", other, (other[0].size + 1) * 16)
    when = {"activation": convnet.ACTIVATIONS.index("relu"), "other_when": convnet.WHENS.index("add_after")}
    return result(bench, expected, **when), np.maximum(expected, 0) + other


@each_set
def test_winograd_activates_and_adds(instruction_set):
    found, expected = activated_and_added(*winograd_bench(instruction_set, 20, (5, 7), 33))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_winograd_in_other_tiles_and_groups_does_not_change_a_bit():
    found = []
    for instruction_set, group, chunk in [(s, g, c) for s in SETS for g in (1, 2, 3, 4) for c in (1, 5, 100)]:
        bench, expected = winograd_bench(instruction_set, 37, (5, 13), 90, group=group, chunk=chunk)
        found.append(result(bench, expected).tobytes())
    assert len(set(found)) == 1


each_winograd_fault = pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"kernel_height": 2}, "the kernel"),
        ({"kernel_width": 4}, "the kernel"),
        ({"in_channels": 1040, "in_block": 0}, "the channels"),
        ({"scratch_at": -1}, "the scratch"),
        ({"chunk": 1 << 12}, "the scratch"),
        ({"chunk": 0}, "group or chunk"),
        ({"group": 5}, "group or chunk"),
        ({"weights_at": 1 << 20}, "the weights"),
        ({"bias_at": -16}, "the bias"),
        ({"in_block": 1 << 30}, "the input"),
        ({"out_at": 1 << 20}, "the output"),
        ({"row_length": 1}, "rows of this kind"),
        ({"other_when": 1, "other_at": 1 << 20}, "the second input"),
    ],
)


@each_winograd_fault
def test_a_winograd_that_leaves_a_buffer(changed, part):
    bench, _ = winograd_bench(SETS[0], 20, (5, 7), 33)
    with pytest.raises(ValueError, match=rf"steps\[0\] is out of bounds: {part}"):
        bench.run(**changed)


DEPTHWISE = {
    "one pixel": (16, (1, 1), (3, 3), (1, 1), (1, 1)),
    "3x3": (20, (7, 23), (3, 3), (1, 1), (1, 1)),
    "3x3 stride 2": (33, (8, 26), (3, 3), (2, 2), (1, 1)),
    "3x3 stride 2, odd": (16, (9, 41), (3, 3), (2, 2), (1, 1)),
    "5x5": (1, (6, 19), (5, 5), (1, 1), (2, 2)),
    "5x5 stride 2": (40, (13, 22), (5, 5), (2, 2), (2, 2)),
    "7x7, narrower than the kernel": (16, (3, 2), (7, 7), (1, 1), (3, 3)),
    "no border": (5, (9, 12), (3, 3), (1, 1), (0, 0)),
    "1x1": (48, (3, 10), (1, 1), (1, 1), (0, 0)),
    "1x3 stride 3": (17, (4, 40), (1, 3), (2, 3), (0, 1)),
}


@each_set
@pytest.mark.parametrize("case", DEPTHWISE.values(), ids=DEPTHWISE)
def test_depthwise(instruction_set, case):
    channels, size_in, kernel, strides, pads = case
    size = out_size(size_in, kernel, strides, pads)
    source, weight = random(channels, *size_in), random(channels, 1, *kernel, seed=1)
    bias, other = random(channels, seed=2), random(channels, *size, seed=3)
    bench = Bench("depthwise", instruction_set)
    bench.shape("in", channels, *size_in)
    bench.shape("out", channels, *size)
    bench.tensor("in", source, size_in[0] * size_in[1] * 16)
    bench.tensor("other", other, (size[0] * size[1] + 2) * 16)
    bench.fields |= dict(zip(("kernel_height", "kernel_width"), kernel, strict=True))
    bench.fields |= dict(zip(("stride_height", "stride_width"), strides, strict=True))
    bench.fields |= {"pad_top": pads[0], "pad_left": pads[1], "out_block": size[0] * size[1] * 16}
    bench.fields["weights_at"] = bench.put(pack_depthwise(weight), "weights")
    bench.fields["bias_at"] = bench.put(pack_bias(bias), "weights")
    bench.room("out_at", -(-channels // 16) * size[0] * size[1] * 16)
    workspace, _ = bench.run(activation=convnet.ACTIVATIONS.index("relu"), other_when=convnet.WHENS.index("add_after"))
    expected = np.maximum(reference.depthwise(source, weight, bias, strides, pads, size), 0) + other
    found = reference.from_blocks(workspace[bench.fields["out_at"] :], channels, *size, size[0] * size[1] * 16)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@each_set
@pytest.mark.parametrize(
    ("size_in", "kernel", "strides", "pads"),
    [
        ((8, 13), (5, 5), (1, 1), (2, 2)),
        ((8, 13), (13, 13), (1, 1), (6, 6)),
        ((9, 7), (2, 2), (2, 2), (0, 0)),
        ((7, 9), (3, 3), (2, 2), (1, 1)),
        ((1, 1), (3, 3), (1, 1), (1, 1)),
    ],
)
def test_max_pool(instruction_set, size_in, kernel, strides, pads):
    size = out_size(size_in, kernel, strides, pads)
    source = random(21, *size_in) - 5  # all below zero: a border of zeros would show
    bench = Bench("max_pool", instruction_set)
    bench.shape("in", 21, *size_in)
    bench.shape("out", 21, *size)
    bench.tensor("in", source, size_in[0] * size_in[1] * 16)
    bench.fields |= dict(zip(("kernel_height", "kernel_width"), kernel, strict=True))
    bench.fields |= dict(zip(("stride_height", "stride_width"), strides, strict=True))
    bench.fields |= {"pad_top": pads[0], "pad_left": pads[1], "out_block": size[0] * size[1] * 16}
    bench.room("scratch_at", ((size[1] - 1) * strides[1] + kernel[1]) * 16)
    bench.room("out_at", 2 * size[0] * size[1] * 16)
    workspace, _ = bench.run()
    found = reference.from_blocks(workspace[bench.fields["out_at"] :], 21, *size, size[0] * size[1] * 16)
    np.testing.assert_array_equal(found, reference.max_pool(source, kernel, strides, pads, size).astype(np.float32))


@each_set
@pytest.mark.parametrize("factors", [(2, 2), (1, 3), (4, 1)])
def test_upsample(instruction_set, factors):
    source = random(18, 3, 5)
    size = (3 * factors[0], 5 * factors[1])
    bench = Bench("upsample", instruction_set)
    bench.shape("in", 18, 3, 5)
    bench.shape("out", 18, *size)
    bench.tensor("in", source, 15 * 16)
    bench.fields |= {"stride_height": factors[0], "stride_width": factors[1], "out_block": size[0] * size[1] * 16}
    bench.room("out_at", 2 * size[0] * size[1] * 16)
    workspace, _ = bench.run()
    found = reference.from_blocks(workspace[bench.fields["out_at"] :], 18, *size, size[0] * size[1] * 16)
    np.testing.assert_array_equal(found, source.repeat(factors[0], 1).repeat(factors[1], 2))


def elementwise(instruction_set, source, activation, when="no", other=None):
    channels, height, width = source.shape
    bench = Bench("elementwise", instruction_set)
    bench.shape("in", *source.shape)
    bench.shape("out", *source.shape)
    bench.tensor("in", source, height * width * 16)
    if other is not None:
        bench.tensor("other", other, (height * width + 1) * 16)
    bench.fields |= {"out_block": height * width * 16, "activation": convnet.ACTIVATIONS.index(activation)}
    bench.fields["other_when"] = convnet.WHENS.index(when)
    bench.fields["activation_at"] = bench.put(np.float32(NUMBERS.get(activation, (0, 0))), "weights")
    bench.room("out_at", -(-channels // 16) * height * width * 16)
    workspace, _ = bench.run()
    return reference.from_blocks(workspace[bench.fields["out_at"] :], channels, height, width, height * width * 16)


@each_set
@pytest.mark.parametrize("when", convnet.WHENS)
@pytest.mark.parametrize("activation", convnet.ACTIVATIONS)
def test_elementwise(instruction_set, activation, when):
    source, other = random(19, 3, 7), random(19, 3, 7, seed=1)
    found = elementwise(instruction_set, source, activation, when, other)
    apply = reference.ACTIVATIONS[activation]
    wide, more = source.astype(np.float64), other.astype(np.float64)
    expected = {
        "no": lambda: apply(wide, *NUMBERS.get(activation, (0, 0))),
        "add_before": lambda: apply(wide + more, *NUMBERS.get(activation, (0, 0))),
        "add_after": lambda: apply(wide, *NUMBERS.get(activation, (0, 0))) + more,
        "multiply_after": lambda: apply(wide, *NUMBERS.get(activation, (0, 0))) * more,
    }[when]()
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=3e-7)


@each_set
@pytest.mark.parametrize("activation", ["silu", "sigmoid"])
def test_sigmoid_is_as_good_as_it_says(instruction_set, activation):
    x = np.linspace(-87, 87, 16 * 50000, dtype=np.float32).reshape(16, 500, 100)
    found = elementwise(instruction_set, x, activation).astype(np.float64)
    expected = reference.ACTIVATIONS[activation](x.astype(np.float64), 0, 0)
    error = np.abs(found - expected) / np.maximum(np.abs(expected), 1e-45)
    assert error.max() < 4e-6
    assert error[np.abs(x) <= 8].max() < 5e-7


@each_set
def test_sigmoid_at_its_ends(instruction_set):
    x = np.float32([np.nan, np.inf, -np.inf, -88, -1000, 88, 3e38, -3e38, 0, -0.0, 1e-40, 16]).reshape(12, 1, 1)
    sigmoid = elementwise(instruction_set, x, "sigmoid").reshape(-1)
    assert np.isnan(sigmoid[0])
    np.testing.assert_allclose(sigmoid[1:], [1, 0, 0, 0, 1, 1, 0, 0.5, 0.5, 0.5, 0.9999999], atol=1e-7)
    silu = elementwise(instruction_set, x, "silu").reshape(-1)
    assert np.isnan(silu[0])
    np.testing.assert_allclose(silu[1:], [np.inf, 0, 0, 0, 88, 3e38, 0, 0, 0, 0, 15.999998], rtol=1e-6, atol=1e-35)


@each_set
@pytest.mark.parametrize(("channels", "first"), [(5, 0), (5, 3), (20, 12), (32, 16), (17, 31), (40, 7)])
def test_copy(instruction_set, channels, first):
    source, before = random(channels, 2, 3), random(80, 2, 3, seed=1)
    bench = Bench("copy", instruction_set)
    bench.shape("in", channels, 2, 3)
    bench.shape("out", 80, 2, 3)
    bench.tensor("in", source, 7 * 16)
    bench.tensor("out", before, 6 * 16)
    workspace, _ = bench.run(channel=first)
    expected = before.copy()
    expected[first : first + channels] = source
    found = reference.from_blocks(workspace[bench.fields["out_at"] :], 80, 2, 3, 6 * 16)
    np.testing.assert_array_equal(found, expected)


@each_set
@pytest.mark.parametrize(("first", "channels"), [(0, 5), (3, 20), (16, 16), (15, 2), (30, 7)])
def test_store_rows(instruction_set, first, channels):
    source = random(37, 2, 3)
    bench = Bench("store_rows", instruction_set)
    bench.shape("in", 37, 2, 3)
    bench.shape("out", channels, 2, 3)
    bench.tensor("in", source, 6 * 16)
    bench.fields |= {"channel": first, "row_length": 25, "out_at": 25 + 2}
    _, output = bench.run(output_shape=(8, 25), activation=convnet.ACTIVATIONS.index("relu"))
    expected = np.full((8, 25), np.nan)
    expected[1:7, 2 : 2 + channels] = np.maximum(source[first : first + channels].reshape(channels, -1).T, 0)
    np.testing.assert_array_equal(output, expected.astype(np.float32))


def rounded(values):
    """The nearest bfloat16 of each number, as float32; the even one of two."""
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def bf16_bench(instruction_set, case, rows=False, group=4):
    channels, (height, width), out, kernel, strides, pads, planar = case
    size = out_size((height, width), kernel, strides, pads)
    source, weight, bias = random(channels, height, width), random(out, channels, *kernel, seed=1), random(out, seed=2)
    bench = Bench("picture_bf16" if planar else "conv_bf16", instruction_set)
    bench.shape("in", channels, height, width)
    bench.shape("out", out, *size)
    if planar:
        bench.picture = source
        bench.fields |= {"planar": 1, "in_block": height * width}
    else:
        bench.tensor("in", source, (height * width + 1) * 16)
    out_block = (size[0] * size[1] + 3) * 16
    bench.fields |= dict(zip(("kernel_height", "kernel_width"), kernel, strict=True))
    bench.fields |= dict(zip(("stride_height", "stride_width"), strides, strict=True))
    bench.fields |= {"pad_top": pads[0], "pad_left": pads[1], "group": group, "out_block": out_block}
    pack = pack_bf16_planar if planar else pack_bf16
    bench.fields["weights_at"] = bench.put(pack(weight), "weights")
    bench.fields["bias_at"] = bench.put(pack_bias(bias), "weights")
    span = (size[1] - 1) * strides[1] + kernel[1]
    if planar:
        bench.room("scratch_at", (kernel[0] * channels * (span + kernel[1] % 2) + 1) // 2)
    else:
        span = convnet.BF16_CHUNK if kernel == strides == (1, 1) else span
        pixels = kernel[0] * -(-channels // 32) * span + convnet.BF16_SLACK * strides[1]
        bench.room("scratch_at", pixels * 16)
    if rows:
        bench.fields |= {"row_length": out + 3, "out_at": 2 * (out + 3) + 1}
    else:
        bench.room("out_at", -(-out // 16) * out_block)
    return bench, reference.conv(rounded(source), rounded(weight), bias, strides, pads, size)


BF16 = {
    "many pixels of one": (48, (3, 300), 40, (1, 1), (1, 1), (0, 0), False),
    "a block and a bit, and back": (17, (9, 37), 33, (3, 3), (1, 1), (1, 1), False),
    "the picture, four blocks and a bit": (3, (6, 31), 70, (3, 3), (2, 2), (1, 1), True),
    "the picture, rows of one pixel": (4, (9, 1), 16, (3, 1), (2, 2), (1, 0), True),
    "the picture, wider borders than rows": (2, (3, 2), 17, (7, 18), (3, 2), (6, 17), True),
} | CONVS
BF16_SETS = convnet.bf16_instruction_sets()


@each_bf16_set
@pytest.mark.parametrize("case", BF16.values(), ids=BF16)
def test_conv_bf16(instruction_set, case):
    bench, expected = bf16_bench(instruction_set, case)
    found = result(bench, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5 * np.abs(expected).max())


@each_bf16_set
@pytest.mark.parametrize(("channels", "planar"), [(20, False), (4, True)])
@pytest.mark.parametrize("out", [5, 16, 33])
def test_conv_bf16_into_rows(instruction_set, out, channels, planar):
    bench, expected = bf16_bench(instruction_set, (channels, (3, 7), out, (3, 3), (1, 1), (1, 1), planar), rows=True)
    _, output = bench.run(output_shape=(25, out + 3))
    np.testing.assert_allclose(output[2:23, 1 : 1 + out], expected.reshape(out, -1).T, rtol=1e-5, atol=1e-4)
    assert np.isnan(output[:2]).all()
    assert np.isnan(output[2:23, [0, -2, -1]]).all()


@each_bf16_set
def test_conv_bf16_in_other_groups_does_not_change_a_bit(instruction_set):
    """Nor does it matter how many pixels lie beside one: a row of 29 in tiles of 6 to 12."""
    found = set()
    for group in (1, 2, 3, 4):
        bench, expected = bf16_bench(instruction_set, (37, (5, 29), 90, (3, 3), (1, 1), (1, 1), False), group=group)
        found.add(result(bench, expected).tobytes())
    assert len(found) == 1


@each_bf16_set
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("pixels", range(1, 27))
def test_every_tile_of_the_picture_in_bf16(instruction_set, stride, pixels):
    case = (3, (3, stride * (pixels - 1) + 3), 20, (3, 3), (1, stride), (0, 0), True)
    bench, expected = bf16_bench(instruction_set, case)
    found = result(bench, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    bench.shape("out", 20, 1, 1)  # the last pixel alone
    bench.picture = np.ascontiguousarray(bench.picture[..., -3:])
    bench.fields |= {"in_width": 3, "in_block": 9}
    assert result(bench, expected[..., -1:]).tobytes() == np.ascontiguousarray(found[..., -1:]).tobytes()


@each_bf16_set
def test_the_picture_in_bf16_is_scaled_before_it_is_rounded_but_not_its_border(instruction_set):
    case = (3, (6, 37), 5, (3, 3), (2, 2), (1, 1), True)
    bench, _ = bf16_bench(instruction_set, case)
    factor, summand = np.float32([0.5, 2, 3]), np.float32([-1, 0, 4])
    at = bench.put(np.concatenate([factor, summand]), "weights")
    scaled = (bench.picture.astype(np.float64) * factor[:, None, None] + summand[:, None, None]).astype(np.float32)
    weight, bias = random(5, 3, 3, 3, seed=1), random(5, seed=2)
    expected = reference.conv(rounded(scaled), rounded(weight), bias, (2, 2), (1, 1), (3, 19))
    np.testing.assert_allclose(result(bench, expected, affine_at=at), expected, rtol=1e-5, atol=1e-4)


def winograd_bf16_bench(instruction_set, channels, size_in, out, pads=(1, 1), group=4, chunk=7):
    case = (channels, size_in, out, (3, 3), (1, 1), pads, False)
    bench, _ = bf16_bench(instruction_set, case, group=group)
    source, weight, bias = random(channels, *size_in), random(out, channels, 3, 3, seed=1), random(out, seed=2)
    bench.fields |= {"kind": convnet.KINDS.index("winograd_bf16"), "chunk": chunk}
    bench.fields["weights_at"] = bench.put(pack_winograd_bf16(weight), "weights")
    numbers = (16 * (-(-channels // 32) + group) + 4 * group) * chunk
    bench.room("scratch_at", (2 * 4 * (2 * chunk + 2) + numbers) * 16)
    size = out_size(size_in, (3, 3), (1, 1), pads)
    return bench, reference.winograd(source, weight, bias, pads, size, rounded)


@each_bf16_set
@pytest.mark.parametrize("case", WINOGRADS.values(), ids=WINOGRADS)
def test_winograd_bf16(instruction_set, case):
    bench, expected = winograd_bf16_bench(instruction_set, *case)
    found = result(bench, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=5e-5 * np.abs(expected).max())


@each_bf16_set
def test_winograd_bf16_activates_and_adds(instruction_set):
    found, expected = activated_and_added(*winograd_bf16_bench(instruction_set, 20, (5, 7), 33))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-3)


@each_bf16_set
def test_winograd_bf16_in_other_tiles_and_groups_does_not_change_a_bit(instruction_set):
    found = set()
    for group, chunk in [(g, c) for g in (1, 2, 3, 4) for c in (1, 5, 100)]:
        bench, expected = winograd_bf16_bench(instruction_set, 37, (5, 13), 90, group=group, chunk=chunk)
        found.add(result(bench, expected).tobytes())
    assert len(found) == 1


def test_weights_in_bf16_are_rounded_to_the_even_one():
    numbers = np.array([1.0, 1.00390625, 1.01171875, -1.0039064, 3e38, 0.0], np.float32)
    packed = pack_bf16(np.broadcast_to(numbers[:, None, None, None], (6, 1, 1, 1)))
    found = packed.view(np.uint16).reshape(1, 1, 1, 1, 16, 16, 2)[0, 0, 0, 0, 0, :6, 0].astype(np.uint32) << 16
    np.testing.assert_array_equal(found.view(np.float32), rounded(numbers))
    np.testing.assert_array_equal(found.view(np.float32)[:4], [1.0, 1.0, 1.015625, -1.0078125])


@each_bf16_set
@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"planar": 1}, "planar"),
        ({"affine_at": 0}, "affine_at"),
        ({"group": 0}, "group"),
        ({"group": 5}, "group"),
        ({"kernel_height": 17}, "the kernel"),
        ({"weights_at": 1 << 20}, "the weights"),
        ({"bias_at": -16}, "the bias"),
        ({"scratch_at": -1}, "the scratch"),
        ({"scratch_at": 1 << 16}, "the scratch"),
        ({"in_block": 1 << 30}, "the input"),
        ({"out_at": 1 << 20}, "the output"),
        ({"pad_left": 3}, "the padding"),
        ({"stride_height": 99}, "a window below the input"),
    ],
)
def test_a_conv_bf16_that_leaves_a_buffer(instruction_set, changed, part):
    bench, _ = bf16_bench(instruction_set, BF16["3x3 with borders"])
    with pytest.raises(ValueError, match=rf"steps\[0\] is out of bounds: {part}"):
        bench.run(**changed)


@each_bf16_set
@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"in_block": 1}, "planar"),
        ({"planar": 0}, "planar"),
        ({"in_at": 1}, "the picture"),
        ({"kernel_height": 22}, "the kernel"),
        ({"kernel_width": 29}, "the kernel"),
        ({"weights_at": 1 << 20}, "the weights"),
        ({"affine_at": 1 << 20}, "affine_at"),
        ({"scratch_at": -1}, "the scratch"),
        ({"scratch_at": 1 << 16}, "the scratch"),
    ],
)
def test_a_picture_bf16_that_leaves_a_buffer(instruction_set, changed, part):
    bench, _ = bf16_bench(instruction_set, BF16["the picture, odd"])
    with pytest.raises(ValueError, match=rf"steps\[0\] is out of bounds: {part}"):
        bench.run(**changed)


@each_bf16_set
@each_winograd_fault
def test_a_winograd_bf16_that_leaves_a_buffer(instruction_set, changed, part):
    bench, _ = winograd_bf16_bench(instruction_set, 20, (5, 7), 33)
    with pytest.raises(ValueError, match=rf"steps\[0\] is out of bounds: {part}"):
        bench.run(**changed)


@each_set
@pytest.mark.parametrize("kind", ["conv_bf16", "winograd_bf16", "picture_bf16"])
def test_bf16_needs_a_set_that_has_it(instruction_set, kind):
    bench, _ = bf16_bench(instruction_set, BF16["one pixel"])
    with pytest.raises(ValueError, match="needs one of AMX, AVX-512 BF16"):
        bench.run(kind=convnet.KINDS.index(kind))


def attention_bench(instruction_set, heads=2, depth=32, width=48, size=(5, 7), factor=0.3):
    bench = Bench("attention", instruction_set)
    queries, keys = random(heads * depth, *size), random(heads * depth, *size, seed=1)
    values = random(heads * width, *size, seed=2)
    pixels = size[0] * size[1]
    bench.shape("in", heads * depth, *size)
    bench.shape("out", heads * width, *size)
    bench.tensor("in", queries, (pixels + 1) * 16)
    bench.tensor("other", keys, (pixels + 2) * 16)
    bench.tensor("third", values, (pixels + 3) * 16)
    out_block = (pixels + 4) * 16
    bench.fields |= {"heads": heads, "group": 4 if instruction_set == "AVX-512" else 1, "out_block": out_block}
    bench.fields["activation_at"] = bench.put(np.array([factor, 0], np.float32), "weights")
    bench.room("scratch_at", -(-pixels // 16) * 16 * (depth + convnet.ATTENTION_ROWS) + width * pixels)
    bench.room("out_at", heads * width // 16 * out_block)
    return bench, reference.attention(queries, keys, values, heads, factor)


ATTENTIONS = {
    "one pixel": {"size": (1, 1)},
    "one head, one block each": {"heads": 1, "depth": 16, "width": 16, "size": (4, 4)},
    "a last group of one block": {"size": (5, 13), "width": 80},
    "more queries than are kept at a time": {"size": (9, 11), "heads": 3},
    "a whole number of blocks and of queries": {"size": (6, 8), "width": 64},
    "large scores": {"size": (7, 9), "factor": 40.0},
}


@each_set
@pytest.mark.parametrize("case", ATTENTIONS.values(), ids=ATTENTIONS)
def test_attention(instruction_set, case):
    bench, expected = attention_bench(instruction_set, **case)
    found = result(bench, expected)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.skipif(SETS[:1] != ("AVX-512",), reason="AVX2 has groups of one block only")
def test_groups_of_an_attention_do_not_change_a_bit():
    found = []
    for group in (1, 2, 3, 4):
        bench, expected = attention_bench("AVX-512", size=(12, 5))
        found.append(result(bench, expected, group=group))
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"heads": 0}, "the heads"),
        ({"heads": 3}, "the heads"),
        ({"in_channels": 2 * 1040, "in_at": 0}, "the input"),
        ({"out_width": 6}, "the channels"),
        ({"other_when": 1}, "other_when or group"),
        ({"group": 5}, "other_when or group"),
        ({"other_at": 1 << 20}, "the keys"),
        ({"other_block": 1 << 30}, "the keys"),
        ({"third_at": -1}, "the values"),
        ({"third_block": -16}, "a block of -16"),
        ({"scratch_at": -1}, "the scratch"),
        ({"scratch_at": 1 << 14}, "the scratch"),
        ({"out_at": 1 << 20}, "the output"),
    ],
)
def test_attention_that_leaves_a_buffer(changed, part):
    bench, _ = attention_bench(SETS[0])
    with pytest.raises(ValueError, match=rf"steps\[0\] is out of bounds: {part}"):
        bench.run(**changed)


# ---- what is refused ----


def plain_bench():
    bench, source, _ = conv_bench(SETS[0], CONVS["3x3 with borders"])
    return bench, source


@pytest.mark.parametrize(
    ("changed", "part"),
    [
        ({"kind": len(convnet.KINDS)}, f"kind {len(convnet.KINDS)}"),
        ({"kind": -1}, "kind -1"),
        ({"in_channels": 0}, "a size of 0"),
        ({"out_width": 1 << 40}, "a size of"),
        ({"in_at": -1}, "the input"),
        ({"in_block": 1 << 30}, "the input"),
        ({"in_block": -16}, "a block of -16"),
        ({"out_at": 1 << 50}, "the output"),
        ({"out_channels": 4096}, "the output"),
        ({"in_height": 500}, "the input"),
        ({"stride_width": 99}, "a window right of the input"),
        ({"stride_height": 99}, "a window below the input"),
        ({"pad_left": 3}, "the padding"),
        ({"weights_at": 1 << 20}, "the weights"),
        ({"bias_at": -16}, "the bias"),
        ({"segments_at": 1 << 20}, "the segments"),
        ({"segments_at": 1}, "the segments"),
        ({"out_at": 1792}, "the segments in the output"),
        ({"segments_at": 0, "scratch_at": 0}, "the scratch"),
        ({"scratch_at": 1 << 20}, "the scratch"),
        ({"scratch_at": -1}, "padding without scratch"),
        ({"affine_at": 0}, "affine_at"),
        ({"activation": 8}, "the activation"),
        ({"activation_at": -1}, "the activation"),
        ({"other_when": 4}, "other_when"),
        ({"other_when": 1, "other_at": 1 << 20}, "the second input"),
        ({"group": 0}, "group or chunk"),
        ({"group": 5}, "group or chunk"),
        ({"chunk": 0}, "group or chunk"),
        ({"planar": 1}, "the picture"),
        ({"planar": 1, "in_block": 3}, "planar"),
        ({"row_length": 5}, "the rows"),
        ({"row_length": 1}, "the output"),
    ],
)
def test_a_step_that_leaves_a_buffer(changed, part):
    bench, source = plain_bench()
    with pytest.raises(ValueError, match=rf"steps\[0\] is out of bounds: {part}"):
        bench.run(picture=source[:1], **changed)


def test_a_row_beyond_all_numbers():
    """Its last one would be before the first of the output."""
    bench, source, _ = conv_bench(SETS[0], (16, (2, 2), 1, (1, 1), (1, 1), (0, 0), False))
    with pytest.raises(ValueError, match=r"steps\[0\] is out of bounds: the rows"):
        bench.run(picture=source, output_shape=(4, 1), row_length=1, out_at=(1 << 63) - 4)


@each_set
def test_tables_with_random_faults_write_nothing_elsewhere(instruction_set):
    """Whatever a table says, it is refused or stays inside its buffers: `run` looks at the canaries."""
    rng = np.random.default_rng(5)
    ran = 0
    for _ in range(600):
        case = list(CONVS.values())[rng.integers(len(CONVS))]
        bench, source, _ = conv_bench(instruction_set, case)
        kind = rng.integers(8)
        if kind == 0:
            bench, _ = attention_bench(instruction_set)
            source = np.zeros((1, 1, 1), np.float32)
        elif kind == 1 and BF16_SETS:
            bench, _ = bf16_bench(BF16_SETS[ran % len(BF16_SETS)], case)
        elif kind == 3 and BF16_SETS:
            bench, _ = winograd_bf16_bench(BF16_SETS[ran % len(BF16_SETS)], 20, (5, 7), 33)
        elif kind == 2:
            bench, _ = winograd_bench(instruction_set, 20, (5, 7), 33)
        changed = {}
        for name in rng.choice(convnet.FIELDS, rng.integers(1, 4), replace=False):
            here = bench.fields.get(name, 0)
            changed[name] = int(rng.choice([0, 1, 2, 3, here - 1, here + 1, here * 2, here + 16, -here, 1 << 33]))
        try:
            bench.run(picture=source, output_shape=(40, 33), **changed)
            ran += 1
        except ValueError:
            continue
    assert ran > 50


@pytest.mark.parametrize("instruction_set", SETS + BF16_SETS)
@pytest.mark.parametrize("shape", [(4, 29, 16), (1, 1, 48), (3, 0, 16)])
def test_means_of_bins(instruction_set, shape):
    values, weights = random(*shape) * 9, random(shape[2], seed=1)
    values[0, :1, 3] = -np.inf
    chances = np.exp(values.astype(np.float64) - values.max(2, keepdims=True))
    expected = (chances * weights).sum(2) / chances.sum(2)
    for given in (values, np.ascontiguousarray(values.transpose(1, 0, 2)).transpose(1, 0, 2), values[::-1][::-1]):
        found = convnet.means_of_bins(given, weights, instruction_set)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


def test_means_of_bins_of_nan_are_nan():
    values = random(1, 3, 16)
    values[0, 1, 5] = np.nan
    found = convnet.means_of_bins(values, random(16), SETS[0])
    assert np.isnan(found).tolist() == [[False, True, False]]


@pytest.mark.parametrize(
    ("values", "weights", "instruction_set", "error"),
    [
        (random(2, 3, 16).astype(np.float64), random(16), SETS[:1], TypeError),
        (random(3, 16), random(16), SETS[:1], TypeError),
        ([[[0.0] * 16]], random(16), SETS[:1], TypeError),
        (random(2, 3, 8), random(8), SETS[:1], ValueError),
        (random(2, 3, 0), random(0), SETS[:1], ValueError),
        (random(2, 3, 32), random(16), SETS[:1], ValueError),
        (random(2, 3, 32)[:, :, ::2], random(16), SETS[:1], ValueError),
        (random(2, 3, 16), random(2, 16), SETS[:1], ValueError),
        (random(2, 3, 16), random(16), ["SSE"], ValueError),
    ],
)
def test_means_of_bins_arguments(values, weights, instruction_set, error):
    with pytest.raises(error):
        convnet.means_of_bins(values, weights, *instruction_set)


def test_arguments():
    bench, source = plain_bench()
    weights, size = np.concatenate(bench.weights), sum(part.size for part in bench.workspace)
    table = bench.table()
    network = ConvNet(table, weights, source.shape, (1, 1), size, SETS[0])
    assert (network.picture_shape, network.output_shape) == (source.shape, (1, 1))
    assert (network.workspace_size, network.instruction_set) == (size, SETS[0])
    table[:] = -1  # a copy was taken
    workspace, output = aligned(size), np.zeros((1, 1), np.float32)
    network.run(source, output, workspace, first=0, end=1)
    frozen = workspace.copy()
    frozen.setflags(write=False)
    for wrong, error in [
        ((source.astype(np.float64), output, workspace), TypeError),
        ((source.tolist(), output, workspace), TypeError),
        ((source[:, :, ::2], output, workspace), ValueError),
        ((source[:-1], output, workspace), ValueError),
        ((source, np.zeros((1, 2), np.float32), workspace), ValueError),
        ((source, output, workspace[:-1]), ValueError),
        ((source, output, frozen), ValueError),
    ]:
        with pytest.raises(error):
            network.run(*wrong)
    for first, end in ((-1, 1), (1, 0), (0, 2)):
        with pytest.raises(ValueError, match="first and end"):
            network.run(source, output, workspace, first=first, end=end)
    for arguments in [
        (bench.table(), weights, source.shape, (1, 1), size, "SSE"),
        (bench.table()[:, :-1].copy(), weights, source.shape, (1, 1), size, SETS[0]),
        (bench.table(), weights, source.shape[:2], (1, 1), size, SETS[0]),
        (bench.table(), weights, source.shape, (0, 1), size, SETS[0]),
        (bench.table(), weights, source.shape, (1, 1), -1, SETS[0]),
    ]:
        with pytest.raises(ValueError, match="must be"):
            ConvNet(*arguments)
    with pytest.raises(TypeError, match="steps must be a int64 array"):
        ConvNet(bench.table().astype(np.float64), weights, source.shape, (1, 1), size, SETS[0])


def test_aligned():
    assert aligned(0).shape == (0,)
    for size in (1, 1000):
        array = aligned(size)
        assert (array.shape, array.dtype, array.ctypes.data % 64, array.any()) == ((size,), np.float32, 0, False)
    with pytest.raises(ValueError, match="at least 0"):
        aligned(-1)


def test_threads_do_not_meet():
    bench, source, expected = conv_bench(SETS[0], CONVS["3x3 with borders"])
    content = np.concatenate(bench.workspace)
    network = ConvNet(bench.table(), np.concatenate(bench.weights), source.shape, (1, 1), content.size, SETS[0])
    at, block = bench.fields["out_at"], bench.fields["out_block"]
    found = []

    def work():
        for _ in range(50):
            workspace = aligned(content.size)
            workspace[:] = content
            network.run(source, np.zeros((1, 1), np.float32), workspace)
            found.append(reference.from_blocks(workspace[at:], *expected.shape, block).tobytes())

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 200
    assert len(set(found)) == 1


def test_regions_that_live_together_do_not_overlap():
    rng = np.random.default_rng(0)
    regions = []
    for _ in range(200):
        first = int(rng.integers(0, 50))
        regions.append(Region(int(rng.integers(1, 5000)), first, first + int(rng.integers(0, 9))))
    size = allocate(regions)
    assert size < sum(region.size for region in regions) / 3
    for i, one in enumerate(regions):
        assert one.at % 16 == 0
        assert one.at + one.size <= size
        for other in regions[:i]:
            apart = one.at + one.size <= other.at or other.at + other.size <= one.at
            assert apart or one.last < other.first or other.last < one.first
