"""Real detectors on real photographs: the numbers, and the boxes, are ONNX Runtime's."""

import numpy as np
import onnx
import pytest

from engine import Engine, EngineConfig
from engine.inference.backends.native import NativeBackend
from engine.inference.backends.onnxruntime import OnnxRuntimeBackend
from engine.inference.trt.to_float32 import plain
from engine_ext.convnet import instruction_sets
from models.dynamic_axes import freed_model
from models.onnx_meta import load_onnx
from models.registry import DEFAULT_MODEL
from models.resolution import resolve
from tests.assets import require_asset
from tests.engine.native.networks import Net, assert_close, expected, picture, saved

Image = pytest.importorskip("PIL.Image")
SETS = instruction_sets()
pytestmark = pytest.mark.skipif(not SETS, reason="the processor has no AVX2")


def photographs(count):
    return sorted(require_asset("images/coco-val").glob("*.jpg"))[:count]


def the_model(name):
    return DEFAULT_MODEL if name == DEFAULT_MODEL else str(require_asset(f"models/{name}"))


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("name", [DEFAULT_MODEL, "yolox_nano.onnx"])
def test_the_numbers(tmp_path, name, instruction_set):
    resolved = resolve(the_model(name))
    path = freed_model(resolved, tmp_path).path
    native = NativeBackend(path, (416, 416), instruction_set=instruction_set)
    reference = OnnxRuntimeBackend(path)
    spec = resolved.manifest.input
    for photograph, (height, width) in zip(photographs(4), [(256, 416), (416, 416), (320, 416), (32, 64)], strict=True):
        pixels = np.asarray(Image.open(photograph).convert("RGB").resize((width, height)), np.float32)
        tensor = np.ascontiguousarray(pixels[None].transpose(0, 3, 1, 2) * np.float32(spec.scale))
        found, wanted = native.run(tensor), reference.run(tensor)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [DEFAULT_MODEL, "yolox_nano.onnx"])
def test_the_boxes(name):
    def boxes(backend):
        with Engine(EngineConfig(model=the_model(name), backend=backend)) as engine:
            return [engine.detect(np.asarray(Image.open(photo).convert("RGB"))) for photo in photographs(12)]

    counted = 0
    for found, wanted in zip(boxes("native"), boxes("onnxruntime"), strict=True):
        counted += len(wanted.scores)
        np.testing.assert_array_equal(found.class_ids, wanted.class_ids)
        np.testing.assert_allclose(found.boxes_xyxy, wanted.boxes_xyxy, atol=0.05)
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-4)
    assert counted > 10


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [("yolo11n_int8.onnx", 320), ("yolo26n_int8.onnx", 640)])
def test_models_with_attention(tmp_path, name, side):
    """In plain float32. The second one chooses its boxes itself: of two that are as good as each other, whichever."""
    path = tmp_path / "model.onnx"
    onnx.save(plain(load_onnx(require_asset(f"models2/{name}"))), str(path))
    pixels = np.asarray(Image.open(photographs(3)[-1]).convert("RGB").resize((side, side)), np.float32) / 255
    given = np.ascontiguousarray(pixels[None].transpose(0, 3, 1, 2))
    found, wanted = (backend.run(given)[0] for backend in (NativeBackend(path, (side, side)), OnnxRuntimeBackend(path)))
    if wanted.shape[1] == 6:
        found, wanted = (rows[rows[:, 4] > 0.1] for rows in (found, wanted))
        assert len(wanted) > 3
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=5e-3)


def yolox(width, depthwise):
    """The YOLOX family in small: focus, CSP stages, pyramid pooling, both ways of the neck, three decoupled heads."""
    net = Net(seed=3, opset=11)

    def block(source, out, kernel=1, stride=1):
        if depthwise and kernel > 1:
            source = net.silu(net.depthwise(source, (kernel, kernel), stride=stride))
            kernel = stride = 1
        return net.silu(net.conv(source, out, (kernel, kernel), stride=stride))

    def stage(source, out, shortcut):
        left, right = block(source, out // 2), block(source, out // 2)
        inner = block(block(left, out // 2), out // 2, 3)
        return block(net.concat(net.op("Add", inner, left) if shortcut else inner, right), out)

    def upsampled(source):
        return net.op("Resize", source, net.const([]), net.const([1, 1, 2, 2]), mode="nearest",
                      coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip

    parts = []
    for column, row in ((0, 0), (0, 1), (1, 0), (1, 1)):
        parts.append(net.slice(net.slice("images", 2, row, 2**31, 2), 3, column, 2**31, 2))
    source = net.silu(net.conv(net.concat(*parts), width, (3, 3)))
    levels = []
    for i in range(1, 5):
        source = block(source, width << min(i, 3), 3, 2)
        if i == 4:
            half = block(source, 4 * width)
            pools = [
                net.op("MaxPool", half, kernel_shape=[k, k], strides=[1, 1], pads=[k // 2] * 4) for k in (5, 9, 13)
            ]
            source = block(net.concat(half, *pools), 8 * width)
        source = stage(source, width << min(i, 3), i < 4)
        levels.append(source)
    small, middle, large = levels[1:]
    lateral = block(large, 4 * width)
    up = stage(net.concat(upsampled(lateral), middle), 4 * width, False)
    reduced = block(up, 4 * width)
    out = [stage(net.concat(upsampled(reduced), small), 4 * width, False)]
    out.append(stage(net.concat(block(out[0], 4 * width, 3, 2), reduced), 4 * width, False))
    out.append(stage(net.concat(block(out[1], 4 * width, 3, 2), lateral), 4 * width, False))
    heads = []
    for level in out:
        stem = block(level, 4 * width)
        classes, boxes = block(stem, 4 * width, 3), block(stem, 4 * width, 3)
        score = net.op("Sigmoid", net.conv(boxes, 1))
        heads.append(net.concat(net.conv(boxes, 4), score, net.op("Sigmoid", net.conv(classes, 80))))
    return net.model(*heads)


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize(("width", "depthwise"), [(16, True), (24, False), (32, False)])
def test_the_family(tmp_path, width, depthwise, instruction_set):
    """nano, tiny and s; those above are as wide as these are deep."""
    path = saved(yolox(width, depthwise), tmp_path)
    backend = NativeBackend(path, (64, 64), instruction_set=instruction_set)
    for size in ((64, 96), (96, 32)):
        given = picture(3, size)
        assert_close(backend.run(given)[0], expected(path, given))
