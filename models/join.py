"""Joins the outputs of detectors with separate boxes, scores and classes.

DETR kinds and MMDetection's RTMDet have two or three outputs, NanoDet and PicoDet two for each level, and some take the
size of the frame as a second input. The engine expects a single output. So nodes are added to the graph: outputs are
joined along their last axis, levels along that of the anchors, and the second input becomes a constant, the size of the
model's own input, so that boxes are in its pixels as with all layouts.

    detr       logits (N, Q, C), boxes (N, Q, 4)            -> (N, Q, 4 + C), boxes first
    detr-post  labels (N, K), boxes (N, K, 4), scores (N, K) -> (N, K, 6): x1 y1 x2 y2 score class
    rtmdet     dets (N, K, 5), labels (N, K)                 -> (N, K, 6): the same
    nanodet    scores (N, A, C), sides (N, A, 32), per level -> (N, all A, C + 32)
"""

from collections.abc import Sequence

import numpy as np
import onnx

from models.errors import LayoutError
from models.parts import OUTPUT, Parts


def join(model: onnx.ModelProto, parts: Parts, input_hw: tuple[int, int], classes: int) -> onnx.ModelProto:
    """Return a copy of `model` whose single output has the layout `parts.layout`.

    input_hw  height and width of the model's input, in whose pixels the boxes of `detr-post` are
    classes   of `detr`: the number of logits that are classes; any after them, a slot for "nothing", are dropped

    Raises LayoutError if the graph has no such outputs.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = _Graph(made)
    if parts.sizes is not None:
        graph.replace_sizes(parts.sizes, parts.picture, input_hw)
    if parts.layout == "detr":
        logits, boxes = (graph.floats(name, 3) for name in parts.outputs)
        joined = graph.op("Concat", boxes, graph.first(logits, classes), axis=2)
    elif parts.layout == "detr-post":
        labels, boxes, scores = (graph.floats(name, 3 if name == parts.outputs[1] else 2) for name in parts.outputs)
        joined = graph.op("Concat", boxes, graph.column(scores), graph.column(labels), axis=2)
    elif parts.layout == "nanodet":
        scores, sides = (
            graph.op("Concat", *(graph.floats(name, 3) for name in parts.outputs[kind::2]), axis=1) for kind in (0, 1)
        )
        joined = graph.op("Concat", scores, sides, axis=2)
    else:
        dets, labels = parts.outputs
        joined = graph.op("Concat", graph.floats(dets, 3), graph.column(graph.floats(labels, 2)), axis=2)
    graph.finish(joined)
    return made


class _Graph:
    """A graph to which nodes are added, with names that don't clash with existing ones."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
        taken |= {each.name for each in (*model.graph.initializer, *model.graph.input)}
        free = (f"join{i}_" for i in range(len(taken) + 1))
        self._prefix = next(prefix for prefix in free if not any(name.startswith(prefix) for name in taken))
        self._count = 0

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        self._count += 1
        name = f"{self._prefix}{self._count}"
        self._graph.node.append(onnx.helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: Sequence[int] | Sequence[Sequence[int]], dtype: str = "int64") -> str:
        self._count += 1
        name = f"{self._prefix}{self._count}"
        self._graph.initializer.append(onnx.numpy_helper.from_array(np.array(values, dtype), name))
        return name

    def floats(self, output: str, rank: int) -> str:
        """Return an output as float32 with `rank` axes: some exporters squeeze a batch axis of 1."""
        found = next((each for each in self._graph.output if each.name == output), None)
        if found is None:
            raise LayoutError(f"the graph has no output {output!r}.")
        name = output
        if found.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            name = self.op("Cast", name, to=onnx.TensorProto.FLOAT)
        if len(found.type.tensor_type.shape.dim) == rank - 1:
            name = self.op("Reshape", name, self.constant([1, -1, 4] if rank == 3 else [1, -1]))
        return name

    def column(self, rows: str) -> str:
        """Return (N, K) as (N, K, 1)."""
        return self.op("Reshape", rows, self.constant([0, -1, 1]))

    def first(self, rows: str, count: int) -> str:
        """Return the first `count` of the last axis."""
        return self.op("Slice", rows, *(self.constant([value]) for value in (0, count, 2)))

    def replace_sizes(self, sizes: str, picture: str, input_hw: tuple[int, int]) -> None:
        """Replace the input for a frame's width and height by those of the model's input, per image."""
        entry = next(each for each in self._graph.input if each.name == sizes)
        dtype = str(onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type))
        self._graph.input.remove(entry)
        there = list(self._graph.node)
        batch = self.op("Gather", self.op("Shape", picture), self.constant([0]))
        shape = self.op("Concat", batch, self.constant([2]), axis=0)
        made = self.op("Expand", self.constant([[input_hw[1], input_hw[0]]], dtype), shape)
        for node in there:
            for at, name in enumerate(node.input):
                if name == sizes:
                    node.input[at] = made
        added = list(self._graph.node)[len(there) :]  # before the nodes that use them
        del self._graph.node[:]
        self._graph.node.extend([*added, *there])

    def finish(self, joined: str) -> None:
        self._graph.node.append(onnx.helper.make_node("Identity", [joined], [OUTPUT], name=f"{self._prefix}last"))
        del self._graph.output[:]
        info = onnx.helper.make_tensor_value_info(OUTPUT, onnx.TensorProto.FLOAT, [None, None, None])
        self._graph.output.append(info)
