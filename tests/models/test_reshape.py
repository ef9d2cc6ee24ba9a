"""The graph surgery on small graphs, each with one of the constants that tie an export to its size."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from models.batching import batch_safe, mixing_node
from models.errors import ReshapeError
from models.reshape import free_shape
from models.reshape_target import Cells, Copy, relative_target
from models.verify_dynamic_axes import check_freed
from tests.models import builders
from tests.models.builders import anchor_points, save


def run(model, pictures):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )  # fmt: skip
    return session.run(None, {"images": pictures})[0]


def noise(*shape):
    return np.random.default_rng(1).random(shape, dtype=np.float32)


def dims(value):
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


def halved(size=(64, 64)):
    """Features that are resized to half their size, as NanoDet's are."""
    graph = builders.Graph((1, 3, *size))
    ny, nx = size[0] // 32, size[1] // 32
    half = graph.op("Resize", graph.conv("images", 3, 8, 16), "", "", graph.const(np.array([1, 8, ny, nx])),
                    mode="linear")  # fmt: skip
    flat = graph.op("Reshape", graph.conv(half, 8, 7, 1), graph.const(np.array([1, 7, ny * nx])))
    return graph.model(graph.op("Transpose", flat, perm=[0, 2, 1]), (1, ny * nx, 7))


HEADS = [
    (builders.yolox, "yolox", ["batch", "anchors", 7]),  # Reshape targets with a batch of 1
    (
        lambda **size: builders.yolox(opset=11, **size),
        "yolox",
        ["batch", "anchors", 7],
    ),  # the opset of YOLOX's own exports
    (builders.yolov8, "yolov8", ["batch", 6, "anchors"]),  # anchors and strides over all levels
    (builders.yolov5, "yolov5", ["batch", "anchors", 7]),  # a grid and an anchor grid a level
    (builders.self_shaped, "yolox", ["batch", "anchors", 7]),  # targets that are computed already
    (builders.attention, None, ["batch", "anchors", 7]),  # fold, unfold, Resize to sizes, Slice to an end
    (halved, None, ["batch", "anchors", 7]),  # Resize to half the size
]


@pytest.mark.parametrize(("build", "layout", "output"), HEADS)
def test_a_freed_head_answers_as_before(tmp_path, build, layout, output):
    model = build()
    before = model.SerializeToString()
    freed = free_shape(model)
    assert model.SerializeToString() == before  # the original is left as it was
    onnx.checker.check_model(freed, full_check=True)
    assert dims(freed.graph.input[0]) == ["batch", 3, "height", "width"]
    assert dims(freed.graph.output[0]) == output
    path = save(model, tmp_path / "m.onnx")
    report = check_freed(path, freed.SerializeToString(), layout=layout)
    assert max(report.same_shape, report.in_batch) < 1e-6
    assert report.centres == (layout in ("yolov5", "yolov8"))


@pytest.mark.parametrize(("build", "layout", "output"), HEADS)
@pytest.mark.parametrize("size", [(64, 64), (32, 32), (96, 64), (64, 160), (32, 416)])
def test_a_freed_head_is_the_export_of_any_size(build, layout, output, size):
    """The truth at another size is the same network exported at that size."""
    picture = noise(1, 3, *size)
    truth = run(build(size=size), picture)
    np.testing.assert_allclose(run(free_shape(build()), picture), truth, rtol=1e-5, atol=1e-5)


def test_wide_yolov8_centres_lie_at_their_cells():
    size = (64, 160)
    points, strides = anchor_points(size)
    answer = run(free_shape(builders.yolov8()), noise(1, 3, *size))
    assert answer.shape == (1, 6, points.shape[2])
    away = np.abs(answer[0, :2] / strides - points[0])
    assert away.max() <= 1.0  # the head adds a tanh


def test_a_free_model_passes_through():
    freed = free_shape(builders.yolov8())
    assert free_shape(freed).SerializeToString() == freed.SerializeToString()


def test_a_half_free_model_is_freed():
    model = builders.yolov5()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    assert run(free_shape(model), noise(2, 3, 64, 96)).shape == (2, 3 * builders.cell_count(64, 96), 7)


def test_a_fixed_batch_of_more_than_one(tmp_path):
    graph = builders.Graph((4, 3, 64, 64))
    head = graph.conv("images", 3, 7, 8)
    flat = graph.op("Reshape", head, graph.const(np.array([4, 7, 64])))
    model = graph.model(graph.op("Transpose", flat, perm=[0, 2, 1]), (4, 64, 7))
    report = check_freed(save(model, tmp_path / "m.onnx"), free_shape(model).SerializeToString())
    assert report.same_shape < 1e-6
    assert run(free_shape(model), noise(1, 3, 32, 96)).shape == (1, 48, 7)


def shifted(index, by):
    points, _ = anchor_points()
    points[index] += by
    return points


@pytest.mark.parametrize(
    "anchors",
    [
        shifted((0, 0, 5), 0.25),  # one value off
        anchor_points()[0][:, ::-1].copy() * 1.5,  # a step no grid has
        anchor_points()[0] / np.float32(8),  # a part of the picture's width: would be wrong at any other
        np.random.default_rng(0).random((1, 2, 84), dtype=np.float32),  # merely of the right shape
        np.roll(anchor_points()[0], 1, axis=2),  # the right values at wrong cells
    ],
)
def test_a_constant_that_is_no_grid_is_refused(anchors):
    with pytest.raises(ReshapeError, match=r"cannot free: node n\d+ \(Add\) uses a constant \(1, 2, 84\)"):
        free_shape(builders.yolov8(anchors=anchors))


def one_op(op_type, constants, output, **attributes):
    graph = builders.Graph()
    features = graph.conv("images", 3, 4, 8)
    made = graph.op(op_type, features, *(graph.const(np.array(c)) for c in constants), **attributes)
    return graph.model(made, output)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: one_op("Reshape", [[1, 4, 4, 2, 8]], (1, 4, 4, 2, 8)), r"n1 \(Reshape\) reshapes \(1, 4, 8, 8\)"),
        (lambda: one_op("Resize", [np.float32([]), np.float32([]), [1, 4, 12, 12]], (1, 4, 12, 12)), "no whole multi"),
        (lambda: one_op("Slice", [[0], [4], [2]], (1, 4, 4, 8)), r"cuts axis 2 of \(1, 4, 8, 8\) at fixed places"),
        (lambda: one_op("MatMul", [np.ones((8, 8), np.float32)], (1, 4, 8, 8)), "does not fit another input size"),
        (lambda: builders.yolox(size=(64, 80)), "not a multiple of the stride"),
        (lambda: builders.yolox(opset=11).__class__(), "must have one input"),  # an empty model
    ],
)
def test_what_cannot_be_freed_names_the_node(model, message):
    with pytest.raises(ReshapeError, match=message):
        free_shape(model())


def test_weights_in_a_second_file(tmp_path):
    onnx.save(builders.yolox(), tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    with pytest.raises(ReshapeError, match="the weights are in a second file"):
        free_shape(onnx.load(tmp_path / "m.onnx", load_external_data=False))


def test_an_opset_without_range():
    model = builders.yolox(opset=11)
    model.opset_import[0].version = 10
    with pytest.raises(ReshapeError, match=r"has opset 10. Export it again with opset 11 or later"):
        free_shape(model)


@pytest.mark.parametrize(
    ("source", "probe", "target", "expected"),
    [
        ((1, 85, 8, 8), (3, 85, 11, 15), (1, 85, 64), [Copy((0,)), 85, Copy((2, 3))]),  # flatten cells
        ((1, 255, 8, 8), (3, 255, 11, 15), (1, 3, 85, 8, 8), [Copy((0,)), 3, 85, Copy((2,)), Copy((3,))]),
        ((1, 3, 8, 8, 85), (3, 3, 11, 15, 85), (1, 192, 85), [Copy((0,)), Copy((1, 2, 3)), 85]),  # anchors joined
        ((1, 4, 64), (3, 4, 165), (1, 4, 8, 8), [Copy((0,)), 4, Cells(2, 8), Cells(3, 8)]),  # unfold a map
        ((1, 4, 64), (3, 4, 165), (1, 4, 4, 16), None),  # into something that is no map
        ((1, 4, 64), (3, 4, 165), (1, 4, 64, 1), [Copy((0,)), 4, Copy((2,)), 1]),  # a one at the end
        ((1, 4, 64), (1, 4, 64), (2, 128), [2, 128]),  # nothing follows
        ((1, 4), (1, 4), (5,), None),  # no reshape at all
    ],
)  # fmt: skip
def test_targets(source, probe, target, expected):
    assert relative_target(source, probe, target, (64, 64), (88, 120), (8, 16, 32)) == expected


def reduce_over(axes):
    graph = builders.Graph()
    least = graph.op("ReduceMin", "images", axes=axes) if axes is not None else graph.op("ReduceMin", "images")
    return graph.model(graph.op("Sub", "images", least), (1, 3, 64, 64))


def flattened(axis):
    graph = builders.Graph()
    return graph.model(graph.op("Flatten", "images", axis=axis), (1, 3, 64, 64))


@pytest.mark.parametrize(
    ("model", "safe"),
    [
        (builders.yolox, True),
        (builders.quantized, False),  # one range for the whole batch
        (lambda: reduce_over(None), False),  # over everything
        (lambda: reduce_over([0, 1]), False),
        (lambda: reduce_over([1, 2, 3]), True),  # within a picture
        (lambda: flattened(1), True),
        (lambda: flattened(2), False),  # rows of all images in one list
    ],
)
def test_batch_safety(model, safe):
    assert batch_safe(model()) is safe
    assert (mixing_node(model()) is None) is safe


def test_a_quantized_model_really_mixes_its_batch():
    """Why `batch_safe` is there: the same picture beside a brighter one gets another answer."""
    freed = free_shape(builders.quantized())
    picture = noise(1, 3, 64, 64)
    alone, together = run(freed, picture), run(freed, np.concatenate([picture, picture * 9]))
    assert np.abs(alone[0] - together[0]).max() > 1e-3


class TestTheCheckNotices:
    """`check_freed` given a freed model with one fault."""

    @pytest.fixture
    def original(self, tmp_path):
        return save(builders.yolov8(), tmp_path / "m.onnx")

    def test_another_weight(self, original):
        freed = free_shape(builders.yolov8())
        weight = next(t for t in freed.graph.initializer if len(t.dims) == 4)
        changed = onnx.numpy_helper.to_array(weight) * np.float32(1.01)
        weight.CopyFrom(onnx.numpy_helper.from_array(changed, weight.name))
        with pytest.raises(ReshapeError, match="at the original's shape the answer differs"):
            check_freed(original, freed.SerializeToString(), layout="yolov8")

    def test_a_batch_that_is_mixed(self, original, tmp_path):
        def with_mean(model):  # adds the mean over the batch, less itself: nothing at batch 1
            nodes = model.graph.node
            last = nodes[-1].input[0]
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "axis0"))
            mean = helper.make_node("ReduceMax", [last], ["mean"], axes=[0], keepdims=1)
            away = helper.make_node("Sub", ["mean", last], ["away"])
            nodes[-1].input[0] = "mixed"
            nodes.insert(len(nodes) - 1, mean)
            nodes.insert(len(nodes) - 1, away)
            nodes.insert(len(nodes) - 1, helper.make_node("Add", [last, "away"], ["mixed"]))
            return model

        with pytest.raises(ReshapeError, match=r"in slot . of a batch of 2 the answer differs"):
            check_freed(original, with_mean(free_shape(builders.yolov8())).SerializeToString(), layout="yolov8")

    def test_a_fixed_batch(self, original):
        with pytest.raises(ReshapeError, match="the freed model fails on"):
            check_freed(original, original, layout="yolov8")

    def test_a_grid_with_height_and_width_exchanged(self, original):
        freed = free_shape(builders.yolov8())
        for tensor in freed.graph.initializer:
            if tensor.name.startswith("freed/") and list(tensor.dims) == [1]:
                value = int(onnx.numpy_helper.to_array(tensor)[0])
                if value in (2, 3):
                    other = np.array([5 - value], np.int64)
                    tensor.CopyFrom(onnx.numpy_helper.from_array(other, tensor.name))
        with pytest.raises(ReshapeError, match="decoded centres lie up to"):
            check_freed(original, freed.SerializeToString(), layout="yolov8")

    def test_another_number_of_anchors(self, tmp_path):
        model = builders.attention()  # one level: not the cells of three strides
        path = save(model, tmp_path / "m.onnx")
        with pytest.raises(ReshapeError, match="the output is"):
            check_freed(path, free_shape(model).SerializeToString(), layout="yolox")


def test_fp16_grids_keep_their_type(tmp_path):
    graph = builders.Graph(dtype=TensorProto.FLOAT16)
    head = graph.conv("images", 3, 2, 8)
    flat = graph.op("Reshape", head, graph.const(np.array([1, 2, 64])))
    y, x = np.mgrid[0:8, 0:8]
    grid = (np.stack([x, y]).reshape(1, 2, 64) + 0.5).astype(np.float16)
    model = graph.model(graph.op("Add", flat, graph.const(grid)), (1, 2, 64))
    freed = free_shape(model, stride=8, strides=(8,))
    check_freed(save(model, tmp_path / "m.onnx"), freed.SerializeToString(), stride=8)
    answer = run(freed, np.zeros((1, 3, 16, 40), np.float16))
    assert answer.dtype == np.float16
    assert answer[0, :, -1].tolist() == [4.5, 1.5]
