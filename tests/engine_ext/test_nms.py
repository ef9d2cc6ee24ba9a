import threading

import numpy as np
import pytest

from engine_ext.nms import nms
from tests.reference import nms as reference

NAN, INF = float("nan"), float("inf")
A = [0, 0, 10, 10]
HALF_OF_A = [0, 0, 10, 5]  # intersection over union with A: exactly 0.5
RIGHT_OF_A = [10, 0, 20, 10]  # touches A along a side
FAR = [100, 100, 110, 110]


def as_inputs(rows):
    """Rows of (box, score, class) -> the three arrays."""
    boxes = np.array([row[0] for row in rows], dtype=np.float32).reshape(-1, 4)
    scores = np.array([row[1] for row in rows], dtype=np.float32)
    class_ids = np.array([row[2] for row in rows], dtype=np.int32)
    return boxes, scores, class_ids


def random_inputs(seed, count, *, classes=3, size=100.0, score_levels=None):
    """Boxes crowded into a square, so that many overlap; with score_levels, scores on a few levels only."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, size, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0, size / 3, (count, 2))], axis=1).astype(np.float32)
    scores = rng.random(count)
    if score_levels:
        scores = np.round(scores * score_levels) / score_levels
    return boxes, scores.astype(np.float32), rng.integers(0, classes, count).astype(np.int32)


CASES = [
    # remark, rows of (box, score, class), iou_threshold, options, indices kept
    ("no box", [], 0.5, {}, []),
    ("one box", [(A, 0.9, 0)], 0.5, {}, [0]),
    ("score zero is a score", [(A, 0.0, 0)], 0.5, {}, [0]),
    ("the same box twice", [(A, 0.8, 0), (A, 0.9, 0)], 0.5, {}, [1]),
    ("equal scores: the lower index wins", [(A, 0.9, 0), (A, 0.9, 0)], 0.5, {}, [0]),
    ("minus zero equals zero", [(A, -0.0, 0), (A, 0.0, 0)], 0.5, {}, [0]),
    ("the same box, two classes", [(A, 0.8, 0), (A, 0.9, 7)], 0.5, {}, [1, 0]),
    ("the same box, two classes, agnostic", [(A, 0.8, 0), (A, 0.9, 7)], 0.5, {"class_agnostic": True}, [1]),
    ("classes may be any int32", [(A, 0.8, -5), (A, 0.9, 2**31 - 1), (A, 0.7, -5)], 0.5, {}, [1, 0]),
    ("a side in common, threshold zero", [(A, 0.9, 0), (RIGHT_OF_A, 0.8, 0)], 0.0, {}, [0, 1]),
    ("any overlap, threshold zero", [(A, 0.9, 0), ([9, 9, 19, 19], 0.8, 0)], 0.0, {}, [0]),
    ("threshold met exactly: both stay", [(A, 0.9, 0), (HALF_OF_A, 0.8, 0)], 0.5, {}, [0, 1]),
    ("threshold just passed", [(A, 0.9, 0), (HALF_OF_A, 0.8, 0)], 0.4999, {}, [0]),
    ("threshold one: even equal boxes stay", [(A, 0.9, 0), (A, 0.8, 0)], 1.0, {}, [0, 1]),
    ("the suppressed suppresses nothing", [(A, 0.9, 0), ([4, 0, 14, 10], 0.8, 0), ([8, 0, 18, 10], 0.7, 0)], 0.4, {},
     [0, 2]),
    ("the best over all classes", [(A, 0.5, 0), (FAR, 0.9, 1), (RIGHT_OF_A, 0.7, 2)], 0.5, {"max_detections": 2},
     [1, 2]),
    ("what is suppressed does not count", [(A, 0.9, 0), (A, 0.8, 0), (FAR, 0.7, 0)], 0.5, {"max_detections": 2},
     [0, 2]),
    ("candidates are cut off before suppression", [(A, 0.9, 0), (A, 0.8, 0), (FAR, 0.7, 0)], 0.5,
     {"max_candidates": 2}, [0]),
    ("NaN score is never kept", [(A, NAN, 0), (A, 0.1, 0)], 0.5, {}, [1]),
    ("nothing but NaN", [(A, NAN, 0)], 0.5, {}, []),
    ("infinite scores have their place", [(A, -INF, 0), (FAR, 0.5, 0), (RIGHT_OF_A, INF, 0)], 0.5, {}, [2, 1, 0]),
    ("a NaN box is never kept", [([NAN, 0, 10, 10], 0.9, 0), (A, 0.8, 0), (A, 0.7, 0)], 0.5, {}, [1]),
    ("an infinite box is never kept", [([0, 0, INF, INF], 0.9, 0), (A, 0.8, 0)], 0.5, {}, [1]),
    ("a point has no overlap, not even with itself", [([5, 5, 5, 5], 0.9, 0), ([5, 5, 5, 5], 0.8, 0), (A, 0.7, 0)],
     0.0, {}, [0, 1, 2]),
    ("a box inside out has no area", [([10, 10, 0, 0], 0.9, 0), (A, 0.8, 0)], 0.0, {}, [0, 1]),
    ("negative coordinates", [([-10, -10, 0, 0], 0.9, 0), ([-10, -10, 0, -1], 0.8, 0)], 0.5, {}, [0]),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "iou", "options", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
@pytest.mark.parametrize("function", [nms, reference.nms], ids=["kernel", "twin"])
def test_cases(function, rows, iou, options, expected):
    kept = function(*as_inputs(rows), iou, **options)
    assert kept.dtype == np.intp
    assert kept.tolist() == expected


@pytest.mark.parametrize(
    ("count", "score_levels"),
    [
        (1, None),
        (15, None),  # the kept boxes fill less than one block
        (17, None),  # one box more than a block
        (48, 4),  # the last size of the insertion sort, many equal scores
        (49, 4),  # the first of the radix sort
        (400, None),
        (400, 8),
    ],
)
@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("max_detections", [1, 20, 300])
def test_equals_twin(count, score_levels, class_agnostic, max_detections):
    for seed in range(5):
        inputs = random_inputs(seed, count, score_levels=score_levels)
        for iou in (0.0, 0.3, 0.5, 0.7, 1.0):
            options = {"max_detections": max_detections, "class_agnostic": class_agnostic}
            np.testing.assert_array_equal(nms(*inputs, iou, **options), reference.nms(*inputs, iou, **options))


def test_equals_twin_on_numbers_that_are_not_finite():
    specials = np.array([NAN, INF, -INF, 0.0, -0.0, 3e38, -3e38, 1e-40, 5.0, 9.0], dtype=np.float32)
    rng = np.random.default_rng(11)
    for _ in range(50):
        boxes = rng.choice(specials, (200, 4))
        scores = rng.choice(specials, 200)
        class_ids = rng.integers(0, 2, 200).astype(np.int32)
        np.testing.assert_array_equal(nms(boxes, scores, class_ids, 0.4), reference.nms(boxes, scores, class_ids, 0.4))


def test_orders_any_scores_like_a_stable_sort():
    bits = np.random.default_rng(3).integers(0, 2**32, 5000, dtype=np.uint32)
    scores = np.concatenate([bits.view(np.float32)] * 2)
    boxes = np.zeros((len(scores), 4), dtype=np.float32)  # no area: nothing is suppressed
    kept = nms(boxes, scores, np.zeros(len(scores), dtype=np.int32), 0.5, max_detections=len(scores))
    numbers = np.flatnonzero(~np.isnan(scores))
    np.testing.assert_array_equal(kept, numbers[np.argsort(-scores[numbers], kind="stable")])


def test_thirty_thousand_candidates():
    inputs = random_inputs(5, 30_001, classes=80, size=640.0)
    np.testing.assert_array_equal(nms(*inputs, 0.45), reference.nms(*inputs, 0.45))
    # One too many: the worst of them is not looked at.
    no_area = np.zeros((30_001, 4), dtype=np.float32)
    kept = nms(no_area, inputs[1], inputs[2], 0.45, max_detections=10**9)
    assert len(kept) == 30_000
    assert int(np.lexsort((-np.arange(30_001), inputs[1]))[0]) not in kept


def test_kept_boxes_are_apart_and_each_dropped_one_has_a_reason():
    boxes, scores, class_ids = random_inputs(9, 300)
    kept = nms(boxes, scores, class_ids, 0.5)
    assert (np.diff(scores[kept]) <= 0).all()
    for i in range(len(boxes)):
        rivals = [k for k in kept if class_ids[k] == class_ids[i] and k != i]
        overlaps = reference.iou_with(boxes[rivals], boxes[i]) > 0.5
        better = scores[rivals] > scores[i]
        assert (overlaps & better).any() == (i not in kept)


def test_read_only_inputs_are_left_alone():
    inputs = random_inputs(1, 50)
    before = [array.copy() for array in inputs]
    for array in inputs:
        array.flags.writeable = False
    nms(*inputs, 0.5)
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_result_is_not_tied_to_a_larger_buffer():
    kept = nms(*as_inputs([(A, 0.9, 0)] * 50), 0.5)
    assert kept.base is None
    assert kept.flags.writeable


def test_threads_do_not_disturb_each_other():
    inputs = [random_inputs(seed, 500) for seed in range(4)]
    expected = [nms(*each, 0.5) for each in inputs]
    differing = []

    def work(each, wanted):
        for _ in range(50):
            if not np.array_equal(nms(*each, 0.5), wanted):
                differing.append(each)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(inputs, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not differing


BOXES = np.zeros((3, 4), dtype=np.float32)
SCORES = np.zeros(3, dtype=np.float32)
CLASSES = np.zeros(3, dtype=np.int32)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([[0, 0, 1, 1]], SCORES, CLASSES, 0.5), {}, TypeError, r"boxes_xyxy must be a NumPy array\. Got list"),
        ((BOXES.astype(np.float64), SCORES, CLASSES, 0.5), {}, TypeError, r"boxes_xyxy must be float32\. Got float64"),
        ((BOXES, SCORES.astype(np.float16), CLASSES, 0.5), {}, TypeError, r"scores must be float32\. Got float16"),
        ((BOXES, SCORES, CLASSES.astype(np.int64), 0.5), {}, TypeError, r"class_ids must be int32\. Got int64"),
        ((BOXES[:, :3].copy(), SCORES, CLASSES, 0.5), {}, ValueError, r"shape \(N, 4\)\. Got \(3, 3\)"),
        ((BOXES[0], SCORES, CLASSES, 0.5), {}, ValueError, r"shape \(N, 4\)\. Got \(4,\)"),
        (
            (BOXES, SCORES[:2], CLASSES, 0.5),
            {},
            ValueError,
            r"scores must have the shape \(3,\), one a box\. Got \(2,\)",
        ),
        ((BOXES, SCORES, CLASSES[:2], 0.5), {}, ValueError, r"class_ids must have the shape \(3,\).* Got \(2,\)"),
        ((BOXES[::2], SCORES[:2], CLASSES[:2], 0.5), {}, ValueError, r"boxes_xyxy must be C-contiguous"),
        ((BOXES, SCORES, CLASSES, 1.5), {}, ValueError, r"iou_threshold must be a number in \[0, 1\]\. Got 1\.5"),
        ((BOXES, SCORES, CLASSES, NAN), {}, ValueError, r"iou_threshold must be .* Got nan"),
        ((BOXES, SCORES, CLASSES, 0.5), {"max_detections": 0}, ValueError, r"max_detections must be .* Got 0"),
        ((BOXES, SCORES, CLASSES, 0.5), {"max_detections": 2.0}, ValueError, r"max_detections must be .* Got 2\.0"),
        ((BOXES, SCORES, CLASSES, 0.5), {"max_candidates": -1}, ValueError, r"max_candidates must be .* Got -1"),
    ],
)
def test_refuses(arguments, options, error, message):
    with pytest.raises(error, match=message):
        nms(*arguments, **options)
