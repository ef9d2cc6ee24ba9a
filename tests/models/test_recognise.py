"""Models of other kinds are named, whatever layout is given; and what a layout does not say is asked for."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from models.coco import COCO80
from models.errors import LayoutError, ManifestError, ModelError, OnnxFileError, UnknownModelError
from models.feeding import check_feeding
from models.manifest import InputSpec
from models.resolution import resolve
from tests.assets import require_asset
from tests.models import builders
from tests.models.builders import save

NAMES = str(dict(enumerate(COCO80)))
BY_ULTRALYTICS = {"author": "Ultralytics", "task": "detect", "names": NAMES, "stride": "32"}
LEGACY = {
    "channel_order": "rgb",
    "scale": (0.0171248, 0.0175070, 0.0174292),
    "mean": (123.675, 116.28, 103.53),
}
FED = {"channel_order": "rgb", "scale": 1 / 255}


def declared(*outputs, inputs=(("images", (1, 3, 640, 640)),), metadata=None):
    """A graph that declares these inputs and outputs, and computes nothing of the kind. Never run."""
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in inputs]
    nodes, results = [], []
    for i, output in enumerate(outputs):
        name, dims = output if isinstance(output[1], tuple) else (f"output{i}", output)
        nodes.append(helper.make_node("Identity", [made[0].name], [name]))
        results.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    model = helper.make_model(helper.make_graph(nodes, "g", made, results))
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    return model


KINDS = {
    "segmentation": (declared((1, 116, 8400), (1, 32, 160, 160)), "an instance segmentation model"),
    "segmentation of YOLOv5": (declared((1, 25200, 117), (1, 32, 160, 160)), "an instance segmentation model"),
    "segmentation, free": (declared((1, 116, "a"), ("b", 32, "h", "w")), "an instance segmentation model"),
    "NanoDet": (
        declared((1, 6400, 80), (1, 1600, 80), (1, 400, 80), (1, 6400, 32), (1, 1600, 32), (1, 400, 32)),
        "distributions of the boxes' sides"),
    "NanoDet with more bins": (
        declared((1, 6400, 80), (1, 1600, 80), (1, 400, 80), (1, 6400, 44), (1, 1600, 44), (1, 400, 44)), "NanoDet"),
    "RT-DETR of Ultralytics": (
        declared((1, 300, 84), metadata={**BY_ULTRALYTICS, "head": "RTDETRDecoder", "description": "rtdetr-l"}),
        "RT-DETR"),
    "RT-DETR with two classes": (
        declared((1, 300, 6), metadata={**BY_ULTRALYTICS, "names": "['a','b']", "description": "Ultralytics RT-DETR"}),
        "RT-DETR"),
    "RT-DETR without a word": (declared((1, 300, 84)), "RT-DETR"),
    "RT-DETR, one class": (declared((1, 300, 5)), "RT-DETR"),
    "YOLO-NAS": (declared((1, 8400, 4), (1, 8400, 80)), "boxes and class scores in outputs of their own"),
    "with NMS": (
        declared(("num_dets", (1, 1)), ("det_boxes", (1, 100, 4)), ("det_scores", (1, 100)), ("det_classes", (1, 100))),
        "its own non-maximum suppression"),
    "YOLOv7 with NMS": (declared(("output0", ("n", 7))), "a YOLOv7 export with its own non-maximum suppression"),
    "raw grids": (declared((1, 3, 80, 80, 85), (1, 3, 40, 40, 85), (1, 3, 20, 20, 85)), "head is not decoded"),
    "raw maps": (declared((1, 255, 80, 80), (1, 255, 40, 40), (1, 255, 20, 20)), "head is not decoded"),
    "pose": (declared((1, 56, 8400)), "a pose model with 17 key points"),
    "pose of YOLOv7": (declared((1, 25500, 57)), "a pose model with 17 key points"),
    "a classifier": (declared((1, 1000)), "a classifier"),
    "a map": (declared((1, 19, 640, 640)), "a model with a map for an output"),
    "Paddle": (
        declared((1, 300, 6), inputs=(("image", (1, 3, 640, 640)), ("scale_factor", (1, 2)))), "PaddleDetection"),
    "who knows": (declared((1, 8400, 85), (1, 7)), "has 2 outputs: 'output0' (1, 8400, 85), 'output1' (1, 7)."),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", [None, "yolov5", "yolov8", "yolox"])
def test_another_kind_is_named_and_no_layout_helps(tmp_path, kind, layout):
    model, named = KINDS[kind]
    path = save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError) as caught:
        resolve(path, layout=layout, **FED)
    text = str(caught.value)
    assert text.startswith(str(path))
    if layout is None or "RT-DETR without" not in kind:
        assert named in text or f"layout {layout} needs an output" in text
    if layout is None:
        assert "Choose one with `--layout" not in text


@pytest.mark.parametrize(("layout", "message"), [
    (None, "not say of which family. Pass `--layout nanodet` for NanoDet, `--layout picodet` for PicoDet"),
    ("yolov8", "layout must be nanodet or picodet for the outputs .* Got 'yolov8'"),
    ("nanodet", r"layout nanodet needs an output scores .* of three levels.* Got \(1, 2125, 112\)"),
])  # fmt: skip
def test_distributions_are_of_a_family_that_is_stated(layout, message):
    with pytest.raises(LayoutError, match=message):
        resolve(require_asset("models2/picodet_s_320_coco.onnx"), layout=layout, classes="coco80")


def test_nanodet_plus_has_one_output(tmp_path):
    path = save(declared((1, 8500, 112)), tmp_path / "m.onnx")
    with pytest.raises(LayoutError, match=r"fits yolov5 \[.*\], nanodet-plus \[.*\]"):
        resolve(path, **FED)
    manifest = resolve(path, layout="nanodet-plus").manifest
    spec = manifest.input
    assert (len(manifest.classes), manifest.strides) == (80, (8, 16, 32, 64))
    assert (spec.channel_order, spec.pad, spec.mean) == ("bgr", "stretch", (103.53, 116.28, 123.675))
    with pytest.raises(LayoutError, match="needs an output"):
        resolve(save(declared((1, 8400, 112)), tmp_path / "n.onnx"), layout="nanodet-plus")


def test_grids_behind_a_decoded_output_do_no_harm(tmp_path):
    model = declared((1, 25200, 85), (1, 3, 80, 80, 85), (1, 3, 40, 40, 85), (1, 3, 20, 20, 85))
    assert resolve(save(model, tmp_path / "m.onnx"), layout="yolov5", **FED).manifest.layout == "yolov5"


def test_a_detector_with_52_classes_is_no_pose_model(tmp_path):
    path = save(declared((1, 56, 8400)), tmp_path / "m.onnx")
    names = tuple(f"n{i}" for i in range(52))
    assert resolve(path, layout="yolov8", classes=names).manifest.classes == names


def decoded_yolox(size=(64, 64)):
    """A raw grid and its decoder: (xy + grid) * stride, exp(wh) * stride."""
    graph = builders.Graph((1, 3, *size))
    flat = []
    for stride in builders.STRIDES:
        head = graph.conv("images", 3, 7, stride)
        flat.append(graph.op("Reshape", head, graph.const(np.array([1, 7, -1]))))
    rows = graph.op("Transpose", graph.op("Concat", *flat, axis=2), perm=[0, 2, 1])
    xy, wh, rest = graph.op("Split", rows, graph.const(np.array([2, 2, 3])), outputs=3, axis=2)
    points, strides = builders.anchor_points(size)
    stride = graph.const(strides[..., None])
    grid = graph.const((points - 0.5).transpose(0, 2, 1).copy())
    xy = graph.op("Mul", graph.op("Add", xy, grid), stride)
    wh = graph.op("Mul", graph.op("Exp", wh), stride)
    return graph.model(graph.op("Concat", xy, wh, rest, axis=2), (1, builders.cell_count(*size), 7))


def test_a_decoded_yolox_is_told_from_a_raw_one(tmp_path):
    path = save(decoded_yolox(), tmp_path / "m.onnx")
    with pytest.raises(LayoutError, match=r"decoded already, as by YOLOX .*`--layout yolov5`") as caught:
        resolve(path)
    assert "yolox [" not in str(caught.value)
    with pytest.raises(LayoutError, match="decoded already"):
        resolve(path, layout="yolox", **FED)
    assert resolve(path, layout="yolov5", channel_order="bgr", scale=1.0).manifest.layout == "yolov5"


# -- what is fed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["yolox", "yolov5"])
@pytest.mark.parametrize(
    ("said", "missing"),
    [
        ({}, ["--channel-order rgb|bgr", "--input-scale"]),
        ({"scale": 1.0}, ["--channel-order rgb|bgr"]),
        ({"channel_order": "bgr"}, ["--input-scale"]),
        ({"channel_order": "rgb", "scale": (0.1, 0.2, 0.3)}, ["--input-mean"]),
    ],
)
def test_colours_are_asked_for(tmp_path, layout, said, missing):
    model = builders.yolox() if layout == "yolox" else builders.yolov5()
    path = save(model, tmp_path / "m.onnx")
    with pytest.raises(LayoutError) as caught:
        resolve(path, layout=layout, **said)
    asked = str(caught.value).partition("Say it with ")[2].partition(", or under")[0].partition(" (and")[0]
    assert asked.split(" and ") == missing


def test_the_older_yolox_is_asked_for_its_colours_and_takes_them():
    path = require_asset("models2/yolox_nano_deftruth.onnx")
    with pytest.raises(LayoutError, match=r"--channel-order rgb\|bgr and --input-scale .*123.675,116.28,103.53"):
        resolve(path, layout="yolox")
    spec = resolve(path, layout="yolox", **LEGACY).manifest.input
    assert (spec.channel_order, spec.scale, spec.mean) == tuple(LEGACY.values())


@pytest.mark.parametrize("file", ["yolo11n_int8.onnx", "yolo26n_int8.onnx"])
def test_what_metadata_says_is_not_asked_for(file):
    spec = resolve(require_asset(f"models2/{file}")).manifest.input
    assert (spec.channel_order, spec.scale, spec.rounding) == ("rgb", 1 / 255, "nearest")


def test_each_family_rounds_as_it_does(tmp_path):
    path = save(builders.yolox(), tmp_path / "m.onnx")
    assert resolve(path, layout="yolox", **FED).manifest.input.rounding == "down"
    (tmp_path / "m.toml").write_text('[input]\nrounding = "nearest"\n')
    assert resolve(path, layout="yolox", **FED).manifest.input.rounding == "nearest"
    assert resolve(require_asset("models/yolox_nano.onnx")).manifest.input.rounding == "down"
    assert resolve("street-nano").manifest.input.rounding == "nearest"  # trained so


@pytest.mark.parametrize("options", [{}, {"scale": 1 / 255}, {"scale": 1.0, "mean": (1.0, 0.0, 0.0)}])
def test_a_uint8_input_takes_pixels_as_they_are(tmp_path, options):
    graph = builders.Graph(dtype=TensorProto.UINT8)
    path = save(graph.model("images", (1, 6, 84)), tmp_path / "m.onnx")
    with pytest.raises(ManifestError, match=r"uint8.*Pass `--input-scale 1`"):
        resolve(path, layout="yolov8", classes=("a", "b"), **options)
    assert resolve(path, layout="yolov8", classes=("a", "b"), scale=1.0).manifest.input.dtype == "uint8"


def test_a_float16_input_must_hold_what_it_is_fed():
    check_feeding(InputSpec(64, 64, "float16", scale=256.0), "m")
    with pytest.raises(ManifestError, match=r"float16, which holds numbers up to 65504.*up to 65535"):
        check_feeding(InputSpec(64, 64, "float16", scale=257.0), "m")
    check_feeding(InputSpec(64, 64, "float32", scale=257.0), "m")


def test_end2end_needs_names(tmp_path):
    path = save(builders.end2end(), tmp_path / "m.onnx")
    with pytest.raises(LayoutError, match=r"does not say how many classes there are.*--class-names"):
        resolve(path, layout="end2end", **FED)
    assert resolve(path, layout="end2end", classes="coco80", **FED).manifest.classes == COCO80


# -- other facts ------------------------------------------------------------------------------------------------------


def free_axes(imgsz):
    return declared(
        (1, 84, "anchors"), inputs=(("images", (1, 3, "height", "width")),),
        metadata={**BY_ULTRALYTICS, "imgsz": imgsz},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("imgsz", "size"),
    [
        ("[480, 640]", (480, 640)),
        ("[1280, 1280]", (1280, 1280)),
        ("320", (320, 320)),
        ("[33, 33]", (640, 640)),  # not a multiple of the stride
        ("[0, 0]", (640, 640)),
        ("[99999, 640]", (640, 640)),
        ("__import__('os')", (640, 640)),
        ("", (640, 640)),
    ],
)
def test_imgsz_of_an_export_with_free_axes_is_used(tmp_path, imgsz, size):
    path = save(free_axes(imgsz), tmp_path / "m.onnx")
    spec = resolve(path).manifest.input
    assert (spec.height, spec.width) == size
    assert resolve(path, input_size=96).manifest.input.height == 96  # what is said wins


def test_imgsz_does_not_contradict_a_fixed_input(tmp_path):
    model = builders.yolov8(metadata={**BY_ULTRALYTICS, "names": "['a', 'b']", "imgsz": "[640, 640]"})
    assert resolve(save(model, tmp_path / "m.onnx")).manifest.input.height == 64


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("best.pt", b"PK\x03\x04" + b"\0" * 40 + b"best/data.pkl"),
        ("best.pth", b"\x80\x02\x8a"),
        ("renamed.onnx", b"PK\x03\x04" + b"\0" * 40 + b"archive/data.pkl"),
    ],
)
def test_pytorch_weights_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OnnxFileError, match=r"PyTorch weights: export them with .*format=onnx"):
        resolve(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "export"),
    [
        (
            "dfine_n_coco.pth",
            "D-FINE: `python tools/deployment/export_onnx.py --check -c CONFIG.yml -r dfine_n_coco.pth`",
        ),
        ("rf-detr-nano.pth", "RF-DETR: in Python `rfdetr.RFDETRNano(pretrain_weights='rf-detr-nano.pth').export()`"),
        ("yolo11n.pt", "Ultralytics: `yolo export model=yolo11n.pt format=onnx`"),
    ],
)
def test_weights_of_a_known_family_are_exported_with_its_program(tmp_path, name, export):
    (tmp_path / name).write_bytes(b"PK\x03\x04archive/data.pkl")
    with pytest.raises(OnnxFileError) as caught:
        resolve(tmp_path / name)
    assert f"the program that trained them. {export}" in str(caught.value)
    assert "YOLOX" not in str(caught.value)


@pytest.mark.parametrize(("name", "family"), [("d-fine-m", "D-FINE"), ("DEIM_N", "DEIM"), ("rf-detr-nano", "RF-DETR")])
def test_a_family_without_a_file_to_download_is_to_be_exported(name, family):
    with pytest.raises(UnknownModelError, match=f"{family} publishes PyTorch weights: export them .*Available: "):
        resolve(name)


@pytest.mark.parametrize(("name", "known"), [("d-fine-n", "dfine-n"), ("RF_DETR_N", "rfdetr-n")])
def test_another_spelling_of_a_name_is_suggested(name, known):
    with pytest.raises(UnknownModelError, match=f"did you mean {known}\\?"):
        resolve(name)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("m.engine", b"ptrt", "a TensorRT engine of another program"),
        ("m.tflite", b"TFL3", "a TensorFlow Lite model"),
        ("m.xml", b"<net/>", "an OpenVINO model"),
        ("m.onnx", b"PK\x03\x04model.onnx", "is an archive"),
    ],
)
def test_files_of_other_programs_are_named(tmp_path, name, content, named):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(OnnxFileError, match=named):
        resolve(tmp_path / name)


def test_a_model_in_a_mirror_is_found_by_its_files_name(tmp_path, monkeypatch):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    path = save(builders.yolov8(metadata={**BY_ULTRALYTICS, "names": "['a', 'b']"}), mirror / "mine.onnx")
    monkeypatch.setenv("YOLO_ENGINE_MODELS", f"{tmp_path / 'none'}:{mirror}")
    assert resolve("mine.onnx").path == path
    assert resolve("mine").path == path
    for wrong in ("other.onnx", "sub/mine.onnx"):
        with pytest.raises(OnnxFileError, match="there is no such file"):
            resolve(wrong)
    monkeypatch.chdir(tmp_path)
    onnx.save(builders.yolov8(metadata={**BY_ULTRALYTICS, "names": "['c', 'd']"}), "mine.onnx")
    assert resolve("mine.onnx").manifest.classes == ("c", "d")  # a file that is here comes first


def test_all_that_is_missing_is_asked_for_at_once(tmp_path):
    path = save(builders.yolox(), tmp_path / "m.onnx")
    with pytest.raises(LayoutError, match=r"`--layout yolox`.* State its input format .* --channel-order and "):
        resolve(path)
    with pytest.raises(LayoutError) as caught:
        resolve(path, **FED)
    assert "State its input format" not in str(caught.value)
    with pytest.raises(LayoutError) as caught:
        resolve(save(builders.yolov8(), tmp_path / "n.onnx"))  # one family writes it
    assert "State its input format" not in str(caught.value)
