import numpy as np
import pytest

from engine_ext.geometry import iou_matrix, scale_boxes
from tests.reference.sort import iou_matrix as reference_iou

UNIT = [0.0, 0.0, 10.0, 10.0]


@pytest.mark.parametrize(
    ("box", "expected", "why"),
    [
        (UNIT, 1.0, "the same box"),
        ([5, 0, 15, 10], 1 / 3, "half of it"),
        ([2, 2, 4, 4], 0.04, "inside"),
        ([10, 0, 20, 10], 0.0, "touching"),
        ([20, 20, 30, 30], 0.0, "apart"),
        ([5, 5, 5, 8], 0.0, "no width"),
        ([8, 8, 2, 2], 0.0, "inverted"),
        ([np.nan, 0, 10, 10], 0.0, "not a number"),
        ([0, 0, np.inf, 10], 0.0, "infinite"),
        ([-1e200, -1e200, 1e200, 1e200], 0.0, "area beyond the doubles"),
    ],
)
def test_iou(box, expected, why):
    a, b = np.array([UNIT]), np.array([box], np.float64)
    assert iou_matrix(a, b)[0, 0] == pytest.approx(expected, abs=1e-15), why
    assert iou_matrix(b, a)[0, 0] == pytest.approx(expected, abs=1e-15), why


def test_iou_equals_numpy():
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 100, (60, 4))
    boxes[:, 2:] += boxes[:, :2]
    np.testing.assert_allclose(iou_matrix(boxes[:40], boxes[40:]), reference_iou(boxes[:40], boxes[40:]), rtol=1e-14)
    np.testing.assert_array_equal(iou_matrix(boxes[::2], boxes), iou_matrix(boxes[::2].copy(), boxes))


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 3), (3, 0)])
def test_iou_of_none(n, m):
    assert iou_matrix(np.zeros((n, 4)), np.zeros((m, 4))).shape == (n, m)


@pytest.mark.parametrize("bad", [np.zeros((3, 5)), np.zeros(4), np.zeros((3, 4), np.float32), [[0, 0, 1, 1]]])
def test_iou_refuses(bad):
    with pytest.raises(ValueError, match=r"a must be an \(N, 4\) float64 array of x1 y1 x2 y2\. Got "):
        iou_matrix(bad, np.zeros((1, 4)))


@pytest.mark.parametrize(
    ("box", "expected", "without_area", "why"),
    [
        ([110, 70, 210, 120], [200, 100, 400, 200], 0, "plain"),
        ([0, 0, 5, 5], [0, 0, 0, 0], 1, "in the padding"),
        ([-100, 60, 9000, 9000], [0, 80, 640, 480], 0, "clipped to the frame"),
        ([110, 70, 110, 120], [200, 100, 200, 200], 1, "a line"),
        ([110, 120, 210, 70], [200, 200, 400, 100], 1, "inverted"),
        ([np.nan, 30, 20, 40], [np.nan, 20, 20, 40], 1, "not a number stays so"),
    ],
)
def test_scale_boxes(box, expected, without_area, why):
    boxes = np.array([[110, 70, 210, 120], box], np.float32)
    assert scale_boxes(boxes, 0.5, 10.0, 20.0, 640, 480) == without_area, why
    boxes = boxes[1:]
    np.testing.assert_array_equal(boxes, np.array([expected], np.float32), why)


def test_scale_boxes_by_a_ratio_for_each_axis():
    boxes = np.array([[110, 70, 210, 120]], np.float32)
    scale_boxes(boxes, (0.5, 0.25), 10.0, 20.0, 640, 480)
    assert boxes.tolist() == [[200, 200, 400, 400]]
    with pytest.raises(ValueError, match="ratio must be a finite number above 0, or two of them"):
        scale_boxes(boxes, (0.5, 0.0), 10.0, 20.0, 640, 480)


def test_scale_boxes_of_none():
    scale_boxes(np.zeros((0, 4), np.float32), 0.5, 0, 0, 1, 1)


@pytest.mark.parametrize(
    ("boxes", "arguments", "message"),
    [
        (np.zeros((2, 4)), (1.0, 0, 0, 9, 9), r"boxes_xyxy must be .* Got shape \(2, 4\), dtype float64"),
        (np.zeros((2, 5), np.float32), (1.0, 0, 0, 9, 9), "boxes_xyxy must be "),
        (np.zeros((4, 4), np.float32)[::2], (1.0, 0, 0, 9, 9), "C-contiguous"),
        (
            np.zeros((2, 4), np.float32),
            (0.0, 0, 0, 9, 9),
            r"ratio must be a finite number above 0, or two of them\. Got 0\.0\.",
        ),
        (np.zeros((2, 4), np.float32), (1.0, 0, np.nan, 9, 9), "pad_y must be a finite number"),
        (np.zeros((2, 4), np.float32), (1.0, 0, 0, -1, 9), r"src_w must be an int >= 0\. Got -1\."),
    ],
)
def test_scale_boxes_refuses(boxes, arguments, message):
    with pytest.raises(ValueError, match=message):
        scale_boxes(boxes, *arguments)
