import numpy as np
import pytest

from engine_ext.rows import detections_jsonl, mot, tracks_jsonl
from tests.reference import rows as reference

NAMES = [b'"person"', b'"traffic light"']
HEAD = b'{"frame": 7, "pts": -3, "track_id": '


def columns(boxes, scores=None, seed=0):
    """(ids, class_ids, scores, boxes) of as many rows as there are boxes."""
    rng = np.random.default_rng(seed)
    boxes = np.array(boxes, np.float64).reshape(-1, 4)
    n = len(boxes)
    scores = rng.random(n, dtype=np.float32) if scores is None else np.array(scores, np.float32)
    return rng.permutation(n).astype(np.int64), rng.integers(0, 2, n).astype(np.int32), scores, boxes


def check(ids, class_ids, scores, boxes):
    names = [name.decode() for name in NAMES]
    assert mot(12, ids, scores, boxes).decode() == reference.mot(12, ids, scores, boxes)
    ours = tracks_jsonl(HEAD, ids, class_ids, NAMES, scores, boxes)
    assert ours.decode() == reference.tracks_jsonl(HEAD.decode(), ids, class_ids, names, scores, boxes)
    ours = detections_jsonl(HEAD, class_ids, NAMES, scores, boxes)
    assert ours.decode() == reference.detections_jsonl(HEAD.decode(), class_ids, names, scores, boxes)


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ([0.0, -0.0, 1.0, 854.0], "whole numbers, and a negative zero"),
        ([0.005, 0.015, 0.025, 1.005], "decimal ties that no double holds"),
        ([0.125, 0.375, 2.5, 0.625], "ties that a double holds: to even"),
        ([-0.001, -0.004999, -0.005, -0.125], "negatives that round to zero keep their sign"),
        ([0.994999999999, 0.995, 0.9950000001, 99.995], "the carry"),
        ([1e7 - 0.005, 9999999.99, 1e7, 12345678.905], "near the end of the short way"),
        ([1e15 + 0.3, 1e22, -1e300, 5e-324], "beyond it"),
        ([np.nan, np.inf, -np.inf, 1.0], "no numbers"),
    ],
)
def test_one_row(box, why):
    check(*columns(box))


@pytest.mark.parametrize("score", [0.0, 1.0, 0.5, 0.00005, 0.99995, 0.12345, np.nan])
def test_scores(score):
    check(*columns([0, 0, 1, 1], [score]))


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_many_rows(n):
    rng = np.random.default_rng(n)
    check(*columns(rng.normal(300, 400, (n, 4)), seed=n))


def test_random_bits():
    """Doubles of every size and sign, and multiples of 0.005, each a tie or next to one."""
    rng = np.random.default_rng(5)
    bits = rng.integers(0, 2**63, 4000).view(np.float64) * rng.choice([-1, 1], 4000)
    check(*columns(bits[np.isfinite(bits)][:3996]))
    check(*columns(rng.integers(-(10**6), 10**6, 8000) * 0.005))
    check(*columns(np.nextafter(rng.integers(-(10**6), 10**6, 8000) * 0.005, rng.choice([-1e9, 1e9], 8000))))


def test_strided_boxes():
    """The tracker's boxes are the first columns of its own array."""
    ids, class_ids, scores, boxes = columns(np.random.default_rng(3).random((9, 4)) * 100)
    check(ids, class_ids, scores, np.hstack([boxes, boxes])[:, 2:6])


def test_ids_of_any_size():
    boxes, scores = np.ones((4, 4)), np.ones(4, np.float32)
    ids = np.array([2**63 - 1, -(2**63), 0, -1])
    check(ids, np.zeros(4, np.int32), scores, boxes)


@pytest.mark.parametrize("class_id", [-1, 2])
def test_a_class_without_a_name(class_id):
    ids, _, scores, boxes = columns([0, 0, 1, 1])
    with pytest.raises(ValueError, match=rf"class_ids must be in \[0, 2\). Got {class_id}"):
        tracks_jsonl(HEAD, ids, np.array([class_id], np.int32), NAMES, scores, boxes)


def test_columns_of_different_length():
    ids, class_ids, scores, boxes = columns(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="as many rows"):
        mot(1, ids, scores[:1], boxes)
    with pytest.raises(ValueError, match="as many rows"):
        tracks_jsonl(HEAD, ids, class_ids, NAMES, scores, boxes[:, :3])
    with pytest.raises(ValueError, match="as many rows"):
        detections_jsonl(HEAD, class_ids, NAMES, scores, boxes[:1])
    with pytest.raises(ValueError, match="dtype"):
        mot(1, ids.astype(np.int32), scores, boxes)
