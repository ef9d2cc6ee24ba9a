"""Detectors with several outputs: told by their names, joined, and checked against what they gave apart."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from models.coco import COCO80, COCO91
from models.dynamic_axes import freed_model
from models.errors import LayoutError, ManifestError, OnnxFileError
from models.files import sha256_of
from models.join import join
from models.onnx_meta import meta_of
from models.parts import parts_of
from models.registry import get_manifest
from models.resolution import resolve
from tests.models.builders import Graph, save

NAMES = ("a", "b", "c")
TO_ONE = {"scale": 1 / 255}
QUERIES = 7


def finish(graph, outputs, inputs=(), metadata=None):
    """`outputs`: (name in the graph, name it gets, dims, type)."""
    nodes = [*graph.nodes, *(helper.make_node("Identity", [made], [name]) for made, name, _, _ in outputs)]
    infos = [helper.make_tensor_value_info(name, kind, dims) for _, name, dims, kind in outputs]
    made = helper.make_graph(nodes, "g", [graph.input, *inputs], infos, graph.weights)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", graph.opset)], ir_version=8)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    return model


def rows_of(graph, fields, size=64):
    """(N, QUERIES, fields) that depend on the picture."""
    head = graph.conv("images", 3, QUERIES * fields, size)
    return graph.op("Reshape", head, graph.const(np.array([-1, QUERIES, fields])))


def detr(
    logits="logits", boxes="pred_boxes", classes=3, batch="batch", metadata=None, dtype=TensorProto.FLOAT,
    picture=(3, 64, 64),
):  # fmt: skip
    graph = Graph((batch, *picture), dtype=dtype)
    outputs = [
        (rows_of(graph, classes), logits, (batch, QUERIES, classes), dtype),
        (graph.op("Sigmoid", rows_of(graph, 4)), boxes, (batch, QUERIES, 4), dtype),
    ]
    return finish(graph, outputs if logits != "labels" else outputs[::-1], metadata=metadata)


def detr_post(*, squeezed=False, batch="batch", sizes="orig_target_sizes"):
    """Labels, boxes that are multiplied by the frame's size, scores."""
    graph = Graph((batch, 3, 64, 64))
    scaled = graph.op("Cast", sizes, to=TensorProto.FLOAT)
    factor = graph.op("Unsqueeze", graph.op("Concat", scaled, scaled, axis=1), graph.const(np.array([1])))
    boxes = graph.op("Mul", graph.op("Sigmoid", rows_of(graph, 4)), factor)
    best = graph.op("Sigmoid", rows_of(graph, 3))
    scores = graph.op("ReduceMax", best, axes=[2], keepdims=0)
    labels = graph.op("ArgMax", best, axis=2, keepdims=0)
    shape = [batch]
    if squeezed:
        axis = graph.const(np.array([0]))
        boxes, scores, labels = (graph.op("Squeeze", each, axis) for each in (boxes, scores, labels))
        shape = []
    outputs = [
        (labels, "labels", [*shape, QUERIES], TensorProto.INT64),
        (boxes, "boxes", [*shape, QUERIES, 4], TensorProto.FLOAT),
        (scores, "scores", [*shape, QUERIES], TensorProto.FLOAT),
    ]
    return finish(graph, outputs, [helper.make_tensor_value_info(sizes, TensorProto.INT64, (batch, 2))])


def rtmdet(batch="batch", opset=11):
    graph = Graph((batch, 3, "h", "w"), opset=opset)
    labels = graph.op("ArgMax", rows_of(graph, 3), axis=2, keepdims=0)
    outputs = [
        (rows_of(graph, 5), "dets", (batch, QUERIES, 5), TensorProto.FLOAT),
        (labels, "labels", (batch, QUERIES), TensorProto.INT64),
    ]
    return finish(graph, outputs)


def run(model, *given):
    data = model if isinstance(model, str) else model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return session.run(None, dict(zip(names, given, strict=True)))


def pictures(count=2, seed=0):
    return np.random.default_rng(seed).random((count, 3, 64, 64), np.float32)


def freed(path, tmp_path, **options):
    return freed_model(resolve(path, **options), tmp_path / "cache")


def test_logits_and_boxes_are_joined(tmp_path):
    model = detr()
    path = save(model, tmp_path / "m.onnx")
    found = resolve(path, layout="detr", **TO_ONE)
    assert (found.manifest.layout, found.manifest.classes) == ("detr", ("class0", "class1", "class2"))
    spec = found.manifest.input
    assert (spec.pad, spec.channel_order, spec.height, spec.width) == ("stretch", "rgb", 64, 64)
    made = freed_model(found, tmp_path / "cache")
    assert (made.dynamic, made.batch_safe) == (False, True)
    assert "stretched" in made.reason
    logits, boxes = run(model, pictures())
    (joined,) = run(str(made.path), pictures())
    np.testing.assert_array_equal(joined, np.concatenate([boxes, logits], axis=2))


def test_names_for_all_axes_of_the_picture(tmp_path, in_zoo, monkeypatch):
    """So Optimum exports, and so are the files of the zoo."""
    path = save(detr(picture=("num_channels", "height", "width"), classes=80), tmp_path / "dfine_n_coco.onnx")
    manifest = get_manifest("dfine-n")._replace(sha256=sha256_of(path))
    manifest = in_zoo(manifest._replace(input=manifest.input._replace(height=64, width=64)))
    monkeypatch.setenv("YOLO_ENGINE_MODELS", str(tmp_path))
    found = resolve("dfine-n")
    assert found.manifest == manifest
    assert resolve(path).manifest.input == manifest.input
    made = freed_model(found, tmp_path / "cache")
    logits, boxes = run(str(path), pictures())
    (joined,) = run(str(made.path), pictures())
    np.testing.assert_array_equal(joined, np.concatenate([boxes, logits], axis=2))


def test_a_slot_for_nothing_behind_the_classes_is_left_out(tmp_path):
    model = detr()
    made = freed(save(model, tmp_path / "m.onnx"), tmp_path, layout="detr", classes=("a", "b"), **TO_ONE)
    logits, boxes = run(model, pictures(1))
    np.testing.assert_array_equal(
        run(str(made.path), pictures(1))[0], np.concatenate([boxes, logits[..., :2]], axis=2)
    )  # fmt: skip


def test_halves_are_joined_as_float32(tmp_path):
    model = detr(dtype=TensorProto.FLOAT16)
    made = freed(save(model, tmp_path / "m.onnx"), tmp_path, layout="detr", **TO_ONE)
    (joined,) = run(str(made.path), pictures().astype(np.float16))
    assert joined.dtype == np.float32


@pytest.mark.parametrize(("squeezed", "batch"), [(False, "batch"), (True, "batch"), (False, 1)])
@pytest.mark.parametrize("sizes", ["orig_target_sizes", "orig_size"])
def test_the_frame_s_size_becomes_the_input_s(tmp_path, squeezed, batch, sizes):
    model = detr_post(squeezed=squeezed, batch=batch, sizes=sizes)
    found = resolve(save(model, tmp_path / "m.onnx"), classes=NAMES, **TO_ONE)
    assert found.manifest.layout == "detr-post"
    made = freed_model(found, tmp_path / "cache")
    assert made.batch_safe == (not squeezed and batch == "batch")
    labels, boxes, scores = run(model, pictures(1), np.array([[64, 64]]))
    (joined,) = run(str(made.path), pictures(1))
    assert joined.shape == (1, QUERIES, 6)
    np.testing.assert_array_equal(joined[0, :, :4], boxes.reshape(-1, 4))
    np.testing.assert_array_equal(joined[0, :, 4], scores.ravel())
    np.testing.assert_array_equal(joined[0, :, 5], labels.ravel())


def test_images_of_a_batch_get_their_own_answers(tmp_path):
    made = freed(save(detr_post(), tmp_path / "m.onnx"), tmp_path, classes=NAMES, **TO_ONE)
    (together,) = run(str(made.path), pictures(3))
    for image, rows in zip(pictures(3), together, strict=True):
        np.testing.assert_allclose(run(str(made.path), image[None])[0][0], rows, rtol=1e-5)


def test_width_comes_before_height():
    model = detr_post()
    parts = parts_of(meta_of(model))
    wide = run(join(model, parts, (64, 640), 3), pictures(1))[0]
    high = run(join(model, parts, (640, 64), 3), pictures(1))[0]
    np.testing.assert_allclose(wide[..., [0, 2]], 10 * high[..., [0, 2]], rtol=1e-6)
    np.testing.assert_allclose(high[..., [1, 3]], 10 * wide[..., [1, 3]], rtol=1e-6)


def test_rtmdet_is_joined_and_keeps_its_free_axes(tmp_path):
    model = rtmdet()
    found = resolve(save(model, tmp_path / "m.onnx"), classes=NAMES, input_size=64)
    spec = found.manifest.input
    assert (found.manifest.layout, spec.pad, spec.channel_order, spec.stride) == ("rtmdet", "topleft", "bgr", 32)
    assert spec.mean == (103.53, 116.28, 123.675)
    made = freed_model(found, tmp_path / "cache")
    assert (made.dynamic, made.reason) == (True, None)
    dets, labels = run(model, pictures())
    np.testing.assert_array_equal(run(str(made.path), pictures())[0], np.dstack([dets, labels.astype(np.float32)]))


def test_rf_detr_is_known_by_its_outputs(tmp_path):
    found = resolve(save(detr("labels", "dets", classes=91), tmp_path / "m.onnx"))
    assert (found.manifest.layout, found.manifest.classes) == ("detr", COCO91)
    spec = found.manifest.input
    assert (spec.pad, spec.mean) == ("stretch", (123.675, 116.28, 103.53))
    np.testing.assert_allclose(spec.scale, [1 / 58.395, 1 / 57.12, 1 / 57.375])


def test_coco_s_own_ids():
    assert len(COCO91) == 91
    assert [name for name in COCO91 if not name.startswith("none-")] == list(COCO80)
    assert (COCO91[1], COCO91[13], COCO91[90]) == ("person", "stop sign", "toothbrush")


REFUSED = [
    # model, options, what the message says
    (detr(), {}, "with a sigmoid .* pass `--layout detr`.*YOLOS use a softmax and can't be run"),
    (detr(), {"layout": "yolov5"}, "layout must be detr for the outputs logits, pred_boxes.*Got 'yolov5'"),
    (detr(), {"layout": "detr"}, r"Say it with --input-scale .*RF-DETR and DEIMv2 from s on"),
    (detr(), {"layout": "detr", "classes": ("a",), **TO_ONE}, r"has 3 classes\. Got 1 class names"),
    (detr_post(), TO_ONE, "layout detr-post does not say how many classes"),
    (detr_post(), {"layout": "yolov8", "classes": NAMES}, "layout must be detr-post for the outputs labels, boxes"),
    (rtmdet(), {}, "layout rtmdet does not say how many classes"),
]


@pytest.mark.parametrize(("model", "options", "message"), REFUSED)
def test_what_is_open_is_asked_for(tmp_path, model, options, message):
    path = save(model, tmp_path / "m.onnx")
    with pytest.raises(LayoutError, match=message) as caught:
        resolve(path, **options)
    assert str(caught.value).startswith(str(path))


def test_a_layout_needs_its_outputs(tmp_path):
    graph = Graph((1, 3, 64, 64))
    path = save(finish(graph, [("images", "output", (1, 300, 84), TensorProto.FLOAT)]), tmp_path / "m.onnx")
    with pytest.raises(LayoutError, match=r"layout detr-post needs labels .* The file has no such outputs"):
        resolve(path, layout="detr-post", classes=NAMES, **TO_ONE)


@pytest.mark.parametrize("extra", [("masks", (1, 32, 16, 16)), ("keypoints", (1, 2, 3, 4))])
def test_masks_and_key_points_beside_are_refused(tmp_path, extra):
    graph = Graph((1, 3, 64, 64))
    outputs = [
        (rows_of(graph, 3), "labels", (1, QUERIES, 3), TensorProto.FLOAT),
        (rows_of(graph, 4), "dets", (1, QUERIES, 4), TensorProto.FLOAT),
        ("images", *extra, TensorProto.FLOAT),
    ]
    nodes = [helper.make_node("Identity", [made], [name]) for made, name, _, _ in outputs]
    infos = [helper.make_tensor_value_info(name, kind, dims) for _, name, dims, kind in outputs]
    made = helper.make_graph([*graph.nodes, *nodes], "g", [graph.input], infos, graph.weights)
    path = save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "m.onnx")
    with pytest.raises(OnnxFileError):
        resolve(path, layout="detr", **TO_ONE)


# -- what exporters say -----------------------------------------------------------------------------------------------


def libre(family, **more):
    names = json.dumps(dict(enumerate(NAMES)))
    return {"libreyolo_version": "1.6.0", "model_family": family, "task": "detect", "names": names, **more}


@pytest.mark.parametrize(
    ("family", "size", "normalised"),
    [("dfine", "n", False), ("rtdetr", "r18", False), ("deimv2", "atto", False), ("deimv2", "s", True),
     ("rfdetr", "n", True)],
)  # fmt: skip
def test_libreyolo_s_metadata_is_read(tmp_path, family, size, normalised):
    model = detr("pred_logits", metadata=libre(family, size=size))
    found = resolve(save(model, tmp_path / "m.onnx"))
    assert (found.manifest.layout, found.manifest.classes) == ("detr", NAMES)
    assert (max(found.manifest.input.mean) > 0) == normalised
    assert found.manifest.input.channel_order == "rgb"


def test_a_family_of_libreyolo_that_can_t_be_read_is_named(tmp_path):
    graph = Graph((1, 3, 64, 64))
    model = finish(graph, [("images", "output", (1, 7, 84), TensorProto.FLOAT)], metadata=libre("yolo9"))
    with pytest.raises(OnnxFileError, match=r"LibreYOLO's 'yolo9' .* dfine"):
        resolve(save(model, tmp_path / "m.onnx"), layout="yolov8")


def write(path, **content):
    path.write_text(json.dumps(content))


RT_DETR = {"model_type": "rt_detr", "id2label": dict(enumerate(NAMES))}


@pytest.mark.parametrize("inner", [False, True])
def test_transformers_files_beside_are_read(tmp_path, inner):
    (tmp_path / "onnx").mkdir()
    path = save(detr(), tmp_path / ("onnx/model.onnx" if inner else "model.onnx"))
    write(tmp_path / "config.json", **RT_DETR)
    write(tmp_path / "preprocessor_config.json", do_rescale=True, rescale_factor=1 / 255, do_normalize=False,
          size={"height": 64, "width": 64})  # fmt: skip
    found = resolve(path)
    assert (found.manifest.layout, found.manifest.classes) == ("detr", NAMES)
    assert (found.manifest.input.scale, found.manifest.input.mean) == (1 / 255, (0.0, 0.0, 0.0))


def test_a_normalisation_of_transformers(tmp_path):
    write(tmp_path / "config.json", **RT_DETR)
    write(tmp_path / "preprocessor_config.json", rescale_factor=0.5, do_normalize=True, image_mean=[0.1, 0.2, 0.3],
          image_std=[0.5, 0.25, 0.125])  # fmt: skip
    spec = resolve(save(detr(), tmp_path / "m.onnx")).manifest.input
    assert (spec.scale, spec.mean) == ((1.0, 2.0, 4.0), (0.2, 0.4, 0.6))


@pytest.mark.parametrize(
    ("config", "fed", "error", "message"),
    [
        ({"model_type": "yolos"}, None, LayoutError, "'yolos', which computes scores with a softmax"),
        (RT_DETR, {"size": {"shortest_edge": 800}}, LayoutError, "resized by their shortest_edge"),
        (RT_DETR, {"do_normalize": True}, ManifestError, "image_mean must be three numbers"),
        (RT_DETR, {"rescale_factor": 0}, ManifestError, "above 0"),
    ],
)
def test_files_beside_that_do_not_fit(tmp_path, config, fed, error, message):
    write(tmp_path / "config.json", **config)
    if fed is not None:
        write(tmp_path / "preprocessor_config.json", **fed)
    with pytest.raises(error, match=message):
        resolve(save(detr(), tmp_path / "m.onnx"))


@pytest.mark.parametrize("text", ["{", "[]", "\x00", "[" * 100_000])
def test_a_damaged_file_beside_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ManifestError, match=r"config\.json"):
        resolve(save(detr(), tmp_path / "m.onnx"))


def test_files_beside_a_yolo_say_nothing_of_it(tmp_path):
    (tmp_path / "config.json").write_text("{")
    from tests.models import builders

    path = save(builders.yolov8(), tmp_path / "m.onnx")
    assert resolve(path, layout="yolov8").manifest.layout == "yolov8"
