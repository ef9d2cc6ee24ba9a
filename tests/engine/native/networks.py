"""Small networks with rows as output, as detectors have, and their results by ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from engine.inference.native.graph import read_graph
from engine.inference.native.ops import Unsupported
from engine.inference.native.pack import WeightStore
from engine.inference.native.plan import plan
from engine_ext.convnet import aligned
from models.errors import OnnxFileError


class Net:
    """Collects nodes; each method gives the name of its output. The input is `images`, (n, channels, h, w)."""

    def __init__(self, channels=3, opset=17, seed=0, batch="n", size=("h", "w")):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.weights, self.channels, self.opset = [], [], {"images": channels}, opset
        self.input = helper.make_tensor_value_info("images", TensorProto.FLOAT, (batch, channels, *size))

    def const(self, value, dtype=np.float32):
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), f"c{len(self.weights)}"))
        return self.weights[-1].name

    def op(self, kind, *inputs, channels=None, **attributes):
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"n{len(self.nodes)}", **attributes))
        known = [self.channels[given] for given in inputs if given in self.channels]
        self.channels[name] = channels or (known[0] if known else 0)
        return name

    def conv(self, source, out, kernel=(1, 1), stride=1, pads=None, group=1, bias=True, **more):
        weight = self.rng.normal(0, (kernel[0] * kernel[1] * self.channels[source] / group) ** -0.5 * 1.5,
                                 (out, self.channels[source] // group, *kernel))  # fmt: skip
        given = [source, self.const(weight)] + ([self.const(self.rng.normal(0, 0.5, out))] if bias else [])
        pads = [kernel[0] // 2, kernel[1] // 2] * 2 if pads is None else pads
        stride = [stride, stride] if isinstance(stride, int) else stride
        return self.op("Conv", *given, channels=out, strides=stride, pads=pads, group=group, **more)

    def depthwise(self, source, kernel=(3, 3), **more):
        return self.conv(source, self.channels[source], kernel, group=self.channels[source], **more)

    def silu(self, source):
        return self.op("Mul", source, self.op("Sigmoid", source))

    def concat(self, *sources):
        return self.op("Concat", *sources, axis=1, channels=sum(self.channels[source] for source in sources))

    def slice(self, source, axis, start, end, step=1, channels=None):
        given = (self.const([value], np.int64) for value in (start, end, axis, step))
        return self.op("Slice", source, *given, channels=channels)

    def rows(self, source):
        """(n, C, h, w) -> (n, C, h * w)"""
        return self.op("Reshape", source, self.const([0, self.channels[source], -1], np.int64))

    def model(self, *heads):
        """Return the heads' pixels, concatenated: (n, cells, columns)."""
        parts = [self.rows(head) for head in heads]
        joined = parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=2)
        return self.finish(self.op("Transpose", joined, perm=[0, 2, 1]))

    def finish(self, result):
        output = helper.make_tensor_value_info(result, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "net", [self.input], [output], self.weights)
        opset = helper.make_opsetid("", self.opset)
        return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def saved(model, folder):
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return path


def picture(channels, size, seed=0):
    return np.random.default_rng(seed).normal(0, 1, (1, channels, *size)).astype(np.float32)


def expected(path, pictures):
    """(cells, columns), by ONNX Runtime without its own fusions."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": pictures})[0][0]


def computed(path, pictures, instruction_set):
    """Return (cells, columns). The workspace is filled with NaN before, so that reading unwritten values shows."""
    network = plan(read_graph(path), *pictures.shape[2:], WeightStore(), instruction_set)
    output = np.full(network.output_shape, np.nan, np.float32)
    workspace = aligned(network.workspace_size)
    workspace[:] = np.nan
    network.run(pictures[0], output, workspace)
    return output


def right_or_refused(path, model, given, planned):
    """Whether a network is computed as by ONNX Runtime, or refused: "right", "refused", "untold" where ONNX Runtime is
    stricter (types, unused nodes). Fails where it gives another answer."""
    path.write_bytes(model.SerializeToString())
    try:
        network = planned(path, given.shape[2:])
    except (Unsupported, OnnxFileError):
        return "refused"
    output = np.full(network.output_shape, np.nan, np.float32)
    network.run(given[0], output, np.zeros(network.workspace_size, np.float32))
    try:
        wanted = expected(path, given)
    except Exception:  # noqa: BLE001 - its reasons are its own
        return "untold"
    assert_close(output, wanted)
    return "right"


def assert_close(found, wanted):
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5 * max(1.0, float(np.abs(wanted).max())))
