"""From float32 to float16 or bfloat16 in the ONNX graph, whose types a strongly typed TensorRT network follows.

Everything up to the last convolution or matrix product is converted, which is nearly all of the work. What follows
stays in float32: it is cheap arithmetic on box coordinates in pixels, where float16 has steps of 0.5 from 512 pixels
on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from engine.errors import PlanError
from engine.inference.trt.graph import PREFIX, copy_of, drop_unused, initializers, picture_of, replace_nodes

Array = np.ndarray[Any, np.dtype[Any]]

_LARGEST_HALF = 65504.0
HEAVY = ("Conv", "ConvTranspose", "MatMul", "Gemm")

# Inputs that ONNX requires in float32 regardless of the others, by operator; None means all.
_STAY: dict[str, tuple[int, ...] | None] = {"Resize": (1, 2), "Upsample": (1,), "Range": None, "Dropout": (1,)}


def narrow(model: onnx.ModelProto, dtype: str) -> onnx.ModelProto:
    """Return a copy of a plain float32 model in `dtype`, "float16" or "bfloat16". With float16, its input is float16,
    too, which halves the upload; outputs stay float32. Raises PlanError if a weight is too large for float16."""
    return _Narrowing(copy_of(model), dtype).run()


def leading_to_heavy(model: onnx.ModelProto) -> set[int]:
    """Return the positions of convolutions, matrix products, and all nodes that these depend on."""
    feeds: set[str] = set()
    inside = set()
    for position in range(len(model.graph.node) - 1, -1, -1):
        node = model.graph.node[position]
        if node.op_type in HEAVY or feeds & set(node.output):
            inside.add(position)
            feeds |= set(node.input)
    return inside


class _Narrowing:
    def __init__(self, model: onnx.ModelProto, dtype: str) -> None:
        self._model = model
        self._dtype = dtype
        self._full = onnx.TensorProto.FLOAT
        self._to = onnx.TensorProto.FLOAT16 if dtype == "float16" else onnx.TensorProto.BFLOAT16
        self._weights = initializers(model)
        self._types = _types_of(model)
        self._now_narrow: set[str] = set()
        self._copies: dict[str, str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def run(self) -> onnx.ModelProto:
        inside = leading_to_heavy(self._model)
        self._take_input(inside)
        for position, original in enumerate(self._model.graph.node):
            node = onnx.NodeProto()
            node.CopyFrom(original)
            narrow_it = position in inside and _STAY.get(node.op_type, ()) is not None
            for index, name in enumerate(node.input):
                if name:
                    node.input[index] = self._read(name, narrow_it and index not in (_STAY.get(node.op_type) or ()))
            self._nodes.append(node)
            if narrow_it:
                self._narrow_attributes(node)
                self._now_narrow |= {name for name in node.output if self._types.get(name) == self._full}
        replace_nodes(self._model, self._nodes)
        self._give_outputs()
        del self._model.graph.value_info[:]
        drop_unused(self._model)
        return self._model

    def _take_input(self, inside: set[int]) -> None:
        """Make the image's type float16 if everything that reads its pixels is float16."""
        picture = picture_of(self._model)
        readers = [p for p, node in enumerate(self._model.graph.node) if picture.name in node.input]
        pixels = [p for p in readers if self._model.graph.node[p].op_type != "Shape"]
        is_full = picture.type.tensor_type.elem_type == self._full
        if is_full and self._to == onnx.TensorProto.FLOAT16 and inside.issuperset(pixels):
            picture.type.tensor_type.elem_type = self._to
            self._now_narrow.add(picture.name)

    def _read(self, name: str, want_narrow: bool) -> str:
        """Return the name of this tensor in the type that a node needs."""
        if self._types.get(name) != self._full or (name in self._now_narrow) == want_narrow:
            return name
        if name in self._weights and not want_narrow:
            return name
        if name not in self._copies:
            self._copies[name] = f"{PREFIX}{name}/{self._dtype if want_narrow else 'float32'}"
            if name in self._weights:
                self._model.graph.initializer.append(self._tensor(self._weights[name], self._copies[name]))
            else:
                to = self._to if want_narrow else self._full
                self._nodes.append(onnx.helper.make_node("Cast", [name], [self._copies[name]], to=to))
        return self._copies[name]

    def _tensor(self, tensor: onnx.TensorProto, name: str) -> onnx.TensorProto:
        array = onnx.numpy_helper.to_array(tensor)
        largest = float(np.abs(array[np.isfinite(array)]).max(initial=0.0))
        if self._dtype == "float16" and largest > _LARGEST_HALF:
            raise PlanError(
                f"the constant {tensor.name} reaches {largest:.3g}, which no float16 holds. Use --precision bf16."
            )
        return onnx.TensorProto(
            name=name, data_type=self._to, dims=array.shape, raw_data=bits_of(array, self._dtype).tobytes()
        )

    def _narrow_attributes(self, node: onnx.NodeProto) -> None:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == self._full:
                attribute.i = self._to
            elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == self._full:
                attribute.t.CopyFrom(self._tensor(attribute.t, attribute.t.name))

    def _give_outputs(self) -> None:
        """Convert outputs to float32, under their own names."""
        for output in self._model.graph.output:
            if output.name not in self._now_narrow:
                continue
            inner = f"{PREFIX}{output.name}/{self._dtype}"
            for node in self._model.graph.node:
                for names in (node.input, node.output):
                    for index, name in enumerate(names):
                        if name == output.name:
                            names[index] = inner
            self._model.graph.node.append(onnx.helper.make_node("Cast", [inner], [output.name], to=self._full))


def _types_of(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type of every tensor, inferred by ONNX."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        types.setdefault(value.name, value.type.tensor_type.elem_type)
    return types


def bits_of(array: Array, dtype: str) -> Array:
    """Return the values rounded to float16 or bfloat16, as their bits."""
    if dtype == "float16":
        return array.astype(np.float16)
    # NumPy has no bfloat16: the upper half of a float32, rounded to the nearest, ties to even.
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
