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
        assert layout.needs_nms == (name not in ("end2end", "detr", "detr-post", "rtmdet"))


def test_unknown_name_lists_the_names():
    with pytest.raises(
        ValueError, match=r"layout must be one of yolox, .*, rtmdet, nanodet, nanodet-plus, picodet\. Got 'yolov4'\."
    ):
        get_layout("yolov4")


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_are_frozen(layout):
    with pytest.raises(AttributeError):
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


LEVELS = {"nanodet": ((8, 16, 32), 0.5), "nanodet-plus": ((8, 16, 32, 64), 0.0), "picodet": ((8, 16, 32, 64), 0.5)}
WIDE = (352, 416)  # no whole number of cells of 64


def distributions(name, hw=WIDE, dtype=np.float32):
    count = sum(-(-hw[0] // stride) * -(-hw[1] // stride) for stride in LEVELS[name][0])
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 2, (count, 5 + 32))
    rows[:, :5] = rng.random((count, 5)) ** 4
    return rows.astype(dtype)


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("mask", [None, np.array([True, False, True, True, False])])
def test_distributed_sides_are_decoded_as_by_the_twin(name, dtype, mask):
    output = distributions(name, dtype=dtype)
    output[3, 1] = output[7, 9] = output[-1, 0] = np.nan
    output[-2, :5] = np.inf
    strides, centre = LEVELS[name]
    found = get_layout(name).decode(output, WIDE, 0.5, mask)
    with np.errstate(invalid="ignore"):
        expected = reference.decode_distributed(output, WIDE, 0.5, strides=strides, centre=centre, class_mask=mask)
    assert len(found[0]) > 100
    np.testing.assert_allclose(found[0], expected[0], atol=2e-3)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[2], expected[2])
    assert [part.dtype for part in found] == [np.float32, np.float32, np.int32]


def test_a_certain_distribution_is_its_bin():
    output = np.full((5 * 5 + 3 * 3 + 2 * 2, 1 + 32), -50, np.float32)
    output[:, 0] = 0
    output[6, 0] = 0.9  # the cell (1, 1) of stride 8, whose centre is (12, 12)
    for side, bin in enumerate((1, 0, 7, 2)):
        output[6, 1 + side * 8 + bin] = 50
    boxes, scores, class_ids = get_layout("nanodet").decode(output, (40, 40), 0.5)
    np.testing.assert_allclose(boxes, [[4, 12, 68, 28]], atol=1e-4)
    assert (scores.tolist(), class_ids.tolist()) == ([np.float32(0.9)], [0])


@pytest.mark.parametrize("shape", [(37,), (100, 37), (38, 32)])
def test_another_shape_is_no_distribution(shape):
    with pytest.raises(ValueError, match=r"output must be \(38, C \+ 32\) with C >= 1\. Got shape"):
        get_layout("nanodet").decode(np.zeros(shape, np.float32), (40, 40), 0.5)
    with pytest.raises(ValueError, match=r"class_mask must have the shape \(5,\)\. Got shape \(4,\)"):
        get_layout("nanodet").decode(np.zeros((38, 37), np.float32), (40, 40), 0.5, np.ones(4, bool))
