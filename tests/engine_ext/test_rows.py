import json

import numpy as np
import pytest

from engine_ext.rows import detections_jsonl, mot, read_tracks_jsonl, tracks_jsonl
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


LINE = (
    b'{"frame": 3, "pts": -7, "time_s": 0.28, %s"track_id": 5, "class_id": 1, "class": "a \\"b\\"", "score": 0.9001, '
)
LINE += b'"box_xyxy": [-0.00, 12.34, 99999.99, 1.00]}\n'


@pytest.mark.parametrize("seed", range(5))
def test_rows_are_read_as_json_reads_them(seed):
    rng = np.random.default_rng(seed)
    lines = b""
    for frame in range(40):
        boxes = rng.uniform(-50, 4000, (int(rng.integers(0, 9)), 4))
        given = columns(boxes, seed=seed + frame)
        head = f'{{"frame": {frame}, "pts": {512 * frame}, "time_s": {round(frame / 30, 6)!r}, "track_id": '
        lines += tracks_jsonl(head.encode(), *given[:2], NAMES, *given[2:])
    table, names = read_tracks_jsonl(lines)
    rows = [json.loads(line) for line in lines.splitlines()]
    keys = ("frame", "pts", "time_s", "track_id", "class_id", "score")
    assert table.tolist() == [[*(float(row[key]) for key in keys), *row["box_xyxy"]] for row in rows]
    assert {kind: json.loads(name) for kind, name in names.items()} == {row["class_id"]: row["class"] for row in rows}


def test_a_row_with_a_clock_and_signs():
    for clock in (b"", b'"time": "2024-01-01T00:00:00.280+01:00", '):
        table, names = read_tracks_jsonl(LINE % clock)
        assert table.tolist() == [[3, -7, 0.28, 5, 1, 0.9001, -0.0, 12.34, 99999.99, 1.0]]
        assert np.signbit(table[0, 6])
        assert names == {1: b'"a \\"b\\""'}
    assert read_tracks_jsonl(b"")[0].shape == (0, 10)


@pytest.mark.parametrize(
    "line",
    [
        LINE[:-1] % b"",
        b"\n",
        (LINE % b"").replace(b"0.28", b"1e-06"),
        (LINE % b"").replace(b"0.28", b"0.1234567890123456"),
        (LINE % b"").replace(b"0.28", b"NaN"),
        (LINE % b"").replace(b"0.28", b""),
        (LINE % b"").replace(b"0.28", b"1."),
        (LINE % b"").replace(b'"pts"', b'"pto"'),
        (LINE % b"").replace(b": ", b":"),
        (LINE % b"").replace(b'\\""', b"\\"),
        (LINE % b"").replace(b"]}", b", 4.00]}"),
        (LINE % b"")[:40] + b"\n",
    ],
    ids=repr,
)
def test_anything_else_is_left_to_json(line):
    with pytest.raises(ValueError, match=r"where it should be|has no end"):
        read_tracks_jsonl(line)
