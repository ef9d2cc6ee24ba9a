"""Kernel against NumPy twin. Exactly equal in classes, order and scores, and in boxes too, but for YOLOX: there exp
comes from the C library here and from NumPy there, each right to about one unit in the last place (see EXP_TOLERANCE).
"""

import cv2
import numpy as np
import pytest

from engine_ext.decode_heads import all_finite, decode_end2end, decode_yolov5, decode_yolov8, decode_yolox
from engine_ext.nms import nms
from tests.assets import require_asset
from tests.reference import decode_heads as reference
from tests.reference.nms import iou_with

NAN, INF = float("nan"), float("inf")
# The largest difference of a side, as a part of the largest coordinate or size of its box.
EXP_TOLERANCE = 1e-6
HW = (64, 96)  # of the model input of the YOLOX tests
YOLOX_ANCHORS = 8 * 12 + 4 * 6 + 2 * 3


def array(rows, dtype=np.float32):
    return np.array(rows, dtype=dtype)


def call_yolox(module_or_kernel, output, conf, class_mask=None):
    return module_or_kernel.decode_yolox(output, HW, conf, class_mask=class_mask)


def call_plain(name):
    def call(module, output, conf, class_mask=None):
        return getattr(module, name)(output, conf, class_mask=class_mask)

    return call


class Kernels:
    decode_yolox = staticmethod(decode_yolox)
    decode_yolov5 = staticmethod(decode_yolov5)
    decode_yolov8 = staticmethod(decode_yolov8)
    decode_end2end = staticmethod(decode_end2end)


CALLS = {
    "yolox": call_yolox,
    "yolov5": call_plain("decode_yolov5"),
    "yolov8": call_plain("decode_yolov8"),
    "end2end": call_plain("decode_end2end"),
}


def random_output(layout, seed, *, classes=5, anchors=3000, levels=None, dtype=np.float32):
    """An output with scores over all of [0, 1]; with levels, on that many values only, so that classes tie."""
    rng = np.random.default_rng(seed)

    def scores(*shape):
        values = rng.random(shape)
        return np.round(values * levels) / levels if levels else values

    if layout == "yolox":
        anchors = YOLOX_ANCHORS
    if layout == "end2end":
        corners = rng.uniform(0, 600, (anchors, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0, 100, (anchors, 2))], axis=1)
        rows = np.concatenate([boxes, scores(anchors, 1), rng.integers(-1, classes, (anchors, 1))], axis=1)
        return np.ascontiguousarray(rows, dtype=dtype)
    if layout == "yolox":
        boxes = np.concatenate([rng.uniform(-1, 2, (anchors, 2)), rng.uniform(-4, 5, (anchors, 2))], axis=1)
    else:
        boxes = np.concatenate([rng.uniform(0, 640, (anchors, 2)), rng.uniform(0, 200, (anchors, 2))], axis=1)
    columns = [boxes, scores(anchors, classes)] if layout == "yolov8" else [boxes, scores(anchors, 1 + classes)]
    rows = np.concatenate(columns, axis=1)
    return np.ascontiguousarray(rows.T if layout == "yolov8" else rows, dtype=dtype)


def assert_equal(found, expected, *, exp=False):
    for got, dtype in zip(found, (np.float32, np.float32, np.int32), strict=True):
        assert got.dtype == dtype
        assert got.flags.c_contiguous
        assert got.base is None
    assert found[0].shape == (len(found[1]), 4)
    np.testing.assert_array_equal(found[2], expected[2])
    np.testing.assert_array_equal(found[1], expected[1])
    if exp:
        sizes = expected[0][:, 2:] - expected[0][:, :2]
        scale = np.abs(np.concatenate([expected[0], sizes], axis=1)).max(axis=1, keepdims=True)
        assert (np.abs(found[0] - expected[0]) <= EXP_TOLERANCE * scale).all()
    else:
        np.testing.assert_array_equal(found[0], expected[0])


# Columns: cx cy w h objectness, two classes. The box is always 5 5 15 25.
BOX5 = [10, 15, 10, 20]
CASES_V5 = [
    # remark, rows, conf, class_mask, (score, class) of what passes
    ("no anchor", np.empty((0, 7)), 0.5, None, []),
    ("one anchor", [[*BOX5, 1.0, 0.25, 0.75]], 0.5, None, [(0.75, 1)]),
    ("score = objectness x class", [[*BOX5, 0.5, 0.25, 0.75]], 0.25, None, [(0.375, 1)]),
    ("threshold met exactly", [[*BOX5, 0.5, 0.5, 0.0]], 0.25, None, [(0.25, 0)]),
    ("threshold met as float32", [[*BOX5, 1.0, 0.7, 0.0]], 0.7, None, [(np.float32(0.7), 0)]),
    ("just below", [[*BOX5, 0.5, 0.4999, 0.0]], 0.25, None, []),
    ("objectness alone is not enough", [[*BOX5, 0.9, 0.1, 0.1]], 0.5, None, []),
    ("classes alone are not enough", [[*BOX5, 0.1, 1.0, 1.0]], 0.5, None, []),
    ("objectness below, product above: out", [[*BOX5, 0.4, 2.0, 0.0]], 0.5, None, []),
    ("equal classes: the lower", [[*BOX5, 1.0, 0.75, 0.75]], 0.5, None, [(0.75, 0)]),
    ("threshold zero lets zero pass", [[*BOX5, 0.0, 0.0, 0.0]], 0.0, None, [(0.0, 0)]),
    ("threshold one", [[*BOX5, 1.0, 1.0, 0.0], [*BOX5, 1.0, 0.999, 0.0]], 1.0, None, [(1.0, 0)]),
    ("order of anchors, not of scores", [[*BOX5, 1, 0.5, 0], [*BOX5, 1, 0, 0.75]], 0.5, None, [(0.5, 0), (0.75, 1)]),
    ("NaN objectness", [[*BOX5, NAN, 1.0, 1.0]], 0.0, None, []),
    ("NaN class never wins", [[*BOX5, 1.0, NAN, 0.5]], 0.5, None, [(0.5, 1)]),
    ("NaN after the best changes nothing", [[*BOX5, 1.0, 0.5, NAN]], 0.5, None, [(0.5, 0)]),
    ("only NaN classes", [[*BOX5, 1.0, NAN, NAN]], 0.0, None, []),
    ("infinite class score", [[*BOX5, 1.0, 0.5, INF]], 0.5, None, []),
    ("zero times infinity", [[*BOX5, 0.0, 0.5, INF]], 0.0, None, []),
    ("NaN in the box", [[10, NAN, 10, 20, 1.0, 0.5, 0.75]], 0.5, None, []),
    ("infinite box", [[10, 15, INF, 20, 1.0, 0.5, 0.75]], 0.5, None, []),
    ("mask: wanted", [[*BOX5, 1.0, 0.5, 0.75]], 0.5, [False, True], [(0.75, 1)]),
    ("mask: no second best", [[*BOX5, 1.0, 0.5, 0.75]], 0.5, [True, False], []),
    ("mask: nothing wanted", [[*BOX5, 1.0, 0.5, 0.75]], 0.5, [False, False], []),
]
V5_PARAMETERS = pytest.mark.parametrize(
    ("rows", "conf", "class_mask", "expected"), [case[1:] for case in CASES_V5], ids=[case[0] for case in CASES_V5]
)


def check_table_row(found, expected):
    boxes_xyxy, scores, class_ids = found
    assert boxes_xyxy.tolist() == [[5, 5, 15, 25]] * len(expected)
    assert scores.tolist() == [score for score, _ in expected]
    assert class_ids.tolist() == [class_id for _, class_id in expected]


@V5_PARAMETERS
@pytest.mark.parametrize("module", [Kernels, reference], ids=["kernel", "twin"])
def test_yolov5_cases(module, rows, conf, class_mask, expected):
    mask = None if class_mask is None else np.array(class_mask)
    check_table_row(module.decode_yolov5(array(rows), conf, class_mask=mask), expected)


@pytest.mark.parametrize("module", [Kernels, reference], ids=["kernel", "twin"])
@pytest.mark.parametrize(
    ("rows", "conf", "class_mask", "expected"),
    [
        # The same table without its objectness: for the anchors where that is one.
        pytest.param(np.delete(array(rows), 4, axis=1), conf, class_mask, expected, id=remark)
        for remark, rows, conf, class_mask, expected in CASES_V5
        if (array(rows)[:, 4] == 1).all()
    ],
)
def test_yolov8_cases(module, rows, conf, class_mask, expected):
    mask = None if class_mask is None else np.array(class_mask)
    output = np.ascontiguousarray(rows.T)
    check_table_row(module.decode_yolov8(output, conf, class_mask=mask), expected)


def test_yolov8_signs_of_zero_tie_to_the_lower_class():
    output = array([[10], [15], [10], [20], [-0.0], [0.0]])
    assert decode_yolov8(output, 0.0)[2].tolist() == [0]


BOX_E2E = [5, 5, 15, 25]


@pytest.mark.parametrize("module", [Kernels, reference], ids=["kernel", "twin"])
@pytest.mark.parametrize(
    ("rows", "conf", "class_mask", "expected"),
    [
        pytest.param(np.empty((0, 6)), 0.5, None, [], id="no row"),
        pytest.param([[*BOX_E2E, 0.75, 1]], 0.5, None, [(0.75, 1)], id="one row"),
        pytest.param([[*BOX_E2E, 0.5, 1]], 0.5, None, [(0.5, 1)], id="threshold met exactly"),
        pytest.param([[*BOX_E2E, 0.25, 1]], 0.5, None, [], id="below"),
        pytest.param([[*BOX_E2E, 0.5, 2], [*BOX_E2E, 0.75, 0]], 0.5, None, [(0.5, 2), (0.75, 0)], id="rows keep order"),
        pytest.param([[*BOX_E2E, NAN, 1]], 0.0, None, [], id="NaN score"),
        pytest.param([[*BOX_E2E, INF, 1]], 0.0, None, [], id="infinite score"),
        pytest.param([[*BOX_E2E, 0.5, NAN]], 0.0, None, [], id="NaN class"),
        pytest.param([[*BOX_E2E, 0.5, INF]], 0.0, None, [], id="infinite class"),
        pytest.param([[0, 0, 0, 0, 0.0, -1]], 0.0, None, [], id="class below zero: an empty row"),
        pytest.param([[*BOX_E2E[:3], NAN, 0.5, 1]], 0.0, None, [], id="NaN in the box"),
        pytest.param([[*BOX_E2E[:3], -INF, 0.5, 1]], 0.0, None, [], id="infinite box"),
        pytest.param([[*BOX_E2E, 0.5, 1]], 0.5, [False, True], [(0.5, 1)], id="mask: wanted"),
        pytest.param([[*BOX_E2E, 0.5, 0]], 0.5, [False, True], [], id="mask: not wanted"),
    ],
)
def test_end2end_cases(module, rows, conf, class_mask, expected):
    mask = None if class_mask is None else np.array(class_mask)
    check_table_row(module.decode_end2end(array(rows), conf, class_mask=mask), expected)


@pytest.mark.parametrize(
    ("class_number", "class_mask", "message"),
    [
        (0.5, None, r"output\[1, 5\] must be a class, a whole number below 16777216\. Got 0\.5"),
        (2.0**24, None, r"below 16777216\. Got 16777216\.0"),
        (2, [True, True], r"output\[1, 5\] must be a class, a whole number below 2\. Got 2\.0"),
    ],
)
def test_end2end_refuses_what_is_no_class(class_number, class_mask, message):
    output = array([[*BOX_E2E, 0.1, 0.5], [*BOX_E2E, 0.9, class_number]])  # the first does not pass: it may be anything
    mask = None if class_mask is None else np.array(class_mask)
    with pytest.raises(ValueError, match=message):
        decode_end2end(output, 0.5, class_mask=mask)


@pytest.mark.parametrize("module", [Kernels, reference], ids=["kernel", "twin"])
@pytest.mark.parametrize(
    ("anchor", "row", "box_xyxy"),
    [
        pytest.param(0, [0, 0, 0, 0], [-4, -4, 4, 4], id="first cell: centre in the corner, one stride wide"),
        pytest.param(11, [0.5, 0.5, 0, 0], [88, 0, 96, 8], id="last cell of the first grid row"),
        pytest.param(12, [0.5, 0.5, 0, 0], [0, 8, 8, 16], id="first cell of the second grid row"),
        pytest.param(96, [0.5, 0.5, 0, 0], [0, 0, 16, 16], id="first cell of the second level"),
        pytest.param(125, [0.5, 0.5, 0, 0], [64, 32, 96, 64], id="the last cell"),
        pytest.param(0, [0.5, 0.5, -200, -200], [4, 4, 4, 4], id="exp gives zero"),
        pytest.param(0, [0.5, 0.5, 89, 0], None, id="exp overflows: dropped"),
        pytest.param(0, [0.5, 0.5, 0, INF], None, id="infinite height: dropped"),
        pytest.param(0, [0.5, NAN, 0, 0], None, id="NaN centre: dropped"),
    ],
)
def test_yolox_cases(module, anchor, row, box_xyxy):
    output = np.zeros((YOLOX_ANCHORS, 7), dtype=np.float32)
    output[anchor] = [*row, 0.5, 0.25, 0.5]
    boxes_xyxy, scores, class_ids = module.decode_yolox(output, HW, 0.25)
    found = list(zip(boxes_xyxy.tolist(), scores.tolist(), class_ids.tolist(), strict=True))
    assert found == ([] if box_xyxy is None else [(box_xyxy, 0.25, 1)])


def test_yolox_strides():
    output = random_output("yolox", 0)[:6]
    found = decode_yolox(output, HW, 0.1, strides=[32])
    assert_equal(found, reference.decode_yolox(output, HW, 0.1, strides=[32]), exp=True)
    assert len(found[0])


@pytest.mark.parametrize("layout", CALLS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("levels", [None, 4])
def test_equals_twin(layout, dtype, levels):
    for seed, classes in enumerate([1, 2, 5, 80]):
        output = random_output(layout, seed, classes=classes, levels=levels, dtype=dtype)
        mask = np.random.default_rng(seed).random(classes) < 0.5
        for conf in (0.0, 0.25, 0.5, 1.0):
            for class_mask in (None, mask, mask.astype(np.uint8) * 255):
                found = CALLS[layout](Kernels, output, conf, class_mask)
                expected = CALLS[layout](reference, output, conf, class_mask)
                assert_equal(found, expected, exp=layout == "yolox")


@pytest.mark.parametrize("anchors", [1, 15, 1023, 1024, 1025, 2048, 2049])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_yolov8_at_the_edges_of_its_blocks(anchors, dtype):
    output = random_output("yolov8", anchors, anchors=anchors, dtype=dtype)
    assert_equal(decode_yolov8(output, 0.1), reference.decode_yolov8(output, 0.1))
    assert len(decode_yolov8(output, 0.0)[0]) == anchors


@pytest.mark.parametrize("layout", CALLS)
def test_numbers_that_are_not_finite(layout):
    """Specials strewn everywhere, the class column of end2end left out: there they are errors, tested above."""
    rng = np.random.default_rng(4)
    specials = array([NAN, INF, -INF, 0.0, -0.0, 3e38, -3e38, 1e-40])
    output = random_output(layout, 4)
    strewn = rng.random(output.shape) < 0.05
    if layout == "end2end":
        strewn[:, 5] = False
    output[strewn] = rng.choice(specials, strewn.sum())
    found = CALLS[layout](Kernels, output, 0.2)
    assert_equal(found, CALLS[layout](reference, output, 0.2), exp=layout == "yolox")
    assert len(found[0])
    assert all(np.isfinite(each).all() for each in found)


def test_every_float16_is_read_exactly():
    """As box centres with zero size, all 65536 patterns; those that are not finite are dropped."""
    halves = np.arange(65536, dtype=np.uint32).astype(np.uint16).view(np.float16)
    output = np.zeros((len(halves), 6), dtype=np.float16)
    output[:, 0] = halves
    output[:, 4:] = 1
    finite = halves[np.isfinite(halves)].astype(np.float32)
    np.testing.assert_array_equal(decode_yolov5(output, 0.5)[0][:, 0], finite)
    # And as the class scores of yolov8, which are read by another loop: those in [0, 1] pass and come back.
    columns = np.zeros((5, len(halves)), dtype=np.float16)
    columns[4] = halves
    np.testing.assert_array_equal(decode_yolov8(columns, 0.0)[1], finite[finite >= 0])


@pytest.mark.parametrize("layout", CALLS)
def test_more_than_the_first_list_holds(layout):
    """The list of candidates grows from 256 rows: everything passes here."""
    output = random_output(layout, 6)
    if layout == "end2end":
        output[:, 5] = np.abs(output[:, 5])
    found = CALLS[layout](Kernels, output, 0.0)
    assert len(found[0]) == (YOLOX_ANCHORS if layout == "yolox" else 3000)


@pytest.mark.parametrize("layout", CALLS)
def test_read_only_output_is_left_alone(layout):
    output = random_output(layout, 2)
    before = output.copy()
    output.flags.writeable = False
    mask = np.ones(5, dtype=bool)
    mask.flags.writeable = False
    CALLS[layout](Kernels, output, 0.1, mask)
    np.testing.assert_array_equal(output, before)


@pytest.mark.parametrize("layout", CALLS)
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda output: output.tolist(), TypeError, r"output must be a NumPy array\. Got list"),
        (lambda output: output.astype(np.float64), TypeError, r"output must be float32 or float16\. Got float64"),
        (lambda output: output.astype(">f4"), TypeError, r"output must be float32 or float16\. Got >f4"),
        (lambda output: output[None], ValueError, r"output must be one image's output of shape .* Got shape \(1, "),
        (lambda output: output[0], ValueError, r"output must be one image's output of shape .* Got shape \("),
        (lambda output: np.asfortranarray(output), ValueError, r"output must be C-contiguous"),
        (lambda output: np.repeat(output, 2, axis=1)[:, ::2], ValueError, r"output must be C-contiguous"),
    ],
)
def test_refuses_outputs(layout, change, error, message):
    with pytest.raises(error, match=message):
        CALLS[layout](Kernels, change(random_output(layout, 0)), 0.5)


@pytest.mark.parametrize("layout", CALLS)
@pytest.mark.parametrize("conf", [-0.1, 1.1, NAN, INF])
def test_refuses_thresholds(layout, conf):
    with pytest.raises(ValueError, match=r"conf must be a number in \[0, 1\]\. Got"):
        CALLS[layout](Kernels, random_output(layout, 0), conf)


@pytest.mark.parametrize("layout", CALLS)
@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        ([True] * 5, TypeError, r"class_mask must be None or a bool or uint8 array\. Got list"),
        (np.ones(5), TypeError, r"class_mask must be None or a bool or uint8 array\. Got float64"),
        (np.ones((1, 5), dtype=bool), ValueError, r"class_mask must have the shape .* Got shape \(1, 5\)"),
        (np.ones(0, dtype=bool), ValueError, r"class_mask must have the shape .* Got shape \(0,\)"),
    ],
)
def test_refuses_masks(layout, mask, error, message):
    with pytest.raises(error, match=message):
        CALLS[layout](Kernels, random_output(layout, 0), 0.5, mask)


@pytest.mark.parametrize("layout", ["yolox", "yolov5", "yolov8"])
def test_refuses_a_mask_of_another_model(layout):
    with pytest.raises(ValueError, match=r"class_mask must have the shape \(5,\), one entry a class.* \(4,\)"):
        CALLS[layout](Kernels, random_output(layout, 0), 0.5, np.ones(4, dtype=bool))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: decode_yolov5(np.zeros((9, 5), np.float32), 0.5), r"5 \+ C columns with C >= 1\. Got shape \(9, 5\)"),
        (lambda: decode_yolox(np.zeros((9, 5), np.float32), HW, 0.5), r"5 \+ C columns .* Got shape \(9, 5\)"),
        (lambda: decode_yolov8(np.zeros((4, 9), np.float32), 0.5), r"4 \+ C rows with C >= 1\. Got shape \(4, 9\)"),
        (lambda: decode_end2end(np.zeros((9, 7), np.float32), 0.5), r"6 columns.* Got shape \(9, 7\)"),
        (
            lambda: decode_yolox(np.zeros((125, 6), np.float32), HW, 0.5),
            r"output must have 126 rows, one a grid cell of an input of 64 x 96 with the strides .*\. Got 125",
        ),
        (lambda: decode_yolox(np.zeros((126, 6), np.float32), (64, 90), 0.5), r"multiples of each stride.* \(64, 90\)"),
        (lambda: decode_yolox(np.zeros((126, 6), np.float32), (64,), 0.5), r"input_hw must be two ints .* Got \(64,\)"),
        (lambda: decode_yolox(np.zeros((126, 6), np.float32), (64, 0), 0.5), r"input_hw must be two ints above 0"),
        (lambda: decode_yolox(np.zeros((126, 6), np.float32), HW, 0.5, strides=()), r"strides must be one or more"),
        (lambda: decode_yolox(np.zeros((126, 6), np.float32), HW, 0.5, strides=(0,)), r"strides must be .* above 0"),
    ],
)
def test_refuses_shapes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def letterboxed(image_bgr, side, *, centred):
    """Resize to fit a square, pad with 114; gives the image, the scale and the padding (left, top)."""
    height, width = image_bgr.shape[:2]
    scale = min(side / height, side / width)
    size_wh = (round(width * scale), round(height * scale))
    left, top = ((side - size_wh[0]) // 2, (side - size_wh[1]) // 2) if centred else (0, 0)
    canvas = np.full((side, side, 3), 114, dtype=np.uint8)
    canvas[top : top + size_wh[1], left : left + size_wh[0]] = cv2.resize(image_bgr, size_wh)
    return canvas, scale, (left, top)


def labelled_boxes(path, width, height):
    """A YOLO label file -> boxes_xyxy in pixels, class_ids."""
    rows = np.loadtxt(path, ndmin=2)
    centres, sizes = rows[:, 1:3] * [width, height], rows[:, 3:5] * [width, height]
    boxes_xyxy = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    return boxes_xyxy.astype(np.float32), rows[:, 0].astype(int)


# Five people and two frisbees, all of some size. Chosen, of five images tried, as the one in which each of these small
# models finds everything: what is tested is that its output is read rightly, not how good the model is.
IMAGE = "000000006954"


@pytest.mark.parametrize(
    ("model", "layout", "side"),
    [("yolox_nano", "yolox", 416), ("yolov5n_fp16", "yolov5", 640), ("yolov8n_int8", "yolov8", 640)],
)
def test_real_model_finds_what_is_labelled(model, layout, side):
    onnxruntime = pytest.importorskip("onnxruntime")
    image_bgr = cv2.imread(str(require_asset(f"images/coco-val/{IMAGE}.jpg")))
    truth_boxes, truth_classes = labelled_boxes(
        require_asset(f"images/coco-val/labels/{IMAGE}.txt"), image_bgr.shape[1], image_bgr.shape[0]
    )
    canvas, scale, (left, top) = letterboxed(image_bgr, side, centred=layout != "yolox")
    tensor = canvas if layout == "yolox" else canvas[:, :, ::-1] / np.float32(255)
    dtype = np.float16 if model == "yolov5n_fp16" else np.float32
    tensor = np.ascontiguousarray(tensor.transpose(2, 0, 1)[None], dtype=dtype)
    session = onnxruntime.InferenceSession(require_asset(f"models/{model}.onnx"), providers=["CPUExecutionProvider"])
    output = session.run(None, {session.get_inputs()[0].name: tensor})[0][0]
    assert output.dtype == dtype

    def decode(module, conf):
        if layout == "yolox":
            return module.decode_yolox(output, (side, side), conf)
        return CALLS[layout](module, output, conf)

    for conf in (0.01, 0.25):
        assert_equal(decode(Kernels, conf), decode(reference, conf), exp=layout == "yolox")
    boxes_xyxy, scores, class_ids = decode(Kernels, 0.25)
    kept = nms(boxes_xyxy, scores, class_ids, 0.45)
    boxes_xyxy = (boxes_xyxy[kept] - np.float32([left, top, left, top])) / np.float32(scale)
    class_ids = class_ids[kept]
    for box_xyxy, class_id in zip(truth_boxes, truth_classes, strict=True):
        assert (iou_with(boxes_xyxy[class_ids == class_id], box_xyxy) > 0.5).any(), (class_id, box_xyxy)
    # And little else: every box found covers something labelled of its class.
    right = [
        (iou_with(truth_boxes[truth_classes == class_id], box_xyxy) > 0.5).any()
        for class_id, box_xyxy in zip(class_ids, boxes_xyxy, strict=True)
    ]
    assert np.mean(right) >= 0.75


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("shape", [(0, 6), (1, 1), (7,), (3, 5), (33, 85), (2, 3, 100)])
@pytest.mark.parametrize("value", [None, NAN, INF, -INF])
def test_all_finite(dtype, shape, value):
    rng = np.random.default_rng(len(shape))
    output = ((rng.random(shape) - 0.5) * 2 * np.finfo(dtype).max).astype(dtype)
    for place in range(output.size) if value is not None else ():
        one = output.copy()
        one.flat[place] = value
        assert all_finite(one) is reference.all_finite(one) is False
    assert all_finite(output) is reference.all_finite(output) is True


def test_all_finite_refuses_what_no_decoder_takes():
    with pytest.raises(TypeError, match="float32 or float16"):
        all_finite(np.zeros((3, 6)))
    with pytest.raises(TypeError, match="NumPy array"):
        all_finite([0.0])
    with pytest.raises(ValueError, match="C-contiguous"):
        all_finite(np.zeros((6, 3), np.float32).T)
