"""The table of steps of one network at one size, and the workspace it needs."""

from __future__ import annotations

import numpy as np

from engine.inference.native.fuse import fuse, uses
from engine.inference.native.graph import Graph
from engine.inference.native.layout import BLOCK, PART, Place, Region, allocate, block_size, blocks, place_tensors
from engine.inference.native.ops import (
    NOTHING,
    Activation,
    Attention,
    Cells,
    Concat,
    Conv,
    Elementwise,
    MaxPool,
    Network,
    Op,
    Patch,
    Tensor,
    Unsupported,
    refusing,
    sources,
)
from engine.inference.native.pack import (
    WeightStore,
    pack_bf16,
    pack_bf16_planar,
    pack_bias,
    pack_conv,
    pack_depthwise,
    pack_winograd,
    pack_winograd_bf16,
)
from engine.inference.native.trace import trace
from engine_ext.convnet import (
    ACTIVATIONS,
    ATTENTION_ROWS,
    BF16_CHUNK,
    BF16_PAIRS,
    BF16_ROWS,
    BF16_SETS,
    BF16_SLACK,
    FIELDS,
    KINDS,
    MAX_DEPTH,
    WHENS,
    ConvNet,
)

_WORKSPACE_LIMIT = 1 << 28  # floats: 1 GiB per thread
MAX_ROW = 1 << 20  # pixels: the limit of engine_ext.convnet
_MAX_GROUP = 4  # output blocks that one tile of the kernel computes; 1 on AVX2
_WINOGRAD_CACHE = 3072  # channels times tiles of 2x2 pixels, whose 16 numbers take 192 KiB
_WINOGRAD_CHANNELS = 32  # below, what precedes and follows the products takes too long
_INPUT_CACHE = 8192  # floats of the input, 32 KiB, that all groups read before the next part of an image

Row = dict[str, int]


def plan(graph: Graph, height: int, width: int, store: WeightStore, instruction_set: str) -> ConvNet:
    """Return a network for (C, height, width) images. Weights go to `store`. Raises Unsupported.

    With one of BF16_SETS convolutions compute in bfloat16, but for depthwise ones, and where the kernel is too large.
    """
    with refusing():
        network = trace(graph, height, width)
        fuse(network)
        return _Planner(network, store, instruction_set).plan()


class _Planner:
    def __init__(self, network: Network, store: WeightStore, instruction_set: str) -> None:
        assert network.result is not None
        self._network = network
        self._result: Cells = network.result
        self._store = store
        self._set = instruction_set
        self._bf16 = instruction_set in BF16_SETS
        self._max_group = 1 if instruction_set == "AVX2" else _MAX_GROUP
        self._rows: list[tuple[Row, list[tuple[str, Place | Region]]]] = []
        self._regions: set[Region] = set()
        self._direct = self._written_directly()
        self._places = place_tensors(network, set(self._direct))

    def plan(self) -> ConvNet:
        self._check_result()
        shown: dict[Tensor, list[Patch]] = {}
        for patch in self._result.patches:
            shown.setdefault(patch.tensor, []).append(patch)
        for i, op in enumerate(self._network.ops):
            for tensor in (*sources(op), op.out):
                if tensor in self._places:
                    self._regions.add(self._places[tensor].region)
            self._emit(op, i)
            if op.out not in self._direct:
                for patch in shown.get(op.out, []):
                    self._store_rows(patch)
        size = allocate(list(self._regions))
        if size > _WORKSPACE_LIMIT:
            raise Unsupported(f"it needs {size * 4 >> 20} MiB a thread")
        weights_at = self._store.whole()
        table = np.zeros((len(self._rows), len(FIELDS)), np.int64)
        column = {name: i for i, name in enumerate(FIELDS)}
        for row, (values, places) in zip(table, self._rows, strict=True):
            for name, value in values.items():
                row[column[name]] = value
            for name, place in places:
                row[column[name]] = place.at if isinstance(place, Region) else place.region.at + place.offset
        shape = (self._result.rows, self._result.columns)
        try:
            return ConvNet(table, weights_at, self._network.picture, shape, size, self._set)
        except ValueError as error:
            raise Unsupported(f"its plan is not sound ({error})") from error

    # ---- the result ----

    def _written_directly(self) -> dict[Tensor, Patch]:
        """Return tensors that are only, and wholly, part of the result: their convolutions write it directly."""
        count = uses(self._network)
        makers = {op.out: op for op in self._network.ops}
        found = {}
        for patch in self._result.patches:
            tensor, maker = patch.tensor, makers[patch.tensor]
            plain = isinstance(maker, Conv) and not maker.depthwise and maker.other is None
            whole = patch.channels == tensor.channels and patch.activation == NOTHING
            if plain and whole and count[tensor] == 1:
                found[tensor] = patch
        return found

    def _check_result(self) -> None:
        """Check that every number of the result is written exactly once."""
        rows, columns = self._result.rows, self._result.columns
        if max(rows, columns) > MAX_ROW or rows * columns > _WORKSPACE_LIMIT:
            raise Unsupported(f"its output is {rows} x {columns}")
        written = sum(patch.rows * patch.channels for patch in self._result.patches)
        edges = sorted((p.row, p.column, p.rows, p.channels) for p in self._result.patches)
        row = column = height = 0
        for at, left, patch_rows, channels in edges:
            if column == 0:
                row, height = at, patch_rows
            if (at, left, patch_rows) != (row, column, height):
                raise Unsupported("its output has gaps")
            column = (column + channels) % columns
        if written != rows * columns or column:
            raise Unsupported("its output has gaps")

    # ---- one operation ----

    def _emit(self, op: Op, index: int) -> None:
        if isinstance(op, Conv):
            self._conv(op, index)
            return
        if isinstance(op, Concat):
            self._concat(op)
            return
        if isinstance(op, Attention):
            self._attention(op, index)
            return
        row, places = self._common(op.source, op.out)
        if isinstance(op, Elementwise):
            row |= {"kind": KINDS.index("elementwise")}
            self._finish(op, row, places)
        elif isinstance(op, MaxPool):
            row |= {"kind": KINDS.index("max_pool")} | _window(op.kernel, op.strides, op.pads)
            padded = (op.out.width - 1) * op.strides[1] + op.kernel[1]
            places.append(("scratch_at", self._scratch(padded * BLOCK, index)))
        else:
            row |= {"kind": KINDS.index("upsample")} | _window((1, 1), op.factors, (0, 0))
        self._rows.append((row, places))

    def _common(self, source: Tensor, out: Tensor) -> tuple[Row, list[tuple[str, Place | Region]]]:
        row: Row = {
            "in_channels": source.channels,
            "in_height": source.height,
            "in_width": source.width,
            "in_block": block_size(source),
            "out_channels": out.channels,
            "out_height": out.height,
            "out_width": out.width,
            "out_block": block_size(out),
            "affine_at": -1,
            "scratch_at": -1,
            "group": 1,
            "chunk": 1,
            "activation_at": self._numbers(NOTHING),
        } | _window((1, 1), (1, 1), (0, 0))
        places: list[tuple[str, Place | Region]] = []
        if source in self._places:
            places.append(("in_at", self._places[source]))
        if out in self._places:
            places.append(("out_at", self._places[out]))
        return row, places

    def _finish(self, op: Conv | Elementwise, row: Row, places: list[tuple[str, Place | Region]]) -> None:
        row["activation"] = ACTIVATIONS.index(op.activation.name)
        row["activation_at"] = self._numbers(op.activation)
        row["other_when"] = WHENS.index(op.when)
        if op.other is not None:
            row["other_block"] = block_size(op.other)
            places.append(("other_at", self._places[op.other]))

    def _numbers(self, activation: Activation) -> int:
        pair = np.array(activation[1:], np.float32)
        return self._store.place(("activation",), (pair,), lambda: pair)

    def _scratch(self, size: int, index: int) -> Region:
        region = Region(size, index, index)
        self._regions.add(region)
        return region

    def _conv(self, op: Conv, index: int) -> None:
        height, width = op.weight.shape[2:]
        if op.source is not None:
            row, places = self._common(op.source, op.out)
        else:
            assert op.picture is not None
            row, places = self._common(Tensor(*op.picture), op.out)
            row |= {"planar": 1, "in_at": 0, "in_block": op.picture[1] * op.picture[2]}
        row |= _window((height, width), op.strides, op.pads)
        row["bias_at"] = self._store.place(("bias",), (op.bias,), lambda: pack_bias(op.bias))
        self._finish(op, row, places)
        if op.depthwise:
            row["kind"] = KINDS.index("depthwise")
            row["weights_at"] = self._store.place(("depthwise",), (op.weight,), lambda: pack_depthwise(op.weight))
            self._rows.append((row, places))
            return
        # On AMX products take so little time that Winograd's passes before and after them do not pay.
        if self._set != "AMX" and _suits_winograd(op) and op.out not in self._direct:
            self._winograd(op, row, places, index)
        elif self._bf16 and op.source is not None and height <= BF16_ROWS:
            self._in_bf16(op, row, places, index)
        elif self._bf16 and op.source is None and row["in_channels"] * height * -(-width // 2) <= BF16_PAIRS:
            self._picture_in_bf16(op, row, places, index)
        else:
            row["kind"] = KINDS.index("conv")
            self._blocking(op, row)
            self._padding(op, row, places, index)
        if op.out in self._direct:
            patch = self._direct[op.out]
            row |= {"out_at": patch.row * self._result.columns + patch.column, "row_length": self._result.columns}
        self._rows.append((row, places))

    def _in_bf16(self, op: Conv, row: Row, places: list[tuple[str, Place | Region]], index: int) -> None:
        """Round the input into a scratch buffer, row by row, or for a 1x1 convolution some pixels at a time."""
        height, width = op.weight.shape[2:]
        row["kind"], row["group"] = KINDS.index("conv_bf16"), self._group(op)
        row["weights_at"] = self._store.place(("bf16",), (op.weight,), lambda: pack_bf16(op.weight))
        _one_long_row(op, row)
        span = (row["out_width"] - 1) * op.strides[1] + width
        if (height, width, *op.strides) == (1, 1, 1, 1):
            span = BF16_CHUNK
        pixels = height * -(-op.weight.shape[1] // PART) * span + BF16_SLACK * op.strides[1]
        places.append(("scratch_at", self._scratch(pixels * BLOCK, index)))

    def _picture_in_bf16(self, op: Conv, row: Row, places: list[tuple[str, Place | Region]], index: int) -> None:
        """Do the same with the rows of each plane, of which two columns make a pair."""
        channels, height, width = op.weight.shape[1:]
        row["kind"] = KINDS.index("picture_bf16")
        row["weights_at"] = self._store.place(("bf16", "planar"), (op.weight,), lambda: pack_bf16_planar(op.weight))
        self._affine(op, row)
        span = (row["out_width"] - 1) * op.strides[1] + width + width % 2
        places.append(("scratch_at", self._scratch(-(-height * channels * span // 2), index)))

    def _affine(self, op: Conv, row: Row) -> None:
        if op.affine is not None:
            numbers = np.concatenate(op.affine)
            row["affine_at"] = self._store.place(("affine",), (numbers,), lambda: numbers)

    def _winograd(self, op: Conv, row: Row, places: list[tuple[str, Place | Region]], index: int) -> None:
        """Choose the number of output blocks per tile of the kernel, and of tiles of 2x2 pixels for which all groups
        are computed in turn."""
        channels = op.weight.shape[1]
        row["group"] = group = self._group(op)
        row["chunk"] = chunk = max(24, _WINOGRAD_CACHE // channels // 24 * 24)
        rows, parts = 4 * (2 * chunk + 2), -(-channels // BLOCK)
        if self._bf16:
            rows, parts = 2 * rows, -(-channels // PART)
            row["kind"] = KINDS.index("winograd_bf16")
            row["weights_at"] = self._store.place(
                ("winograd_bf16",), (op.weight,), lambda: pack_winograd_bf16(op.weight)
            )
        else:
            row["kind"] = KINDS.index("winograd")
            row["weights_at"] = self._store.place(
                ("winograd", group), (op.weight,), lambda: pack_winograd(op.weight, group)
            )
        size = rows + (16 * (parts + group) + 4 * group) * chunk
        places.append(("scratch_at", self._scratch(size * BLOCK, index)))

    def _group(self, op: Conv) -> int:
        """Return how many output blocks a tile of the kernel computes, as evenly as possible."""
        count = blocks(op.out)
        return -(-count // -(-count // self._max_group))

    def _blocking(self, op: Conv, row: Row) -> None:
        """Choose the number of output blocks per tile, and of pixels for which all groups are computed in turn."""
        planar = op.source is None
        row["group"] = group = self._group(op)
        row["weights_at"] = self._store.place(
            ("conv", group, planar), (op.weight,), lambda: pack_conv(op.weight, group, planar=planar)
        )
        if not planar:
            _one_long_row(op, row)
        per_pixel = op.weight.shape[1] * op.strides[1] * op.weight.shape[2]
        row["chunk"] = max(48, _INPUT_CACHE // per_pixel // 24 * 24)

    def _padding(self, op: Conv, row: Row, places: list[tuple[str, Place | Region]], index: int) -> None:
        """Copy rows with padding, and scaling, into a scratch buffer if the window exceeds the input."""
        channels, height, width = row["in_channels"], op.weight.shape[2], op.weight.shape[3]
        parts, unit = (channels, 1) if op.source is None else (-(-channels // BLOCK), BLOCK)
        self._affine(op, row)
        padded = (row["out_width"] - 1) * op.strides[1] + width
        below = (row["out_height"] - 1) * op.strides[0] + height - op.pads[0] > row["in_height"]
        right = padded - op.pads[1] > row["in_width"]
        if any(op.pads) or below or right or op.affine is not None:
            places.append(("scratch_at", self._scratch(height * parts * padded * unit, index)))
        segments = height * parts * (1 if op.source is None else width)
        places.append(("segments_at", self._scratch(segments * 4, index)))

    def _concat(self, op: Concat) -> None:
        """Emit copies of the parts that are not in place already."""
        whole, first = self._places[op.out], 0
        for source in op.sources:
            place = self._places[source]
            there = whole.offset + first // BLOCK * block_size(op.out)
            if first % BLOCK or place.region is not whole.region or place.offset != there:
                row, places = self._common(source, op.out)
                row |= {"kind": KINDS.index("copy"), "channel": first}
                self._rows.append((row, places))
            first += source.channels

    def _attention(self, op: Attention, index: int) -> None:
        """Emit a step for each area: its pixels are side by side in each block of channels."""
        pixels = op.pixels
        row, _ = self._common(op.queries, op.out)
        row |= {
            "kind": KINDS.index("attention"),
            "in_height": 1,
            "in_width": pixels,
            "out_height": 1,
            "out_width": pixels,
            "heads": op.heads,
            "group": self._max_group,
            "activation_at": self._numbers(Activation("nothing", op.factor)),
            "other_block": block_size(op.keys),
            "third_block": block_size(op.values),
        }
        padded = -(-pixels // BLOCK) * BLOCK
        size = (op.keys.channels // op.heads + ATTENTION_ROWS) * padded + op.out.channels // op.heads * pixels
        scratch = self._scratch(size, index)
        tensors = {"in_at": op.queries, "other_at": op.keys, "third_at": op.values, "out_at": op.out}
        for area in range(op.areas):
            places: list[tuple[str, Place | Region]] = [("scratch_at", scratch)]
            for name, tensor in tensors.items():
                region, offset = self._places[tensor]
                places.append((name, Place(region, offset + area * pixels * BLOCK)))
            self._rows.append((row, places))

    def _store_rows(self, patch: Patch) -> None:
        row, places = self._common(patch.tensor, patch.tensor)
        row |= {
            "kind": KINDS.index("store_rows"),
            "channel": patch.first,
            "out_channels": patch.channels,
            "out_at": patch.row * self._result.columns + patch.column,
            "row_length": self._result.columns,
            "activation": ACTIVATIONS.index(patch.activation.name),
            "activation_at": self._numbers(patch.activation),
        }
        self._rows.append((row, [place for place in places if place[0] == "in_at"]))


def _suits_winograd(op: Conv) -> bool:
    """Return whether a convolution takes less time by Winograd's F(2x2, 3x3)."""
    out, channels, *kernel = op.weight.shape
    suits = op.source is not None and kernel == [3, 3] and op.strides == (1, 1)
    return suits and out >= _WINOGRAD_CHANNELS and _WINOGRAD_CHANNELS <= channels <= MAX_DEPTH


def _one_long_row(op: Conv, row: Row) -> None:
    """Make a stride-1 convolution of one pixel one of a long row: one pixel more is the next in memory."""
    pixels = op.out.height * op.out.width
    if op.weight.shape[2:] == (1, 1) and op.strides == (1, 1) and pixels <= MAX_ROW:
        row |= {"in_height": 1, "in_width": pixels, "out_height": 1, "out_width": pixels}


def _window(kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, int]) -> Row:
    return {
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": strides[0],
        "stride_width": strides[1],
        "pad_top": pads[0],
        "pad_left": pads[1],
    }
