"""Networks that end in more than convolutions: the heads of YOLOv5 and YOLOv8, decoded in the graph itself, and those
of YOLO26, which select their boxes there.

The end is everything that no convolution depends on: reshapes, sigmoids, a distribution's mean, arithmetic with a grid.
It is a thousandth of the arithmetic. So the convolutions go to the table of steps, as rows of a result, and the end is
computed from these with NumPy, node by node, for one image at a time; but for means of distributions, which NumPy takes
five passes for. What only depends on sizes is computed once per size.

The convolutions do as much as possible when they write: offsets and factors per channel, a sigmoid preceded only by
moves, and stacking of anchors. If their rows then are those of the output, as in YOLOv5, they are written there, and
the end changes some of their columns in place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.inference.native.attributes import Attribute
from engine.inference.native.constants import asked_dims, axes_of, cut_of, evaluate, evaluator, split_sizes
from engine.inference.native.graph import FLATTENS, Graph, Node
from engine.inference.native.layout import BLOCK
from engine.inference.native.ops import Floats, Unsupported, refusing
from engine.inference.native.pack import WeightStore
from engine.inference.native.plan import plan
from engine.inference.native.trace import MAX_CONSTANTS, dims_of
from engine_ext.convnet import ConvNet, means_of_bins

Array = NDArray[Any]
Compute = Callable[[Node, Sequence[Any]], Sequence[Array]]

_MOVES = ("Concat", "Identity", "Reshape", "Transpose")
_OF_A_CHANNEL = ("Add", "Mul")
_MAX_CHANNELS = 64  # summed by a convolution of the end: the bins of a distribution
_LARGEST = 1 << 24  # elements of a value of the end
_ROWS = "rows of the end"


class Step(NamedTuple):
    """A node of the end whose value depends on the image."""

    node: Node
    compute: Compute


class Taken(NamedTuple):
    """A convolution's result that the end reads, as rows and columns of the table's output.

    name     the name read by the end; `tensor` is the convolution's result, (1, anchors * fields, H, W)
    anchors  0: unchanged. Otherwise (1, anchors, H, W, fields), with the rows of each anchor below the previous one's
    """

    name: str
    tensor: str
    channels: int
    height: int
    width: int
    anchors: int = 0
    row: int = 0
    column: int = 0

    @property
    def rows(self) -> int:
        return self.height * self.width * max(1, self.anchors)

    @property
    def columns(self) -> int:
        return self.channels // max(1, self.anchors)

    @property
    def shape(self) -> tuple[int, ...]:
        if self.anchors:
            return (1, self.anchors, self.height, self.width, self.columns)
        return (1, self.channels, self.height, self.width)

    def of(self, rows: Floats) -> Floats:
        """Return a view of its numbers in the table's output."""
        part = rows[self.row : self.row + self.rows, self.column : self.column + self.columns]
        return (part if self.anchors else part.T).reshape(self.shape)


@dataclass
class End:
    """The end of a network at one size. `constants` only depend on sizes, `shapes` are those of the other values."""

    taken: tuple[Taken, ...]
    steps: tuple[Step, ...]
    constants: dict[str, Array]
    shapes: dict[str, tuple[int, ...]]
    output: str

    def run(self, tensors: dict[str, Array]) -> Array:
        """Return the network's output, given the tensors in `taken` by name."""
        values: dict[str, Array] = {**self.constants, **tensors}
        with np.errstate(all="ignore"):
            for step in self.steps:
                _compute(step, values)
        return values[self.output]

    def write(self, rows: Floats, output: Floats) -> None:
        """Write the network's output for one image, (rows, columns), of the table's. Both may be the same array.

        Parts that are concatenated to the output are written there directly, unless they are in place already.
        """
        values: dict[str, Array] = {**self.constants, **{each.name: each.of(rows) for each in self.taken}}
        with np.errstate(all="ignore"):
            for step in self.steps:
                name = step.node.outputs[0]
                place = self._places.get(name)
                if place is None:
                    _compute(step, values)
                    continue
                values[name] = there = output[place].reshape(self.shapes[name])
                parts = [values[each] for each in step.node.inputs]
                for cut, part in zip(_cuts(step.node.whole("axis"), parts), parts, strict=True):
                    if not _same(there[cut], part):
                        there[cut] = part
        if self.output not in self._places:
            output[:] = values[self.output][0]

    @cached_property
    def _places(self) -> dict[str, slice]:
        """Return the output rows of the last concatenation's parts, including those of concatenations that it only
        stacks, reshaped or not."""
        makers = {step.node.outputs[0]: step.node for step in self.steps}
        readers = Counter(name for step in self.steps for name in step.node.inputs)
        last = makers.get(self.output)
        if last is None or last.op_type != "Concat" or len(self.shapes[self.output]) != 3:
            return {}
        found = {self.output: slice(None)}
        if last.whole("axis") not in (1, -2):
            return found
        row = 0
        for name in last.inputs:
            rows, moved = self.shapes[name][1], makers.get(name)
            joined = makers.get(moved.inputs[0]) if moved is not None and moved.op_type == "Reshape" else None
            if joined is not None and joined.op_type == "Concat" and readers[name] == readers[joined.outputs[0]] == 1:
                found[joined.outputs[0]] = slice(row, row + rows)
            elif moved is not None and moved.op_type == "Concat" and readers[name] == 1:
                found[name] = slice(row, row + rows)
            row += rows
        return found


def _compute(step: Step, values: dict[str, Array]) -> None:
    made = step.compute(step.node, [values[name] if name else None for name in step.node.inputs])
    values.update(zip(step.node.outputs, made, strict=True))


def _cuts(axis: int, parts: Sequence[Array]) -> list[tuple[slice, ...]]:
    """Return where each part is in all of them along an axis."""
    ends = np.cumsum([part.shape[axis] for part in parts]).tolist()
    before = (slice(None),) * (axis % parts[0].ndim)
    return [(*before, slice(end - part.shape[axis], end)) for end, part in zip(ends, parts, strict=True)]


def _same(one: Array, other: Array) -> bool:
    """Return whether two views of the same shape share the same memory."""
    steps = [[step for step, n in zip(view.strides, view.shape, strict=True) if n > 1] for view in (one, other)]
    return one.shape == other.shape and _address(one) == _address(other) and steps[0] == steps[1]


def _address(array: Array) -> int:
    found: int = array.__array_interface__["data"][0]
    return found


class EndedNet:
    """A network with an end, with the interface of engine_ext.convnet.ConvNet. The convolutions' rows are in the output
    if possible, otherwise after the workspace."""

    def __init__(self, net: ConvNet, end: End, output_shape: tuple[int, int]) -> None:
        self._net = net
        self.end = end
        self._at = -(-net.workspace_size // BLOCK) * BLOCK
        self.in_place = net.output_shape == output_shape and _in_place(end, output_shape)
        self.output_shape = output_shape
        self.workspace_size = self._at + (0 if self.in_place else net.output_shape[0] * net.output_shape[1])

    def run(self, picture: Floats, output: Floats, workspace: Floats) -> None:
        """Compute one image, (C, H, W), into `output`, (rows, columns)."""
        rows = output if self.in_place else workspace[self._at : self.workspace_size].reshape(self._net.output_shape)
        self._net.run(picture, rows, workspace[: self._at])
        self.end.write(rows, output)


def _in_place(end: End, shape: tuple[int, int]) -> bool:
    """Return whether an end gives the same result if its output overlaps its input. This can be tested with any
    numbers, since the order of its reads and writes does not depend on them."""
    rows = np.random.default_rng(0).random(shape, np.float32)
    apart = np.empty_like(rows)
    end.write(rows.copy(), apart)
    end.write(rows, rows)
    return np.array_equal(rows, apart, equal_nan=True)


class EndedGraph:
    """A graph whose end is computed apart: what is the same at all sizes, found once."""

    def __init__(self, graph: Graph, *, alone: bool = False) -> None:
        """Find them. Raises Unsupported.

        alone  an image never has others beside it, so that it does not matter what a batch of them would give
        """
        with refusing():
            self._graph = graph = _folded(graph)
            self._body, self._late = _written_along(*_parted(graph), graph.output)
        again = {name for node in self._late for name in node.outputs}
        self._made = {name for node in self._body.nodes for name in node.outputs} - again | {graph.input}
        self._checked = alone

    def plan(self, height: int, width: int, store: WeightStore, instruction_set: str) -> EndedNet:
        """Return a network for (C, height, width) images. Weights go to `store`. Raises Unsupported."""
        graph, body, late, made = self._graph, self._body, self._late, self._made
        with refusing():
            dims = dims_of(body, height, width, {name for node in late for name in node.inputs} & made)
            wanted = {name for node in late if node.op_type != "Shape" for name in node.inputs} & made
            end = _traced(graph, late, dims, _whole(wanted, dims), 1)
            if graph.dims[0] is None and not self._checked:
                _check_batch(graph, late, dims, end)
                self._checked = True
            result = end.shapes[graph.output]
            if len(result) != 3 or result[0] != 1:
                raise Unsupported(f"its output is {result}")
            end = _placed(_by_anchors(_with_means(end, instruction_set)))
            net = plan(_with_rows(body, end.taken), height, width, store, instruction_set)
            return EndedNet(net, end, (result[1], result[2]))


def _folded(graph: Graph) -> Graph:
    """Fold constants, and drop what the output does not need."""
    wanted, needed = {graph.output}, list[Node]()
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            needed.append(node)
    constants, nodes = dict(graph.constants), list[Node]()
    for node in reversed(needed):
        if node.op_type != "Constant" and any(name not in constants for name in node.inputs if name):
            nodes.append(node)
            continue
        compute = _OPERATORS.get(node.op_type, _evaluated)
        made = compute(node, [constants[name] if name else None for name in node.inputs])
        constants.update(zip(node.outputs, made, strict=True))
        if sum(each.size for each in constants.values()) > MAX_CONSTANTS:
            raise Unsupported("it computes too many constants")
    return graph._replace(nodes=tuple(nodes), constants=constants)


def _parted(graph: Graph) -> tuple[Graph, list[Node]]:
    """Return the network up to its last convolutions, and the nodes of its end in order, including size
    computations."""
    maker = {name: node for node in graph.nodes for name in node.outputs}
    behind_softmax: set[str] = set()  # only moves in between: the bins of a distribution, not attention
    for node in graph.nodes:
        moved = node.op_type in _MOVES and behind_softmax.intersection(node.inputs)
        if node.op_type == "Softmax" or moved:
            behind_softmax.update(node.outputs)
    early: set[str] = set()
    waiting = [node for node in graph.nodes if node.op_type == "Conv" and not behind_softmax.intersection(node.inputs)]
    while waiting:
        node = waiting.pop()
        if node.outputs[0] in early:
            continue
        early.update(node.outputs)
        waiting += [maker[name] for name in node.inputs if name in maker]
    late = [node for node in graph.nodes if node.outputs[0] not in early]
    if not early or not late:
        raise Unsupported("it has no end behind its convolutions")
    # Size computations of an end may also be needed for an upsampling; such nodes are in both parts.
    also: set[str] = set()
    waiting = list(late)
    while waiting:
        for name in waiting.pop().inputs:
            shared = maker.get(name) if name in early and name not in also else None
            if shared is not None and _of_sizes(shared, maker, graph.input):
                also.update(shared.outputs)
                waiting.append(shared)
    body = tuple(node for node in graph.nodes if node.outputs[0] in early)
    return graph._replace(nodes=body), [
        node for node in graph.nodes if node.outputs[0] not in early or also.intersection(node.outputs)
    ]


def _of_sizes(node: Node, maker: dict[str, Node], entry: str) -> bool:
    """Return whether a node only computes with constants and sizes."""
    waiting, seen = [node], set[str]()
    while waiting:
        each = waiting.pop()
        if each.op_type == "Shape" or each.outputs[0] in seen:
            continue
        if each.op_type == "Conv" or entry in each.inputs:
            return False
        seen.add(each.outputs[0])
        waiting += [maker[name] for name in each.inputs if name in maker]
    return True


def _written_along(body: Graph, late: list[Node], output: str) -> tuple[Graph, list[Node]]:
    """Fuse what directly follows convolutions: constants per channel, and a sigmoid preceded only by moves."""
    body, late = _constants_along(body, late)
    maker = {name: node for node in late for name in node.outputs}
    count = Counter(name for node in (*body.nodes, *late) if node.op_type != "Shape" for name in set(node.inputs))
    count[output] += 1
    made = {name for node in body.nodes if node.op_type in ("Conv", *_OF_A_CHANNEL) for name in node.outputs}
    added = list[Node]()
    renamed: dict[str, str] = {}
    for node in late:
        tensors = _moved(node.inputs[0], maker, count, made) if node.op_type == "Sigmoid" else set()
        for name in sorted(tensors):
            renamed[name] = f"{name} activated"
            added.append(Node("Sigmoid", f"{name} first", (name,), (renamed[name],), {}))
        if tensors:
            renamed[node.outputs[0]] = node.inputs[0]
    kept = [
        node._replace(inputs=tuple(renamed.get(name, name) for name in node.inputs))
        for node in late
        if node.outputs[0] not in renamed
    ]
    return body._replace(nodes=(*body.nodes, *added)), kept


def _moved(name: str, maker: dict[str, Node], count: Counter[str], made: set[str]) -> set[str]:
    """Return the convolutions' results from which a value is made only by moves, if nothing else reads any of them;
    otherwise empty."""
    found, waiting = set[str](), [name]
    while waiting:
        name = waiting.pop()
        node = maker.get(name)
        if count[name] != 1 or (name not in made and (node is None or node.op_type not in _MOVES)):
            return set()
        if name in made:
            found.add(name)
        elif node is not None:
            waiting += node.inputs if node.op_type == "Concat" else node.inputs[:1]
    return found


def _constants_along(body: Graph, late: list[Node]) -> tuple[Graph, list[Node]]:
    convolved = {name for node in body.nodes if node.op_type == "Conv" for name in node.outputs}
    along = list[Node]()
    for node in late:
        constants = [body.constants[name] for name in node.inputs if name in body.constants]
        of_a_channel = all(each.size == 1 or each.shape[:1] + each.shape[2:] == (1, 1, 1) for each in constants)
        if (
            node.op_type in _OF_A_CHANNEL
            and len(constants) == 1
            and of_a_channel
            and convolved.intersection(node.inputs)
        ):
            along.append(node)
            convolved.update(node.outputs)
    return body._replace(nodes=(*body.nodes, *along)), [node for node in late if node not in along]


def _whole(wanted: Iterable[str], dims: dict[str, tuple[int, ...]]) -> tuple[Taken, ...]:
    for name in wanted:
        if len(dims[name]) != 4:
            raise Unsupported(f"its end reads {name!r}, {dims[name]}")
    return tuple(Taken(name, name, *dims[name][1:]) for name in sorted(wanted))


def _by_anchors(end: End) -> End:
    """Take tensors of several anchors directly as (1, anchors, H, W, fields) if they are moved to that first."""
    readers: dict[str, list[Node]] = {}
    for step in end.steps:
        for name in step.node.inputs:
            readers.setdefault(name, []).append(step.node)
    taken, dropped = list[Taken](), set[str]()
    for each in end.taken:
        nodes = readers.get(each.name, [])
        parted = nodes[0] if len(nodes) == 1 and nodes[0].op_type == "Reshape" else None
        after = readers.get(parted.outputs[0], []) if parted is not None else []
        if parted is not None and len(after) == 1 and after[0].op_type == "Transpose":
            shape = end.shapes[parted.outputs[0]]
            sides = (each.height, each.width)
            if len(shape) == 5 and shape[3:] == sides and after[0].wholes("perm", []) == [0, 1, 3, 4, 2]:
                each = each._replace(name=after[0].outputs[0], anchors=shape[1])
                dropped.update((parted.outputs[0], after[0].outputs[0]))
        taken.append(each)
    steps = tuple(step for step in end.steps if not dropped.intersection(step.node.outputs))
    return replace(end, taken=tuple(taken), steps=steps)


def _placed(end: End) -> End:
    """Place the taken tensors: those of one size side by side, and the sizes stacked, the largest first."""
    levels: dict[tuple[int, ...], list[Taken]] = {}
    for each in end.taken:
        levels.setdefault((each.height, each.width, each.anchors), []).append(each)
    placed, row, widths = list[Taken](), 0, set[int]()
    for _, level in sorted(levels.items(), reverse=True):
        column = 0
        for each in level:
            placed.append(each._replace(row=row, column=column))
            column += each.columns
        widths.add(column)
        row += level[0].rows
    if len(widths) != 1:
        raise Unsupported("its convolutions end in several widths")
    return replace(end, taken=tuple(placed))


def _with_rows(body: Graph, taken: Sequence[Taken]) -> Graph:
    """Return the convolutions as a network whose output is the rows of the taken tensors."""
    nodes, constants, levels = list(body.nodes), dict(body.constants), list[str]()

    def add(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Attribute) -> None:
        nodes.append(Node(kind, outputs[0], tuple(inputs), tuple(outputs), attributes))

    for row in sorted({each.row for each in taken}):
        here = [each for each in taken if each.row == row]
        count = max(1, here[0].anchors)
        parts: list[list[str]] = [[] for _ in range(count)]
        for each in here:
            names = [f"{each.tensor} {_ROWS} {i}" for i in range(count)] if count > 1 else [each.tensor]
            if count > 1:
                add("Split", [each.tensor], names, axis=1)
            for part, name in zip(parts, names, strict=True):
                part.append(name)
        for i, part in enumerate(parts):
            joined, shape = f"{_ROWS} {row} {i} joined", f"{_ROWS} {row} {i} shape"
            constants[shape] = np.array([0, sum(each.columns for each in here), -1])
            add("Concat", part, [joined], axis=1)
            levels.append(f"{_ROWS} {row} {i}")
            add("Reshape", [joined, shape], [levels[-1]])
    add("Concat", levels, [f"{_ROWS} joined"], axis=2)
    add("Transpose", [f"{_ROWS} joined"], [_ROWS], perm=[0, 2, 1])
    return body._replace(nodes=tuple(nodes), constants=constants, output=_ROWS)


def _traced(
    graph: Graph, late: Sequence[Node], dims: dict[str, tuple[int, ...]], taken: tuple[Taken, ...], batch: int
) -> End:
    """Compute everything in an end that only depends on sizes, and record the rest."""
    shown = {name: (batch, *each[1:]) for name, each in dims.items()}
    values: dict[str, Any] = {"": None, **graph.constants}
    live: dict[str, Array] = {each.name: np.zeros((batch, *each.shape[1:]), np.float32) for each in taken}
    steps = list[Step]()
    for node in late:
        if node.op_type == "Shape":
            name = node.inputs[0]
            size = live[name].shape if name in live else shown[name] if name in shown else values[name].shape
            values[node.outputs[0]] = asked_dims(node, size)
            continue
        compute = _OPERATORS.get(node.op_type, _evaluated)
        inputs = [live[name] if name in live else values[name] for name in node.inputs]
        with np.errstate(all="ignore"):
            made = compute(node, inputs)
        if sum(each.size for each in made) > _LARGEST:
            raise Unsupported(f"{node} makes {sum(each.size for each in made)} numbers")
        depends = any(name in live for name in node.inputs)
        if depends:
            fixed = all(name not in live for name in node.inputs[1:])
            steps.append(Step(node, _settled(node, inputs, made, fixed=fixed) or compute))
        (live if depends else values).update(zip(node.outputs, made, strict=True))
    if graph.output not in live or live[graph.output].dtype != np.float32:
        raise Unsupported("its output is not made of the image in float32")
    kept = _needed(steps, graph.output)
    read = {name for step in kept for name in step.node.inputs if name}
    constants = {name: value for name, value in values.items() if name in read}
    return End(taken, kept, constants, {name: value.shape for name, value in live.items()}, graph.output)


def _settled(node: Node, inputs: Sequence[Any], made: Sequence[Array], *, fixed: bool) -> Compute | None:
    """Return how to compute a node again from arrays of the same shapes, with what only depends on these found once;
    None if that saves nothing. `fixed`: only its first input is another one then."""
    if node.op_type == "Concat":
        return _joined
    if node.op_type == "Reshape" and fixed:
        shape = made[0].shape
        return lambda node, inputs: (inputs[0].reshape(shape),)
    if node.op_type == "Slice" and fixed:
        cut = cut_of(node, inputs)
        return lambda node, inputs: (inputs[0][cut],)
    if node.op_type == "Split" and fixed:
        cuts = _cuts(node.whole("axis", 0), made)
        return lambda node, inputs: [inputs[0][cut] for cut in cuts]
    if node.op_type in _OPERATORS or (how := evaluator(node)) is None:
        return None
    return lambda node, inputs: (np.asarray(how(node, inputs)),)


def _with_means(end: End, instruction_set: str) -> End:
    """Compute means of distributions from what their softmax reads, if only moves lie between and nothing else reads
    any of it."""
    makers = {step.node.outputs[0]: step.node for step in end.steps}
    readers = Counter(name for step in end.steps for name in step.node.inputs)
    dropped, means = set[str](), dict[str, Step]()
    for step in end.steps:
        name, node = step.node.inputs[0], step.node
        if node.op_type != "Conv" or node.inputs[1] not in end.constants:
            continue
        weights = np.ascontiguousarray(end.constants[node.inputs[1]].reshape(-1))
        passed, axes = [name], np.arange(4)
        while (before := makers.get(name)) is not None and before.op_type == "Transpose":
            name = before.inputs[0]
            passed.append(name)
            axes = np.array(before.wholes("perm", [3, 2, 1, 0]))[axes]
        if before is None or before.op_type != "Softmax" or any(readers[each] != 1 for each in passed):
            continue
        if axes[0] != 0 or axes[1] != before.whole("axis", -1) % 4:
            continue
        if weights.size % BLOCK or weights.dtype != np.float32:
            continue
        reads = node._replace(inputs=before.inputs)
        means[node.outputs[0]] = Step(reads, _mean(weights, tuple(axes[[0, 2, 3, 1]].tolist()), instruction_set))
        dropped.update(passed)
    kept = [means.get(step.node.outputs[0], step) for step in end.steps if not dropped.intersection(step.node.outputs)]
    return replace(end, steps=tuple(kept))


def _mean(weights: Floats, order: tuple[int, ...], instruction_set: str) -> Compute:
    """Return how to compute means, (1, 1, rows, columns), from a value whose axes `order` are the image, rows, columns
    and bins, of which each has a weight."""

    def compute(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
        value = inputs[0].transpose(order)[0]
        if value.strides[-1] != value.itemsize:
            value = np.ascontiguousarray(value)
        return (means_of_bins(value, weights, instruction_set)[None, None],)

    return compute


def _needed(steps: Sequence[Step], output: str) -> tuple[Step, ...]:
    wanted, kept = {output}, list[Step]()
    for step in reversed(steps):
        if wanted.intersection(step.node.outputs):
            wanted.update(step.node.inputs)
            kept.append(step)
    return tuple(kept[::-1])


def _check_batch(graph: Graph, late: Sequence[Node], dims: dict[str, tuple[int, ...]], end: End) -> None:
    """Raise Unsupported if an end's result for an image depends on its batch."""
    rng = np.random.default_rng(0)
    pair = {each.name: rng.random((2, *each.shape[1:]), np.float32) for each in end.taken}
    together = _traced(graph, late, dims, end.taken, 2).run(pair)
    for i in (0, 1):
        alone = end.run({name: value[i : i + 1] for name, value in pair.items()})
        if together.shape[1:] != alone.shape[1:] or not np.allclose(together[i], alone[0], 1e-5, 1e-5):
            raise Unsupported("its end computes with the batch size")


# ---- the operators of an end ----


def _evaluated(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
    return (evaluate(node, inputs),)


def _joined(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
    """Concatenate: without a copy if the parts follow each other in memory, otherwise in their order of axes."""
    first, axis = inputs[0], node.whole("axis")
    shape = list(first.shape)
    shape[axis] = sum(part.shape[axis] for part in inputs)
    whole, start = first.base, _address(first)
    at = start
    for part in inputs:
        if _address(part) != at or part.base is not whole or part.strides != first.strides:
            break
        at += part.shape[axis] * first.strides[axis]
    else:
        if isinstance(whole, np.ndarray) and whole.flags.forc:
            return (np.ndarray(shape, first.dtype, whole, start - _address(whole), first.strides),)
    largest = max(inputs, key=np.size)
    order = sorted(range(len(shape)), key=lambda i: -largest.strides[i])
    out = np.empty([shape[i] for i in order], np.result_type(*inputs)).transpose(np.argsort(order))
    return (np.concatenate(inputs, axis, out=out),)


def _sigmoid(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
    value = np.negative(inputs[0])
    np.exp(value, out=value)
    value += np.float32(1)
    return (np.reciprocal(value, out=value),)


def _softmax(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
    axis = node.whole("axis", -1)
    if node.whole(FLATTENS, 0) and math.prod(inputs[0].shape[axis % inputs[0].ndim + 1 :]) != 1:
        raise Unsupported(f"{node} is over several axes")
    # The summed axis becomes contiguous, whatever the input's order.
    value = np.array(np.moveaxis(inputs[0], axis, 0), order="C")
    value -= value.max(0)
    np.exp(value, out=value)
    value *= np.reciprocal(value.sum(0))
    return (np.moveaxis(value, 0, axis),)


def _split(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
    axis = node.whole("axis", 0)
    sizes = split_sizes(node, inputs, inputs[0].shape[axis])
    return np.split(inputs[0], np.cumsum(sizes)[:-1], axis)


def _mean_of_bins(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
    """Compute a 1x1 convolution to one channel: the mean of a distribution, given its bins."""
    value, weight = inputs[0], inputs[1]
    count = weight.size
    plain = (
        not any(node.wholes("pads", [0])) and set(node.wholes("strides", [1])) == {1} and node.whole("group", 1) == 1
    )
    if weight.shape != (1, count, 1, 1) or value.ndim != 4 or value.shape[1] != count or not plain:
        raise Unsupported(f"{node} stands behind a softmax")
    if count > _MAX_CHANNELS or (len(inputs) > 2 and inputs[2] is not None):
        raise Unsupported(f"{node} stands behind a softmax")
    total = value[:, 0] * weight[0, 0, 0, 0]
    for i in range(1, count):
        total += value[:, i] * weight[0, i, 0, 0]
    return (total[:, None],)


def _largest_of(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
    axes = axes_of(node, inputs)
    return (np.max(inputs[0], None if axes is None else tuple(axes), keepdims=bool(node.whole("keepdims", 1))),)


def _top_k(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
    """Return the largest (or smallest) k values and their indices along an axis; of equal ones the first, as in
    ONNX."""
    axis, count = node.whole("axis", -1), int(np.asarray(inputs[1]).reshape(()))
    value = np.moveaxis(inputs[0], axis, -1)
    if not 0 <= count <= value.shape[-1] or not value.shape[-1]:
        raise Unsupported(f"{node} takes {count} of {value.shape[-1]}")
    rows = value.reshape(-1, value.shape[-1])
    sign = -1 if node.whole("largest", 1) else 1
    places = np.stack([_first(sign * row, count) for row in rows]).reshape(*value.shape[:-1], count)
    kept = np.take_along_axis(value, places, -1)
    return np.moveaxis(kept, -1, axis), np.moveaxis(places, -1, axis)


def _first(row: Array, count: int) -> NDArray[np.int64]:
    """Return the indices of the `count` smallest values of a row in order; of equal ones the first."""
    if 0 < count < len(row):
        low = np.flatnonzero(row <= np.partition(row, count - 1)[count - 1])
        if len(low) >= count:  # fewer if some are NaN
            return low[np.argsort(row[low], kind="stable")[:count]]
    return np.argsort(row, kind="stable")[:count]


def _gathered(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
    axis, (value, places) = node.whole("axis", 0), inputs
    others = [[n for i, n in enumerate(each.shape) if i != axis % value.ndim] for each in (value, places)]
    if value.ndim != places.ndim or others[0] != others[1]:
        raise Unsupported(f"{node} gathers {places.shape} of {value.shape}")
    return (np.take_along_axis(value, places, axis),)


def _flattened(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
    value = inputs[0]
    return (value.reshape(math.prod(value.shape[: node.whole("axis", 1) % (value.ndim + 1)]), -1),)


def _tiled(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
    if inputs[0].size * math.prod(np.asarray(inputs[1]).tolist()) > _LARGEST:
        raise Unsupported(f"{node} repeats too much")
    return (np.tile(inputs[0], inputs[1]),)


def _remainder(node: Node, inputs: Sequence[Any]) -> Sequence[Array]:
    first, second = inputs
    if first.dtype.kind not in "iu" or not np.all(second):
        raise Unsupported(f"{node} is of {first.dtype}, or by zero")
    return (np.fmod(first, second) if node.whole("fmod", 0) else np.mod(first, second),)


_OPERATORS: dict[str, Callable[[Node, Sequence[Any]], Sequence[Array]]] = {
    "Sigmoid": _sigmoid,
    "Softmax": _softmax,
    "Split": _split,
    "Conv": _mean_of_bins,
    "ReduceMax": _largest_of,
    "TopK": _top_k,
    "GatherElements": _gathered,
    "Flatten": _flattened,
    "Tile": _tiled,
    "Mod": _remainder,
}
