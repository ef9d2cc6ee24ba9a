"""Small ONNX models with the heads, and the faults, that real exports have."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)


class Graph:
    """Collects nodes and constants; each `op` gives back the name of its output."""

    def __init__(self, shape=(1, 3, 64, 64), dtype=TensorProto.FLOAT, opset=13):
        self.nodes, self.weights = [], []
        self.dtype, self.opset = dtype, opset
        self.input = helper.make_tensor_value_info("images", dtype, shape)
        self.rng = np.random.default_rng(0)

    def const(self, array, name=None):
        name = name or f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, op_type, *inputs, outputs=1, **attributes):
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(inputs), names, name=f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, source, in_channels, out_channels, stride, kernel=None):
        kernel = kernel or stride
        np_dtype = helper.tensor_dtype_to_np_dtype(self.dtype)
        weight = self.rng.normal(0, 0.1, (out_channels, in_channels, kernel, kernel)).astype(np_dtype)
        return self.op("Conv", source, self.const(weight), strides=[stride, stride], kernel_shape=[kernel, kernel])

    def model(self, output, shape, metadata=None, extra_inputs=()):
        self.nodes.append(helper.make_node("Identity", [output], ["output"], name="last"))
        graph = helper.make_graph(
            self.nodes,
            "g",
            [self.input, *extra_inputs],
            [helper.make_tensor_value_info("output", self.dtype, shape)],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        for key, value in (metadata or {}).items():
            model.metadata_props.add(key=key, value=value)
        onnx.checker.check_model(model)
        return model


def cell_count(height, width):
    return sum((height // s) * (width // s) for s in STRIDES)


def yolox(classes=2, size=(64, 64), metadata=None, opset=13):
    """Raw grid `(1, A, 5+C)`; Reshape targets with a fixed batch."""
    graph = Graph((1, 3, *size), opset=opset)
    flat = []
    for stride in STRIDES:
        head = graph.conv("images", 3, 5 + classes, stride)
        flat.append(graph.op("Reshape", head, graph.const(np.array([1, 5 + classes, -1]))))
    joined = graph.op("Concat", *flat, axis=2)
    return graph.model(
        graph.op("Transpose", joined, perm=[0, 2, 1]), (1, cell_count(*size), 5 + classes), metadata
    )  # fmt: skip


def anchor_points(size=(64, 64), dtype=np.float32):
    """YOLOv8's anchors `(1, 2, A)` and strides `(1, A)`, in cells and pixels."""
    points, strides = [], []
    for stride in STRIDES:
        y, x = np.mgrid[0 : size[0] // stride, 0 : size[1] // stride]
        points.append(np.stack([x.ravel(), y.ravel()]) + 0.5)
        strides.append(np.full(x.size, stride))
    return np.concatenate(points, 1)[None].astype(dtype), np.concatenate(strides)[None].astype(dtype)


def yolov8(classes=2, size=(64, 64), metadata=None, anchors=None):
    """Decoded `(1, 4+C, A)`: centre = anchor + small offset, times the stride."""
    graph = Graph((1, 3, *size))
    points, strides = anchor_points(size)
    flat = []
    for stride in STRIDES:
        head = graph.conv("images", 3, 4 + classes, stride)
        flat.append(
            graph.op(
                "Reshape", head, graph.const(np.array([1, 4 + classes, (size[0] // stride) * (size[1] // stride)]))
            )
        )
    joined = graph.op("Concat", *flat, axis=-1)
    sizes = graph.const(np.array([2, 2, classes]))
    offset, wh, scores = graph.op("Split", joined, sizes, outputs=3, axis=1)
    centre = graph.op("Add", graph.const(points if anchors is None else anchors), graph.op("Tanh", offset))
    boxes = graph.op("Mul", graph.op("Concat", centre, graph.op("Exp", wh), axis=1), graph.const(strides))
    output = graph.op("Concat", boxes, graph.op("Sigmoid", scores), axis=1)
    return graph.model(output, (1, 4 + classes, cell_count(*size)), metadata)


def yolov5(classes=2, size=(64, 64), metadata=None):
    """Decoded `(1, 3A, 5+C)` with a grid and an anchor grid `(1, 3, ny, nx, 2)` a level."""
    graph = Graph((1, 3, *size))
    fields, levels = 5 + classes, []
    two = graph.const(np.float32(2))
    for stride in STRIDES:
        ny, nx = size[0] // stride, size[1] // stride
        head = graph.conv("images", 3, 3 * fields, stride)
        split = graph.op("Reshape", head, graph.const(np.array([1, 3, fields, ny, nx])))
        rows = graph.op("Sigmoid", graph.op("Transpose", split, perm=[0, 1, 3, 4, 2]))
        xy, wh, rest = graph.op("Split", rows, graph.const(np.array([2, 2, 1 + classes])), outputs=3, axis=4)
        y, x = np.mgrid[0:ny, 0:nx]
        grid = np.broadcast_to(np.stack([x, y], -1) - 0.5, (1, 3, ny, nx, 2)).astype(np.float32)
        anchor = np.arange(1, 7, dtype=np.float32).reshape(1, 3, 1, 1, 2) * stride
        centre = graph.op(
            "Mul", graph.op("Add", graph.op("Mul", xy, two), graph.const(grid)), graph.const(np.float32(stride))
        )
        box = graph.op("Mul", wh, graph.const(np.broadcast_to(anchor, (1, 3, ny, nx, 2)).copy()))
        joined = graph.op("Concat", centre, box, rest, axis=4)
        levels.append(graph.op("Reshape", joined, graph.const(np.array([1, 3 * ny * nx, fields]))))
    return graph.model(graph.op("Concat", *levels, axis=1), (1, 3 * cell_count(*size), fields), metadata)


def attention(size=(64, 64)):
    """A feature map flattened to `(1, C, ny*nx)` and unfolded again, as attention blocks do, then a yolox head."""
    graph = Graph((1, 3, *size))
    ny, nx = size[0] // 32, size[1] // 32
    features = graph.conv("images", 3, 8, 32)
    flat = graph.op("Reshape", features, graph.const(np.array([1, 2, 4, ny * nx])))
    soft = graph.op("Softmax", flat, axis=-1)
    back = graph.op("Reshape", soft, graph.const(np.array([1, 8, ny, nx])))
    up = graph.op("Resize", back, "", "", graph.const(np.array([1, 8, ny * 2, nx * 2])), mode="nearest",
                  coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    cut = graph.op("Slice", up, *(graph.const(np.array([v])) for v in (0, ny * 2, 2, 1)))
    head = graph.conv(cut, 8, 7, 1)
    flat = graph.op("Reshape", head, graph.const(np.array([1, 7, ny * nx * 4])))
    return graph.model(graph.op("Transpose", flat, perm=[0, 2, 1]), (1, ny * nx * 4, 7))


def self_shaped(size=(64, 64)):
    """A yolox head whose batch and rows are computed from Shape, as exports without constant folding do."""
    graph = Graph((1, 3, *size))
    zero = graph.const(np.array([0]))
    flat = []
    for stride in STRIDES:
        head = graph.conv("images", 3, 7, stride)
        batch = graph.op("Gather", graph.op("Shape", head), zero, axis=0)
        rows = graph.op("Mul", graph.const(np.array([7])), graph.op("Div", batch, batch))
        target = graph.op("Concat", batch, rows, graph.const(np.array([-1])), axis=0)
        flat.append(graph.op("Reshape", head, target))
    joined = graph.op("Concat", *flat, axis=2)
    return graph.model(graph.op("Transpose", joined, perm=[0, 2, 1]), (1, cell_count(*size), 7))


def dequantized(graph, name):
    """A tensor that went through dynamic quantization."""
    return graph.op("DequantizeLinear", *graph.op("DynamicQuantizeLinear", name, outputs=3))


def quantized(size=(64, 64)):
    """A yolox head behind a DynamicQuantizeLinear, whose range is that of the whole batch."""
    graph = Graph((1, 3, *size))
    picture = dequantized(graph, "images")
    flat = []
    for stride in STRIDES:
        head = graph.conv(picture, 3, 7, stride)
        flat.append(graph.op("Reshape", head, graph.const(np.array([1, 7, -1]))))
    joined = graph.op("Concat", *flat, axis=2)
    return graph.model(graph.op("Transpose", joined, perm=[0, 2, 1]), (1, cell_count(*size), 7))


def end2end(metadata=None, size=(64, 64)):
    """`(1, 4, 6)`: some rows, as a head with its own non-maximum suppression gives them."""
    graph = Graph((1, 3, *size))
    flat = graph.op("Reshape", graph.conv("images", 3, 6, 32), graph.const(np.array([1, 6, -1])))
    return graph.model(graph.op("Transpose", flat, perm=[0, 2, 1]), (1, 4, 6), metadata)


def classifier():
    graph = Graph()
    pooled = graph.op("Flatten", graph.op("GlobalAveragePool", graph.conv("images", 3, 1000, 32)))
    return graph.model(pooled, (1, 1000))


def dense(size=64, classes=80, rows=None, metadata=None):
    """Declares the shape of a real head without its weights: `(1, rows, 5+C)`. Never run."""
    graph = Graph((1, 3, size, size))
    target = graph.const(np.array([1, rows, 5 + classes]))
    flat = graph.op("Reshape", graph.op("GlobalAveragePool", "images"), graph.const(np.array([1, 3, 1])))
    shape = graph.op("Expand", graph.op("ReduceSum", flat, graph.const(np.array([1]))), target)
    return graph.model(shape, (1, rows, 5 + classes), metadata)


def save(model, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
