import dataclasses

import numpy as np
import pytest

from engine.inference.layouts import LAYOUTS, get_layout
from engine_ext.decode_heads import decode_end2end, decode_yolov5, decode_yolov8, decode_yolox
from models import manifest
from tests.reference import decode_heads as reference

COCO = 80
HW = (416, 416)


def test_there_is_a_layout_for_each_name_of_a_manifest():
    assert tuple(LAYOUTS) == manifest.LAYOUTS
    for name, layout in LAYOUTS.items():
        assert layout.name == name
        assert layout is get_layout(name)
        assert layout.needs_nms == (name in ("yolox", "yolov5", "yolov8"))


def test_unknown_name_lists_the_names():
    with pytest.raises(
        ValueError, match=r"layout must be one of yolox, .*, end2end, detr, detr-post, rtmdet\. Got 'yolov4'\."
    ):
        get_layout("yolov4")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_are_frozen(layout):
    with pytest.raises(dataclasses.FrozenInstanceError):
        layout.name = "other"


def test_the_table_of_layouts_is_frozen():
    with pytest.raises(TypeError):
        LAYOUTS["mine"] = LAYOUTS["yolox"]


@pytest.mark.parametrize(
    ("name", "shape", "direct"),
    [
        ("yolox", (3549, 85), lambda output, mask: decode_yolox(output, HW, 0.5, class_mask=mask)),
        ("yolov5", (500, 85), lambda output, mask: decode_yolov5(output, 0.5, class_mask=mask)),
        ("yolov8", (84, 500), lambda output, mask: decode_yolov8(output, 0.5, class_mask=mask)),
        ("end2end", (500, 6), lambda output, mask: decode_end2end(output, 0.5, class_mask=mask)),
        ("detr-post", (500, 6), lambda output, mask: decode_end2end(output, 0.5, class_mask=mask)),
        ("rtmdet", (500, 6), lambda output, mask: decode_end2end(output, 0.5, class_mask=mask)),
        ("detr", (300, 84), lambda output, mask: reference.decode_detr(output, HW, 0.5, class_mask=mask)),
    ],
)
@pytest.mark.parametrize("mask", [None, np.arange(COCO) % 2 == 0])
def test_decode_is_the_kernel(name, shape, direct, mask):
    output = np.random.default_rng(0).random(shape, dtype=np.float32)
    if shape[1] == 6:
        output[:, 5] = np.arange(500) % COCO
    found = get_layout(name).decode(output, HW, 0.5, mask)
    assert len(found[0])
    for got, expected in zip(found, direct(output, mask), strict=True):
        np.testing.assert_array_equal(got, expected)
