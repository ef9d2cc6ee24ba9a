"""From a name or a path to a manifest: what each kind of file declares, and what is refused."""

import hashlib

import pytest
from onnx import TensorProto, helper

from models.coco import COCO80
from models.errors import LayoutError, ManifestError, MissingModelError, ModelError, OnnxFileError, UnknownModelError
from models.metadata import names_of
from models.onnx_meta import read_meta
from models.resolution import resolve
from tests.assets import require_asset
from tests.models import builders
from tests.models.builders import save

TWO = "{0: 'cat', 1: 'dog'}"
ULTRALYTICS = {"author": "Ultralytics", "task": "detect", "names": TWO, "stride": "32", "description": "YOLOv8n model"}
HEAD = {"head": "Detect", "end2end": "False"}
ENDS = {**ULTRALYTICS, "end2end": "True"}
YOLOV5 = {"names": TWO, "stride": "32"}
OWN = {"yolo_engine.input.channel_order": "bgr", "yolo_engine.input.scale": "1"}
FED = {"channel_order": "bgr", "scale": 1.0}  # what no file of layout yolox says
RGB = ("rgb", 1 / 255, "center")


@pytest.mark.parametrize(
    ("model", "layout", "feeding"),
    [
        (lambda: builders.yolov8(metadata={**ULTRALYTICS, **HEAD}), "yolov8", RGB),  # a new export
        (lambda: builders.yolov8(metadata=ULTRALYTICS), "yolov8", RGB),  # an older one: no head, no end2end
        (lambda: builders.yolov5(metadata=YOLOV5), "yolov5", RGB),  # YOLOv5's own exporter
        (lambda: builders.end2end({**ULTRALYTICS, "end2end": "True"}), "end2end", RGB),  # YOLO26 and the like
        (lambda: builders.end2end({**ULTRALYTICS, "names": "{0: 'cat'}"}), "end2end", RGB),  # YOLOv10: six columns
        (lambda: builders.yolox(metadata={"yolo_engine.layout": "yolox", **OWN}), "yolox", ("bgr", 1.0, "topleft")),
        (
            lambda: builders.yolox(metadata={**OWN, "yolo_engine.layout": '"yolox"', "yolo_engine.input.scale": "0.5"}),
            "yolox",
            ("bgr", 0.5, "topleft"),
        ),  # our own keys, in TOML
    ],
)
def test_metadata_decides(tmp_path, model, layout, feeding):
    path = save(model(), tmp_path / "m.onnx")
    found = resolve(path)
    spec = found.manifest.input
    assert (found.path, found.manifest.layout, found.manifest.file) == (path, layout, "m.onnx")
    assert (spec.channel_order, spec.scale, spec.pad) == feeding
    assert (spec.height, spec.width, spec.dtype, spec.stride) == (64, 64, "float32", 32)
    assert found.manifest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("model", "listed"),
    [
        (lambda: builders.yolox(), "yolox"),  # YOLOX writes no metadata
        (lambda: builders.dense(640, 80, 8400), "(1, 8400, 85) fits yolox [(N, A, 5+C), raw grid"),
        (lambda: builders.dense(640, 80, 25200), "(1, 25200, 85) fits yolov5"),  # three a cell: no raw YOLOX grid
        (lambda: builders.yolov8(), "yolov8"),
        (lambda: builders.yolov5(metadata={"names": TWO}), "yolov5"),  # half of what the exporter writes
        (lambda: builders.yolov5(metadata={**YOLOV5, "names": "{0: 'cat'}"}), "yolov5"),  # names that don't fit
        (lambda: builders.end2end(ULTRALYTICS), "end2end"),  # two classes, and end2end not said
    ],
)
def test_a_shape_never_decides(tmp_path, model, listed):
    path = save(model(), tmp_path / "m.onnx")
    with pytest.raises(LayoutError) as caught:
        resolve(path)
    for part in (str(path), "a shape is no proof", listed, "--layout ", "m.onnx.toml", 'layout = "'):
        assert part in str(caught.value)


def test_both_candidates_are_listed(tmp_path):
    with pytest.raises(LayoutError, match=r"yolox \[.*\], yolov5 \["):
        resolve(save(builders.dense(640, 80, 8400), tmp_path / "m.onnx"))


def test_flags_complete_a_silent_file(tmp_path):
    path = save(builders.yolox(classes=2), tmp_path / "m.onnx")
    manifest = resolve(path, layout="yolox", **FED).manifest
    assert (manifest.classes, manifest.strides) == (("class0", "class1"), (8, 16, 32))
    manifest = resolve(path, layout="yolox", classes=("a", "b"), scale=(1.0, 2.0, 3.0), channel_order="rgb",
                       mean=(0.0, 0.0, 0.0)).manifest  # fmt: skip
    assert (manifest.classes, manifest.input.scale, manifest.input.channel_order) == (("a", "b"), (1, 2, 3), "rgb")


@pytest.mark.parametrize("name", ["m.onnx.toml", "m.toml"])
def test_a_side_car_completes_a_silent_file_and_flags_win(tmp_path, name):
    path = save(builders.yolox(), tmp_path / "m.onnx")
    (tmp_path / name).write_text('layout = "yolox"\nclasses = ["a", "b"]\nname = "mine"\n[input]\npad = "center"\n'
                                 'channel_order = "bgr"\nscale = 1\n')  # fmt: skip
    manifest = resolve(path).manifest
    assert (manifest.name, manifest.classes, manifest.input.pad) == ("mine", ("a", "b"), "center")
    assert resolve(path, pad="topleft").manifest.input.pad == "topleft"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layuot = "yolox"', "m.toml: layuot is not a known key."),
        ('layout = "yolox"\n[input]\nchannel_order = "grb"', "input.channel_order must be rgb or bgr. Got 'grb'."),
        ('layout = "yolov8"', "layout yolov8 needs an output (N, 4+C, A)"),  # contradicts the file
        ('layout = "yolox"\nclasses = "coco80"', "the output has 2 classes. Got 80 class names."),
        ('layout = "yolox"\n[input]\nheight = 96', "the file's input has the fixed height 64. Got 96."),
        (f'layout = "yolox"\nsha256 = "{"0" * 64}"', "the side-car TOML is for SHA-256 000"),  # of another file
    ],
)  # fmt: skip
def test_a_wrong_side_car(tmp_path, text, message):
    path = save(builders.yolox(), tmp_path / "m.onnx")
    (tmp_path / "m.toml").write_text(text)
    with pytest.raises(ModelError) as caught:
        resolve(path)
    assert message in str(caught.value)


@pytest.mark.parametrize("known", ["street-nano", "a copy.onnx"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "yolov8"}, "layout must be yolox for street-nano, as its manifest says. Got 'yolov8'. Leave "),
        ({"layout": "end2end"}, "layout must be yolox for street-nano, as its manifest says. Got 'end2end'. Leave "),
        ({"classes": ("a", "b")}, "{known}: the output has 6 classes. Got 2 class names."),
        ({"layout": "yolox", "classes": tuple("abcdef")}, None),
    ],
)
def test_options_of_a_known_model(tmp_path, monkeypatch, known, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a copy.onnx").write_bytes(resolve("street-nano").path.read_bytes())  # known by its hash
    if message is None:
        assert resolve(known, **options).manifest.classes == options["classes"]
        return
    with pytest.raises(LayoutError) as caught:
        resolve(known, **options)
    assert str(caught.value).startswith(message.format(known=known))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"layout": "yolo"},
            "model options: layout must be yolox, yolov5, yolov8, end2end, detr, detr-post, rtmdet, "
            "nanodet, nanodet-plus or picodet. Got 'yolo'.",
        ),
        ({"channel_order": "RGB"}, "model options: input.channel_order must be rgb or bgr. Got 'RGB'."),
        ({"input_size": 0}, "model options: input.height must be an int in [32, 8192]. Got 0."),
        ({"scale": 0.0}, "model options: input.scale must be a number above 0"),
        ({"input_size": (64, 96), "layout": "yolox"}, "the fixed width 64. Got 96."),
    ],
)
def test_wrong_options(tmp_path, options, message):
    path = save(builders.yolox(), tmp_path / "m.onnx")
    with pytest.raises(ManifestError) as caught:
        resolve(path, **options)
    assert message in str(caught.value)


def free_input(model):
    for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_param = "anchors"
    return model


def test_a_free_input_takes_any_size(tmp_path):
    path = save(free_input(builders.yolov8(metadata=ULTRALYTICS)), tmp_path / "m.onnx")
    assert read_meta(path).inputs[0].dims == ("batch", 3, "height", "width")
    assert resolve(path).manifest.input.height == 640
    manifest = resolve(path, input_size=(384, 640)).manifest
    assert (manifest.input.height, manifest.input.width) == (384, 640)
    with pytest.raises(ManifestError, match=r"input.height must be a multiple of the stride 32. Got 400"):
        resolve(path, input_size=400)


def second_input():
    return [helper.make_tensor_value_info("sizes", TensorProto.FLOAT, [1, 2])]


def channels_last():
    graph = builders.Graph((1, 64, 64, 3))
    return graph.model(graph.op("Reshape", "images", graph.const([1, -1, 3])), (1, 4096, 3))


def two_inputs():
    graph = builders.Graph()
    return graph.model(graph.op("Relu", "images"), (1, 3, 64, 64), extra_inputs=second_input())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty (0 bytes), not an ONNX model."),
        (b"<!DOCTYPE html><title>404</title>", "is not an ONNX model"),  # an error page saved as the model
        (lambda: builders.yolox().SerializeToString()[:-100], "is not an ONNX model, or is truncated."),
        (lambda: builders.classifier().SerializeToString(), "a classifier, or a detector of another kind"),
        (lambda: two_inputs().SerializeToString(), "This model has 2: images, sizes."),
        (lambda: channels_last().SerializeToString(), "an image (N, 3, H, W). Input 'images' is (1, 64, 64, 3)"),
        (
            lambda: builders.yolov8(metadata={**ULTRALYTICS, "task": "pose"}).SerializeToString(),
            "this model does the task 'pose'; only detection models can be run here.",
        ),
        (
            lambda: builders.yolox(metadata={"yolo_engine.layout": "yolo"}).SerializeToString(),
            "metadata: layout must be yolox",
        ),
    ],
)  # fmt: skip
def test_files_that_are_no_detector(tmp_path, content, message):
    path = tmp_path / "m.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content())
    with pytest.raises(ModelError) as caught:
        resolve(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_input_of_another_type(tmp_path):
    graph = builders.Graph(dtype=TensorProto.DOUBLE)
    path = save(graph.model(graph.op("Reshape", "images", graph.const([1, -1, 3])), (1, 4096, 3)), tmp_path / "m.onnx")
    with pytest.raises(OnnxFileError, match=r"must be of type float32, float16, uint8. Input 'images' is float64"):
        resolve(path)


def test_paths_that_are_no_file(tmp_path):
    with pytest.raises(OnnxFileError, match="is a directory"):
        resolve(tmp_path)
    with pytest.raises(OnnxFileError, match="there is no such file"):
        resolve(tmp_path / "none.onnx")
    with pytest.raises(UnknownModelError, match="neither a model of the zoo nor a file; did you mean yolox-nano"):
        resolve("yolox-nan")


def test_a_zoo_name_is_not_pulled_unasked():
    with pytest.raises(MissingModelError, match="yolo-engine models pull yolox-tiny"):
        resolve("yolox-tiny")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{0: 'a', 1: 'b'}", ("a", "b")),
        ("{1: 'b', 0: 'a'}", ("a", "b")),  # in the order of the ids
        ("['a', 'b']", ("a", "b")),
        ("{1: 'a'}", None),  # ids with a gap
        ("__import__('os').getcwd()", None),  # data, never code
        ("[" * 500, None),
        ("", None),
        ("[]", None),
    ],
)
def test_names_are_parsed_as_data(text, names):
    assert names_of(text) == names


@pytest.mark.parametrize(
    ("file", "name", "layout", "order", "scale", "pad", "size", "dtype"),
    [
        ("yolox_nano.onnx", "yolox-nano", "yolox", "bgr", 1.0, "topleft", 416, "float32"),  # by its hash
        (
            "yolov5n_fp16.onnx",
            "yolov5n_fp16",
            "yolov5",
            "rgb",
            1 / 255,
            "center",
            640,
            "float16",
        ),  # by names and stride
        ("yolov8n_int8.onnx", "yolov8n_int8", "yolov8", "rgb", 1 / 255, "center", 640, "float32"),  # by author and task
    ],
)
def test_real_files_resolve_by_plain_path(file, name, layout, order, scale, pad, size, dtype):
    path = require_asset(f"models/{file}")
    manifest = resolve(path).manifest
    spec = manifest.input
    assert (manifest.name, manifest.layout, manifest.strides) == (name, layout, (8, 16, 32))
    assert (spec.channel_order, spec.scale, spec.pad, spec.dtype) == (order, scale, pad, dtype)
    assert (spec.height, spec.width, manifest.classes) == (size, size, COCO80)
    assert manifest.size_bytes == path.stat().st_size


def test_a_zoo_name_finds_a_mirrored_file(monkeypatch):
    path = require_asset("models/yolox_nano.onnx")
    monkeypatch.setenv("YOLO_ENGINE_MODELS", str(path.parent))
    assert resolve("yolox-nano").path == path
    with pytest.raises(ManifestError, match=r"fixed height 416. Got 320"):
        resolve("yolox-nano", input_size=320)


def test_a_shape_of_a_billion_classes_is_refused(tmp_path):
    """Names for all of them would fill the memory."""
    model = builders.yolox(classes=2)
    model.graph.output[0].type.tensor_type.shape.dim[2].dim_value = 1 << 30
    path = save(model, tmp_path / "m.onnx")
    with pytest.raises(OnnxFileError, match="its output has 1,073,741,819 classes"):
        resolve(path, layout="yolox", **FED)
