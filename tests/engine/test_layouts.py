import dataclasses

import numpy as np
import pytest

from engine.inference.layouts import LAYOUTS, candidates, get_layout
from engine_ext.decode_heads import decode_end2end, decode_yolov5, decode_yolov8, decode_yolox

COCO = 80
HW = (416, 416)


def test_names_and_descriptions():
    assert list(LAYOUTS) == ["yolox", "yolov5", "yolov8", "end2end"]
    for name, layout in LAYOUTS.items():
        assert layout.name == name
        assert layout is get_layout(name)
        assert "\n" not in layout.describe
        assert layout.needs_nms == (name != "end2end")


def test_unknown_name_lists_the_names():
    with pytest.raises(ValueError, match=r"layout must be one of yolox, yolov5, yolov8, end2end\. Got 'yolov4'\."):
        get_layout("yolov4")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_are_frozen(layout):
    with pytest.raises(dataclasses.FrozenInstanceError):
        layout.name = "other"


def test_the_table_of_layouts_is_frozen():
    with pytest.raises(TypeError):
        LAYOUTS["mine"] = LAYOUTS["yolox"]


@pytest.mark.parametrize(
    ("name", "output_shape", "num_classes", "input_hw"),
    [
        ("yolox", (1, 3549, 85), COCO, HW),
        ("yolox", (1, 3549, 6), 1, HW),
        ("yolox", (None, 1470, 85), COCO, (224, 320)),
        ("yolox", (1, 1234, 85), COCO, None),  # input size open: the number of anchors is too
        ("yolox", (None, None, 85), COCO, HW),
        ("yolov5", (1, 25200, 85), COCO, (640, 640)),
        ("yolov5", (8, 102000, 85), COCO, (1280, 1280)),  # four levels
        ("yolov8", (1, 84, 8400), COCO, (640, 640)),
        ("yolov8", (None, None, None), COCO, (640, 640)),  # nothing known, nothing wrong
        ("end2end", (1, 300, 6), COCO, (640, 640)),
        ("end2end", (1, 300, 6), 1, None),
    ],
)
def test_check_accepts(name, output_shape, num_classes, input_hw):
    get_layout(name).check(output_shape, num_classes, input_hw)


@pytest.mark.parametrize(
    ("name", "output_shape", "num_classes", "input_hw", "message"),
    [
        (
            "yolov8", (1, 25200, 85), COCO, (640, 640),
            "layout yolov8 needs an output of shape (batch, 84, anchors) for 80 classes. Got (1, 25200, 85).",
        ),
        (
            "yolov8", (None, 116, None), COCO, None,  # a segmentation model
            "layout yolov8 needs an output of shape (batch, 84, anchors) for 80 classes. Got (?, 116, ?).",
        ),
        (
            "yolov5", (1, 84, 8400), COCO, (640, 640),
            "layout yolov5 needs an output of shape (batch, anchors, 85) for 80 classes. Got (1, 84, 8400).",
        ),
        (
            "yolov5", (1, 3, 80, 80, 85), COCO, (640, 640),  # exported without its last step
            "layout yolov5 needs an output of shape (batch, anchors, 85) for 80 classes. Got (1, 3, 80, 80, 85).",
        ),
        (
            "yolox", (1, 3549, 85), 3, HW,
            "layout yolox needs an output of shape (batch, 3549, 8) for 3 classes and an input of 416 x 416. "
            "Got (1, 3549, 85).",
        ),
        (
            "yolox", (1, 8400, 85), COCO, HW,
            "layout yolox needs an output of shape (batch, 3549, 85) for 80 classes and an input of 416 x 416. "
            "Got (1, 8400, 85).",
        ),
        (
            "yolox", (1, 3549, 85), COCO, (416, 420),
            "layout yolox needs an input whose height and width are multiples of each of the strides (8, 16, 32). "
            "Got 416 x 420.",
        ),
        (
            "end2end", (1, 300, 7), COCO, (640, 640),
            "layout end2end needs an output of shape (batch, detections, 6). Got (1, 300, 7).",
        ),
        ("yolov5", (1, 100, 85), 0, None, "num_classes must be an int above 0. Got 0."),
        ("yolov8", (), 80, None,
         "layout yolov8 needs an output of shape (batch, 84, anchors) for 80 classes. Got ()."),
    ],
)  # fmt: skip
def test_check_refuses(name, output_shape, num_classes, input_hw, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
        get_layout(name).check(output_shape, num_classes, input_hw)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("output_shape", "num_classes", "expected"),
    [
        ((1, 3549, 85), COCO, ["yolox", "yolov5"]),
        ((1, 3549, 85), None, ["yolox", "yolov5"]),
        ((1, 84, 8400), COCO, ["yolov8"]),
        ((1, 84, 8400), None, ["yolov8"]),
        ((1, 300, 6), COCO, ["end2end"]),
        ((1, 300, 6), 1, ["yolox", "yolov5", "end2end"]),  # nothing in the shape tells them apart
        ((1, 300, 6), None, ["yolox", "yolov5", "end2end"]),
        ((1, 84, 8400), 3, []),
        ((1, 1000), None, []),  # a classifier
        ((1, 32, 160, 160), None, []),
        ((None, None, None), None, ["yolox", "yolov5", "yolov8", "end2end"]),
    ],
)
def test_candidates(output_shape, num_classes, expected):
    assert candidates(output_shape, num_classes) == expected


@pytest.mark.parametrize(
    ("name", "shape", "direct"),
    [
        ("yolox", (3549, 85), lambda output, mask: decode_yolox(output, HW, 0.5, class_mask=mask)),
        ("yolov5", (500, 85), lambda output, mask: decode_yolov5(output, 0.5, class_mask=mask)),
        ("yolov8", (84, 500), lambda output, mask: decode_yolov8(output, 0.5, class_mask=mask)),
        ("end2end", (500, 6), lambda output, mask: decode_end2end(output, 0.5, class_mask=mask)),
    ],
)
@pytest.mark.parametrize("mask", [None, np.arange(COCO) % 2 == 0])
def test_decode_is_the_kernel(name, shape, direct, mask):
    output = np.random.default_rng(0).random(shape, dtype=np.float32)
    if name == "end2end":
        output[:, 5] = np.arange(500) % COCO
    found = get_layout(name).decode(output, HW, 0.5, mask)
    assert len(found[0])
    for got, expected in zip(found, direct(output, mask), strict=True):
        np.testing.assert_array_equal(got, expected)
